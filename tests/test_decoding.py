"""`decoded` says what transformers' `generate` says with a cache of its own, in fewer tokens' passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig
from transformers.cache_utils import DynamicLayer

import zoo
from arttune import decoding
from arttune.decoding import ROOM, STAGE, Growing, decoded, growing
from tuner.test_model import batch, painted

TOKENS = 20


def test_a_layer_with_room_holds_what_one_without_holds():
    torch.manual_seed(0)
    ours, theirs = Growing(), DynamicLayer()
    places = set()
    for step in range(3 * ROOM):
        new = torch.randn(2, 3, 2, 5 if step == 0 else 1, 8)
        found, expected = ours.update(new[0], new[1]), theirs.update(new[0], new[1])
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
        assert ours.get_seq_length() == theirs.get_seq_length()
        places.add(found[0].data_ptr())
        if step == ROOM:
            for layer in (ours, theirs):
                layer.reorder_cache(torch.tensor([2, 0]))
                layer.reorder_cache(torch.tensor([1, 0, 1]))
    assert len(places) <= 6, "what stands there is hardly ever copied"


def ended(model: Any, made: dict[str, torch.Tensor]) -> int:
    """A token at which some row of greedy answers to `made` ends within a stage, and some other does not."""
    found = model.generate(**made, max_new_tokens=TOKENS, do_sample=False, eos_token_id=None, use_cache=False)
    first = [set(row) for row in found[:, made["input_ids"].shape[1] :][:, :STAGE].tolist()]
    return min(set.union(*first) - set.intersection(*first))


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("pictured", [False, True])
def test_rows_that_are_done_leave(name, pictured, monkeypatch):
    """And every row says what it says in a plain call, padded alike."""
    model = painted(name) if pictured else zoo.tiny(name)
    made = batch(name, "left")
    if not pictured:
        made["input_ids"] = made["input_ids"].masked_fill(made["input_ids"] == model.config.image_token_id, 7)
    asked = {"max_new_tokens": TOKENS, "do_sample": False, "eos_token_id": ended(model, made), "pad_token_id": 5}
    expected = model.generate(**made, **asked, use_cache=False)
    runs: list[int] = []
    text = (model.get_base_model() if pictured else model).model.language_model
    text.register_forward_pre_hook(lambda _, __, k: runs.append(k["inputs_embeds"].shape[0]), with_kwargs=True)
    if pictured:
        found = model.generate(**made, generation_config=GenerationConfig(**asked))
    else:
        found = decoded(model, made | asked | {"past_key_values": growing(text.config)})
    assert torch.equal(found, expected)
    fresh = found[:, made["input_ids"].shape[1] :]
    assert (fresh == 5).any(), "some row ended before others"
    assert runs[-1] < len(found), "and was no longer run"
    assert text.config._attn_implementation == "sdpa", "attention is left as it was"


@pytest.mark.parametrize(
    "more", [{"min_new_tokens": 4}, {"return_dict_in_generate": True}, {"eos_token_id": None}, {"num_beams": 1}]
)
def test_what_looks_at_the_whole_run_is_not_cut_up(more, monkeypatch):
    monkeypatch.setattr(decoding, "_in_stages", lambda *_: pytest.fail("it was"))
    model = painted("qwen2_5_vl")
    model.base_model.model.generation_config.eos_token_id = None
    made = batch("qwen2_5_vl", "left")
    told = model.generate(**made, **{"max_new_tokens": 4, "do_sample": False, "eos_token_id": 3} | more)
    assert getattr(told, "sequences", told).shape == (3, made["input_ids"].shape[1] + 4)


def test_sampling_in_stages_samples():
    """As many completions, which differ, and a seed repeats them."""
    model = painted("qwen2_5_vl")
    made = {key: value.repeat_interleave(4, dim=0) for key, value in batch("qwen2_5_vl", "left").items()}
    asked = {"max_new_tokens": TOKENS, "do_sample": True, "eos_token_id": list(range(20)), "pad_token_id": 5}
    torch.manual_seed(0)
    found = model.generate(**made, **asked)
    assert len({tuple(row) for row in found.tolist()}) > 6
    torch.manual_seed(0)
    assert torch.equal(model.generate(**made, **asked), found)
