"""Products in float32 of layers in bfloat16, against float64's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from arttune import machine
from arttune.models import load_model
from arttune.widening import FEW, Widened, widen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(FEW - 1,), (FEW,), (3, 700)])
def test_product_and_gradient_are_float64s_rounded_once(rows, bias, monkeypatch):
    monkeypatch.setattr("arttune.widening.BLOCK", 4 * 48 * 100)  # several blocks, the last one smaller
    torch.manual_seed(0)
    layer = nn.Linear(32, 48, bias, dtype=torch.bfloat16).requires_grad_(False)
    layer.__class__ = Widened
    states = torch.randn(*rows, 32, dtype=torch.bfloat16, requires_grad=True)
    back = torch.randn(*rows, 48, dtype=torch.bfloat16)
    found = layer(states)
    found.backward(back)
    exact = nn.Linear(32, 48, bias, dtype=torch.float64)
    exact.load_state_dict({name: weight.double() for name, weight in layer.state_dict().items()})
    wide = states.detach().double().requires_grad_()
    expected = exact(wide)
    expected.backward(back.double())
    for ours, theirs in ((found, expected), (states.grad, wide.grad)):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.double(), theirs, rtol=2**-8, atol=1e-5)


def test_a_model_keeps_its_weights_its_head_and_its_logits(family_name):
    model = zoo.tiny(family_name, torch.bfloat16).eval().requires_grad_(False)
    ids = torch.randint(0, 200, (2, 2 * FEW), generator=torch.Generator().manual_seed(0))
    before, weights = model(input_ids=ids).logits, {name: one.clone() for name, one in model.state_dict().items()}
    widen(model)
    assert type(model.get_output_embeddings()) is nn.Linear
    assert sum(isinstance(one, Widened) for one in model.modules()) > 4
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    after = model(input_ids=ids).logits
    assert (after - before).abs().max() < 0.05 * before.abs().max()


@pytest.mark.parametrize(
    ("able", "faster"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, False),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, False),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False}, True),
        ({"bf16": True}, False),
    ],
)
def test_which_processors_multiply_float32_faster(able, faster, tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert machine.multiplies_float32_faster() is faster
    for dtype, widened in (("bfloat16", faster), ("float32", False)):
        model = load_model(str(tiny_folder), dtype).model
        assert any(isinstance(one, Widened) for one in model.modules()) is widened
