"""Attention on a CPU against transformers' plainest: values and gradients."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import eager_attention_forward

from arttune import attention
from arttune.attention import Part, plain


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


def test_of_a_tree_each_token_sees_its_past(monkeypatch):
    """A trunk, two stems with a filled-up end, and rows on them: transformers' own attention with one mask of all."""
    monkeypatch.setattr(attention, "BLOCK", 300)  # blocks of some lines
    torch.manual_seed(0)
    most = torch.finfo(torch.float32).min

    def past(width: int, *seen: list[int]) -> torch.Tensor:
        """A mask for rows that see as many tokens as `seen` has ones, and their own past."""
        before = torch.tensor(seen)[:, None].expand(-1, width, -1)
        sees = torch.cat([before, torch.ones(width, width).tril().expand(len(seen), -1, -1)], dim=2)
        return (1 - sees)[:, None] * most

    tree = [
        Part(1, 3, (), torch.tensor([0]), past(3, [])),
        Part(2, 2, (0,), torch.tensor([0, 0]), past(2, [1] * 3)),  # stems 0 and 1; the second has one token
        Part(1, 1, (0,), torch.tensor([0]), past(1, [1] * 3)),  # stem 2
        Part(3, 2, (1, 2), torch.tensor([1, 0, 2]), past(2, [1, 1, 1, 1, 0], [1] * 5, [1, 1, 1, 1, 0])),
    ]
    owner = [0, 0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6]  # of each token: the trunk, three stems, three rows
    parent = {1: 0, 2: 0, 3: 0, 4: 2, 5: 1, 6: 3}
    filled = {6}  # a token that only fills a row up
    line = {number: [number] for number in range(7)}
    for number in range(1, 7):
        line[number] = [number, *line[parent[number]]]
    sees = [
        [then <= now and of in line[own] and (then not in filled or of == own) for then, of in enumerate(owner)]
        for now, own in enumerate(owner)
    ]
    mask = (~torch.tensor(sees))[None, None] * most
    given = [torch.randn(1, len(owner), heads, 16).transpose(1, 2).requires_grad_() for heads in (6, 2, 2)]
    module = SimpleNamespace(num_key_value_groups=3, training=False)
    pulled = []
    for attend, how in ((plain, {"tree": tree}), (eager_attention_forward, {})):
        out, _ = attend(module, *given, torch.empty(1, 1, 0, 0) if how else mask, scaling=0.3, **how)
        pulled.append((out, *torch.autograd.grad((out * out.detach().cos()).sum(), given)))
    for found, expected in zip(*pulled, strict=True):
        torch.testing.assert_close(found, expected)
