"""States that branch: what goes on from them is what goes on from transformers' own cache, and it can be repeated."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache

import zoo
from arttune.states import branch, joined, kinds, root, stay, written


def text_model(name: str) -> Any:
    return zoo.tiny(name).model.language_model


def ran(model: Any, ids: torch.Tensor, cache: Any) -> torch.Tensor:
    return model(input_ids=ids, past_key_values=cache, use_cache=False).last_hidden_state


def near(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("length", [1, 2, 7])
@torch.no_grad()
def test_going_on_equals_transformers_cache(name, length):
    """From a first pass that is shorter than a convolution, too, and by a single token.

    After a single first token to a millionth: transformers pads its convolution there where ours does not, and how a
    CPU rounds the two sums is its own affair.
    """
    model = text_model(name)
    ids = torch.randint(5, 200, (1, length + 6), generator=torch.Generator().manual_seed(0))
    own, theirs = root(model.config), DynamicCache(config=model.config)
    same = near if length == 1 else torch.equal
    assert same(ran(model, ids[:, :length], own), ran(model, ids[:, :length], theirs))
    for begin, end in ((length, length + 1), (length + 1, length + 6)):
        own = branch(own, torch.tensor([0]), keep=True)
        assert same(ran(model, ids[:, begin:end], own), ran(model, ids[:, begin:end], theirs))


@pytest.mark.parametrize("name", zoo.NAMES)
@torch.no_grad()
def test_a_pass_may_run_twice_and_changes_nothing_before_it(name):
    model = text_model(name)
    first, then = torch.tensor([[7, 8, 9]]), torch.tensor([[10, 11], [12, 13]])
    trunk = root(model.config)
    ran(model, first, trunk)
    limb = branch(trunk, torch.tensor([0, 0]), keep=True)
    once = ran(model, then, limb)
    left = [[state.clone() for state in layer.after] for layer in limb.layers]
    assert torch.equal(ran(model, then, limb), once)
    for layer, states in zip(limb.layers, left, strict=True):
        assert all(torch.equal(now, before) for now, before in zip(layer.after, states, strict=True))
    assert torch.equal(ran(model, then, branch(trunk, torch.tensor([0, 0]))), once)


@pytest.mark.parametrize("name", zoo.NAMES)
@torch.no_grad()
def test_rows_of_several_passes_are_joined_and_written_for_generate(name):
    """Rows of different lengths, and one that adds nothing, in an order of their own."""
    model = text_model(name)
    trunk = root(model.config)
    ran(model, torch.tensor([[7, 8, 9]]), trunk)
    rows = [torch.tensor([[10, 11]]), torch.tensor([[12]]), None]
    limbs = [branch(trunk, torch.tensor([0]), keep=True) for _ in rows]
    for ids, limb in zip(rows, limbs, strict=True):
        if ids is None:
            stay(limb)
        else:
            ran(model, ids, limb)
    both = joined(limbs, torch.tensor([2, 0, 1]))
    last = torch.tensor([[20]])
    for row, limb in ((1, limbs[0]), (2, limbs[1]), (0, limbs[2])):
        alone = ran(model, last, branch(limb, torch.tensor([0])))
        width = limb.layers[-1].after[0].shape[-2]
        mask = torch.tensor([[1] * width + [0] * (5 - width) + [1]])
        place = torch.full((1, 1), width)
        for cache in (
            branch(both, torch.tensor([row])),
            written(both, torch.tensor([row]), DynamicCache(config=model.config)),
        ):
            found = model(
                input_ids=last, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=False
            )
            assert torch.allclose(found.last_hidden_state, alone, atol=1e-5)


def test_layers_of_an_unknown_kind_are_known_to_be_unknown():
    config = zoo.tiny("qwen2_5_vl").config.text_config
    assert len(kinds(config)) == 2
    config.layer_types, config.sliding_window = ["full_attention", "sliding_attention"], 4
    assert not kinds(config)
