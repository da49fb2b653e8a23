"""Attention on a CPU against transformers' plainest: values and gradients."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import eager_attention_forward

from arttune import attention
from arttune.attention import plain


@pytest.mark.parametrize("tokens", [1, 7])
@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("lines", [1, 3, 10])
def test_it_is_transformers_own(tokens, heads, masked, lines, monkeypatch):
    """In one piece and in blocks."""
    monkeypatch.setattr(attention, "BLOCK", lines * 3 * heads * 40 * 4)
    torch.manual_seed(0)
    shapes = ((heads, tokens), (2, 40), (2, 40))
    given = [torch.randn(3, length, some, 16).transpose(1, 2).requires_grad_() for some, length in shapes]
    mask = torch.where(torch.rand(3, 1, tokens, 40) < 0.7, 0.0, torch.finfo(torch.float32).min) if masked else None
    module = SimpleNamespace(num_key_value_groups=heads // 2, training=False)
    pulled = []
    for attend in (plain, eager_attention_forward):
        out, _ = attend(module, *given, mask, scaling=0.3)
        pulled.append((out, *torch.autograd.grad((out * out.detach().cos()).sum(), given)))
    for found, expected in zip(*pulled, strict=True):
        torch.testing.assert_close(found, expected)


def test_in_bfloat16_it_is_as_near_to_float32_as_transformers_own():
    torch.manual_seed(0)
    exact = [torch.randn(3, heads, 50, 64) for heads in (6, 2, 2)]
    mask = torch.full((50, 50), torch.finfo(torch.bfloat16).min).triu(1)[None, None]
    module = SimpleNamespace(num_key_value_groups=3, training=False)
    truth, _ = plain(module, *exact, mask)
    coarse = [one.bfloat16() for one in exact], mask.bfloat16()
    errors = [
        (attend(module, *coarse[0], coarse[1], scaling=0.125)[0].float() - truth).norm()
        for attend in (plain, eager_attention_forward)
    ]
    assert errors[0] <= 1.01 * errors[1]


def test_dropout_is_taken():
    """Of weights that are all alike; a value is 1 for each."""
    given = [torch.zeros(1, 2, 30, 64), torch.zeros(1, 2, 30, 64), torch.ones(1, 2, 30, 64)]
    torch.manual_seed(0)
    out, _ = plain(SimpleNamespace(training=True), *given, None, dropout=0.5)
    assert 0.9 < out.mean() < 1.1
    assert out.std() > 0.1
