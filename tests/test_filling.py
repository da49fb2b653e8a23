"""`generate` goes on from a cache that was filled with as little work as it takes."""

from __future__ import annotations

import pytest
import torch

import zoo
from arttune import prefix
from arttune.tuner import art_layer
from test_tree import count_backbone_tokens
from tuner.test_model import batch, painted

ASKED = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("overhead", [0, 10**6])
def test_generate_says_what_it_says_without_a_cache(name, overhead, monkeypatch):
    """And gives back the prompts as they came."""
    monkeypatch.setitem(prefix.OVERHEAD, "cpu", overhead)
    model = painted(name)
    made = batch(name, "left")
    found = model.generate(**made, **ASKED)
    width = made["input_ids"].shape[1]
    assert torch.equal(found[:, :width], made["input_ids"])
    assert torch.equal(model.generate(**made, **ASKED, num_beams=1), found)
    assert torch.equal(model.generate(**made, **ASKED, use_cache=False), found)
    told = model.generate(**made, **ASKED, return_dict_in_generate=True, output_logits=True)
    assert torch.equal(told.sequences, found)
    assert len(told.logits) == 3
    beams = model.generate(**made, **ASKED, num_beams=2)
    assert beams.shape == found.shape


def test_inner_outputs_are_those_of_whole_rows():
    model, made = painted("qwen2_5_vl"), batch("qwen2_5_vl", "left")
    told = model.generate(**made, **ASKED, return_dict_in_generate=True, output_hidden_states=True)
    assert told.hidden_states[0][-1].shape[:2] == made["input_ids"].shape
    assert torch.equal(told.sequences, model.generate(**made, **ASKED))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_prefix_and_prompts_run_once_each(name, monkeypatch):
    monkeypatch.setitem(prefix.OVERHEAD, "cpu", 10**6)
    model = painted(name)
    made = {key: value.repeat_interleave(4, dim=0) for key, value in batch(name, "left").items()}
    runs = count_backbone_tokens(model)
    found = model.generate(**made, **ASKED)
    assert torch.equal(found[::4], found[3::4])
    lengths = made["attention_mask"].sum(dim=1)[::4] - 1 - runs[0]  # what is a prompt's own, but for its last token
    prompts = [3 * int(lengths.max())] if name != "qwen3_5" else lengths.tolist()
    assert runs[1:] == [*prompts, 12, 12, 12], "each prompt once, then a token of each row"
    again = count_backbone_tokens(model)
    model.generate(**made, **ASKED)
    assert again == [*prompts, 12, 12, 12], "the prefix of the same painting is known"


def test_another_painting_has_a_prefix_of_its_own():
    model = painted("qwen2_5_vl")
    made = batch("qwen2_5_vl", "left")
    asked = ASKED | {"return_dict_in_generate": True, "output_logits": True}
    before = model.generate(**made, **asked).logits[0]
    with torch.no_grad():
        art_layer(model).canvas().weight.fill_(0.1)
    after = model.generate(**made, **asked).logits[0]
    assert (after - before).abs().max() > 1e-3
    with model.disable_adapter():
        assert torch.allclose(model.generate(**made, **asked).logits[0], before, atol=1e-5), "the start is shown"
    assert torch.allclose(model.generate(**made, **asked).logits[0], after, atol=1e-5)


def test_a_model_in_another_precision_has_a_prefix_of_its_own():
    model = painted("qwen2_5_vl")
    made = batch("qwen2_5_vl", "left")
    model.generate(**made, **ASKED)
    lower = model.to(torch.bfloat16)
    found = lower.generate(**made, **ASKED)
    assert torch.equal(found, lower.generate(**made, **ASKED, use_cache=False))


def test_rows_that_do_not_share_the_picture_run_whole():
    """One row's system prompt is another: what is shared ends before the picture."""
    model = painted("qwen2_5_vl")
    made = batch("qwen2_5_vl", "left")
    made["input_ids"][0, int(made["attention_mask"][0].argmax())] = 7
    runs = count_backbone_tokens(model)
    model.generate(**made, **ASKED)
    assert runs[0] == made["input_ids"].numel()


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("overhead", [0, 10**6])
def test_a_picture_behind_what_is_a_prompts_own_runs_once_a_prompt(name, overhead, monkeypatch):
    """As where each question has tools, which chat templates put into the system turn."""
    monkeypatch.setitem(prefix.OVERHEAD, "cpu", overhead)
    model = painted(name)
    made = batch(name, "left")
    lead = made["attention_mask"].argmax(dim=1)
    made["input_ids"][torch.arange(3), lead + 1] = torch.tensor([40, 41, 42])
    four = {key: value.repeat_interleave(4, dim=0) for key, value in made.items()}
    runs = count_backbone_tokens(model)
    found = model.generate(**four, **ASKED)
    assert runs[0] == 1, "the token that all have in common"
    assert sum(runs[:-3]) <= made["input_ids"].numel()
    assert runs[-3:] == [12, 12, 12]
    assert torch.equal(model.generate(**four, **ASKED, use_cache=False), found)
