"""The shared prefix gives what running every row whole gives: values, gradients, and TRL's fused outputs."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import combinations
from typing import Any

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from arttune import prefix
from arttune.prefix import packed, shared_length
from arttune.tuner import ArtModel, art_layer
from tuner.test_model import batch, painted, with_labels

SHARING = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
FIELDS = ("log_probs", "entropy", "is_top1")


@contextmanager
def unshared(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Within the block every row runs whole."""
    with monkeypatch.context() as patch:
        patch.setattr(ArtModel, "_may_share", lambda self, kwargs: False)
        yield


def count_backbone_tokens(model: Any) -> list[int]:
    """How many tokens each call of the text model runs."""
    seen: list[int] = []
    text = model.get_base_model().model.language_model
    text.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    return seen


def gradient(model: Any, made: dict[str, torch.Tensor], **extra: Any) -> tuple[Any, torch.Tensor]:
    canvas = art_layer(model).canvas().weight
    canvas.grad = None
    output = model(**made, **extra)
    output.loss.backward()
    return output, canvas.grad.clone()


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("passes", [1, 3])
def test_shared_equals_naive(name, fused, attention, passes, monkeypatch):
    monkeypatch.setitem(prefix.OVERHEAD, "cpu", 0 if passes == 3 else 10**6)
    model = painted(name)
    model.get_base_model().set_attn_implementation({"text_config": attention})
    if fused:
        add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    extra = {"fused_lm_head": True} if fused else {}
    made = with_labels(batch(name, completion="It is 4."), 7)
    runs = count_backbone_tokens(model)
    ours, shared = gradient(model, made, **extra)
    assert len(runs) == 1 + passes, "one prefix, and the rows behind it together or each on its own"
    assert sum(runs) < made["input_ids"].numel() - 2 * 60, "the picture's tokens ran once, not three times"
    if passes == 3:
        unseen = 3 if fused else 0  # the last token of each row, which only stands as a label
        assert sum(runs) == int(made["attention_mask"].sum()) - 2 * runs[0] - unseen, "no padding"
    with unshared(monkeypatch):
        theirs, naive = gradient(model, made, **extra)
    assert len(runs) == 2 + passes
    assert (shared - naive).norm() <= 1e-5 * naive.norm()
    assert torch.allclose(ours.loss, theirs.loss, rtol=1e-6)
    real = made["attention_mask"].bool()
    if fused:
        for field in FIELDS:
            assert getattr(ours, field).shape == made["input_ids"][:, 1:].shape
            assert torch.allclose(getattr(ours, field).float(), getattr(theirs, field).float(), atol=1e-5)
        assert torch.equal(ours.label_mask, theirs.label_mask)
    else:
        assert (ours.logits - theirs.logits)[real].abs().max() <= 1e-5


def test_fused_outputs_equal_trls_own_on_every_position():
    """TRL's head on the plain model, every row whole and no compaction, is the reference."""
    model = painted("qwen2_5_vl")
    made = with_labels(batch("qwen2_5_vl"), 6)
    add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    ours = model(**made, fused_lm_head=True)
    tuner = model.base_model
    types = (made["input_ids"] == model.config.image_token_id).long()
    with torch.no_grad():
        theirs = tuner.model(**made, mm_token_type_ids=types, **tuner.features(3, 3), fused_lm_head=True)
    for field in (*FIELDS, "loss", "label_mask"):
        assert torch.allclose(getattr(ours, field).float(), getattr(theirs, field).float(), atol=1e-5), field


def test_bfloat16_gradients_point_the_same_way(monkeypatch):
    model = painted("qwen2_5_vl", torch.bfloat16)
    made = with_labels(batch("qwen2_5_vl"), 6)
    _, shared = gradient(model, made)
    with unshared(monkeypatch):
        _, naive = gradient(model, made)
    assert torch.nn.functional.cosine_similarity(shared.flatten(), naive.flatten(), dim=0) >= 0.99


def test_gradient_checkpointing_falls_back_and_stays_right():
    """transformers drops the cache under checkpointing; sharing it would train the suffix without the picture."""
    made = with_labels(batch("qwen2_5_vl"), 6)
    plain = painted("qwen2_5_vl")
    _, expected = gradient(plain, made)
    model = painted("qwen2_5_vl")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    runs = count_backbone_tokens(model)
    _, found = gradient(model, made)
    assert runs[0] == made["input_ids"].numel()
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("name", SHARING)
def test_fused_outputs_of_a_left_padded_batch_equal_naive(name, monkeypatch):
    """GRPO's batches: prompts padded on the left, completions on the right."""
    model = painted(name)
    add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    prompts = batch(name, "left")
    replies = torch.tensor([[50, 51, 52, 53], [54, 55, 0, 0], [56, 0, 0, 0]])
    ids = torch.cat([prompts["input_ids"], replies], dim=1)
    mask = torch.cat([prompts["attention_mask"], (replies > 0).long()], dim=1)
    labels = torch.cat([torch.full_like(prompts["input_ids"], -100), replies.masked_fill(replies == 0, -100)], dim=1)
    made = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    assert not bool(mask[:, 0].all()), "some row is padded on the left"
    runs = count_backbone_tokens(model)
    ours, shared = gradient(model, made, fused_lm_head=True)
    assert len(runs) == 2, "one prefix, one suffix"
    with unshared(monkeypatch):
        theirs, naive = gradient(model, made, fused_lm_head=True)
    assert (shared - naive).norm() <= 1e-5 * naive.norm()
    for field in FIELDS:
        assert torch.allclose(getattr(ours, field).float(), getattr(theirs, field).float(), atol=1e-5)


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("overhead", [0, 10**6])
def test_completions_of_one_question_share_it(name, overhead, monkeypatch):
    """Nine completions of three questions, shuffled as TRL does: the questions run once each."""
    monkeypatch.setitem(prefix.OVERHEAD, "cpu", overhead)
    model = painted(name)
    add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    prompts = batch(name, "left")
    mixed = torch.tensor([2, 0, 1, 1, 0, 2, 0, 2, 1])
    lengths = torch.tensor([3, 1, 5, 2, 4, 1, 5, 2, 4])
    written = torch.arange(5) < lengths[:, None]
    replies = torch.randint(20, 60, (9, 5), generator=torch.Generator().manual_seed(0)) * written
    ids = torch.cat([prompts["input_ids"][mixed], replies], dim=1)
    mask = torch.cat([prompts["attention_mask"][mixed], written.long()], dim=1)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, : -replies.shape[1]] = -100
    made = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    runs = count_backbone_tokens(model)
    ours, shared = gradient(model, made, fused_lm_head=True)
    stems = prompts["attention_mask"].sum(dim=1) - 1 - runs[0]  # the last token of a prompt runs with the completion
    assert runs[1] == 3 * int(stems.max())
    assert sum(runs[2:]) == (9 * 5 if overhead else int(lengths.sum())), "nothing runs after the last token but one"
    with unshared(monkeypatch):
        theirs, naive = gradient(model, made, fused_lm_head=True)
    assert (shared - naive).norm() <= 1e-5 * naive.norm()
    for field in FIELDS:
        assert torch.allclose(getattr(ours, field).float(), getattr(theirs, field).float(), atol=1e-5)


def test_packs_are_the_cheapest():
    """Against every way to cut the rows, in order of length, into packs."""

    def cost(packs: list[list[int]], overhead: int) -> int:
        return sum(len(pack) * max(lengths[row] for row in pack) + overhead for pack in packs)

    lengths = [7, 2, 30, 3, 3, 31, 12, 1]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for overhead in (0, 5, 20, 1000):
        found = packed(lengths, overhead)
        assert sorted(row for pack in found for row in pack) == list(range(len(lengths)))
        every = (
            [order[a:b] for a, b in zip((0, *cuts), (*cuts, len(order)), strict=True)]
            for count in range(len(order))
            for cuts in combinations(range(1, len(order)), count)
        )
        assert cost(found, overhead) == min(cost(packs, overhead) for packs in every)
    assert packed([4, 4], 64) in ([[0, 1]], [[1, 0]])


@pytest.mark.parametrize("name", SHARING)
def test_generate_runs_the_prefix_once_and_gives_back_the_prompts_as_they_came(name):
    model = painted(name)
    made = batch(name, "left")
    runs = count_backbone_tokens(model)
    asked = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    found = model.generate(**made, **asked)
    width = made["input_ids"].shape[1]
    assert torch.equal(found[:, :width], made["input_ids"])
    assert runs[1:] == [3 * (width - runs[0]), 3, 3], "the rest of the prompts in one pass, then a token each"
    assert torch.equal(model.generate(**made, **asked, num_beams=1), found)
    assert torch.equal(model.generate(**made, **asked, use_cache=False), found)
    beams = model.generate(**made, **asked, num_beams=2)
    assert beams.shape == found.shape


def test_left_padding_without_labels_and_recurrent_models_run_whole():
    for name, side in (("qwen2_5_vl", "left"), ("qwen3_5", "right")):
        model = painted(name)
        made = batch(name, side)
        runs = count_backbone_tokens(model)
        model(**made, use_cache=False)
        assert runs == [made["input_ids"].numel()]


def test_a_caller_that_wants_the_cache_gets_it():
    model = painted("qwen2_5_vl")
    made = batch("qwen2_5_vl")
    with torch.no_grad():
        assert model(**made).past_key_values.get_seq_length() == made["input_ids"].shape[1]
        assert model(**made, use_cache=True).past_key_values is not None


def test_the_backbone_is_left_as_it_was():
    model = painted("qwen2_5_vl")
    backbone = model.get_base_model().model
    before = dict(vars(backbone))
    model(**with_labels(batch("qwen2_5_vl"), 4))
    assert vars(backbone).keys() == before.keys()


def test_shared_length():
    ids = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 9, 0], [1, 2, 3, 9, 7]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    assert shared_length(ids, mask) == 3
    assert shared_length(ids, None) == 3
    assert shared_length(ids[:1], mask[:1]) == 0, "one row shares with nobody"
    assert shared_length(ids, mask, (torch.tensor([0, 1]), torch.tensor([4, 1]))) == 1, "a wanted position stays out"
    left = torch.tensor([[0, 1, 1, 1, 1]] + [[1, 1, 1, 1, 1]] * 2)
    assert shared_length(ids, left) == 0
    same = ids[:1].expand(3, -1)
    assert shared_length(same, None) == 4, "every row keeps a token of its own"
