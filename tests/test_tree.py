"""Running a batch as a tree gives what running every row whole gives: values, gradients, and TRL's fused outputs."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

import zoo
from arttune import flat, prefix
from arttune.attention import PLAIN
from arttune.tuner import ArtModel, art_layer
from tuner.test_model import batch, painted, with_labels

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


def attending(model: Any, attention: str) -> bool:
    """Have the text model attend so; whether all of a tree then runs in one pass."""
    model.get_base_model().set_attn_implementation({"text_config": attention})
    return attention == PLAIN and model.config.model_type != "qwen3_5"


def weigh(monkeypatch: pytest.MonkeyPatch, overhead: int) -> None:
    """Have a pass, or a part of one, weigh as many tokens."""
    monkeypatch.setitem(prefix.OVERHEAD, "cpu", overhead)
    monkeypatch.setattr(flat, "OVERHEAD", overhead)


def gradient(model: Any, made: dict[str, torch.Tensor], **extra: Any) -> tuple[Any, torch.Tensor]:
    canvas = art_layer(model).canvas().weight
    canvas.grad = None
    output = model(**made, **extra)
    output.loss.backward()
    return output, canvas.grad.clone()


def close(ours: Any, theirs: Any, fields: tuple[str, ...] = FIELDS) -> bool:
    return all(
        torch.allclose(getattr(ours, field).float(), getattr(theirs, field).float(), atol=1e-5) for field in fields
    )


def sampled(name: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Nine completions of three questions, shuffled as TRL does, padded on the left and on the right.

    And how long the questions are, and the completions.
    """
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
    return made, prompts["attention_mask"].sum(dim=1), lengths


def padded(made: dict[str, torch.Tensor], side: str) -> dict[str, torch.Tensor]:
    """The same rows with all padding on one side."""
    mask = made["attention_mask"].bool()
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    rows = {name: [row[real] for row, real in zip(value, mask, strict=True)] for name, value in made.items()}
    return {
        name: torch.nn.utils.rnn.pad_sequence(rows[name], batch_first=True, padding_value=fill[name], padding_side=side)
        for name in rows
    }


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager", PLAIN])
@pytest.mark.parametrize("passes", [1, 3])
def test_shared_equals_naive(name, fused, attention, passes, monkeypatch):
    weigh(monkeypatch, 0 if passes == 3 else 10**6)
    model = painted(name)
    at_once = attending(model, attention)
    if fused:
        add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    extra = {"fused_lm_head": True} if fused else {}
    made = with_labels(batch(name, completion="It is 4."), 7)
    runs = count_backbone_tokens(model.eval())
    ours, shared = gradient(model, made, **extra)
    many = 1 if at_once else 1 + passes
    assert len(runs) == many, "one prefix, and the rows behind it together or each on its own"
    assert sum(runs) < made["input_ids"].numel() - 2 * 60, "the picture's tokens ran once, not three times"
    if passes == 3:
        trunk = prefix.shared_length(made["input_ids"], made["attention_mask"])
        unseen = 3 if fused else 0  # the last token of each row, which only stands as a label
        assert sum(runs) == int(made["attention_mask"].sum()) - 2 * trunk - unseen, "no padding"
    with unshared(monkeypatch):
        theirs, naive = gradient(model, made, **extra)
    assert len(runs) == many + 1
    assert (shared - naive).norm() <= 1e-5 * naive.norm()
    assert torch.allclose(ours.loss, theirs.loss, rtol=1e-6)
    real = made["attention_mask"].bool()
    if fused:
        assert ours.log_probs.shape == made["input_ids"][:, 1:].shape
        assert close(ours, theirs)
        assert torch.equal(ours.label_mask, theirs.label_mask)
    else:
        assert (ours.logits - theirs.logits)[real].abs().max() <= 1e-5


@pytest.mark.parametrize("name", zoo.NAMES)
def test_in_training_the_vocabulary_is_projected_where_a_label_is(name, monkeypatch):
    model = painted(name).train()
    made = with_labels(batch(name, completion="It is 4."), 7)
    ours, compact = gradient(model, made)
    assert ours.logits.shape[:2] == (1, 3 * 7)
    theirs, whole = gradient(model.eval(), made)
    assert theirs.logits.shape[:2] == made["input_ids"].shape
    asked = (made["labels"][:, 1:] != -100).nonzero(as_tuple=True)
    assert (ours.logits[0] - theirs.logits[asked]).abs().max() <= 1e-5
    assert torch.allclose(ours.loss, theirs.loss, rtol=1e-6)
    assert (compact - whole).norm() <= 1e-5 * whole.norm()
    with unshared(monkeypatch):
        plain, naive = gradient(model.train(), made, num_items_in_batch=42)
    assert torch.allclose(plain.loss, ours.loss / 2, rtol=1e-6), "the trainer's own count of labels is taken"
    assert (compact / 2 - naive).norm() <= 1e-5 * naive.norm()


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kept", [0, 4])
@pytest.mark.parametrize("attention", ["sdpa", PLAIN])
def test_logits_of_all_and_of_the_last_positions(name, side, kept, attention, monkeypatch):
    """Without labels: a trainer that takes the logits itself."""
    model = painted(name)
    at_once = attending(model, attention)
    made = batch(name, side)
    real = made["attention_mask"].bool()[:, -kept:]
    canvas = art_layer(model).canvas().weight
    runs = count_backbone_tokens(model)
    weights = torch.randn(3, *real.shape[1:], 1, generator=torch.Generator().manual_seed(0)) * real[..., None]

    def pulled() -> tuple[torch.Tensor, torch.Tensor]:
        canvas.grad = None
        logits = model(**made, use_cache=False, logits_to_keep=kept).logits
        (logits * weights).sum().backward()
        return logits.detach(), canvas.grad.clone()

    ours, shared = pulled()
    assert len(runs) == (1 if at_once else 2)
    with unshared(monkeypatch):
        theirs, naive = pulled()
    assert ours.shape == theirs.shape == (3, kept or made["input_ids"].shape[1], len(zoo.tokenizer()))
    assert (ours - theirs)[real].abs().max() <= 1e-5
    assert (shared - naive).norm() <= 1e-5 * naive.norm()


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
    assert close(ours, theirs, (*FIELDS, "loss", "label_mask"))


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("kind", ["sft", "grpo"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["sdpa", PLAIN])
def test_the_gradient_is_the_naive_one(name, kind, side, checkpointing, dtype, attention, monkeypatch):
    """To a hundred-thousandth in float32, a cosine of 0.999 in bfloat16."""
    model = painted(name, dtype).train()
    attending(model, attention)
    made = sampled(name)[0] if kind == "grpo" else with_labels(batch(name, completion="It is 4."), 7)
    if kind == "grpo":
        add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    made = padded(made, side)
    extra = {"fused_lm_head": True} if kind == "grpo" else {}
    with unshared(monkeypatch):
        _, naive = gradient(model, made, **extra)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    runs = count_backbone_tokens(model)
    _, shared = gradient(model, made, **extra)
    assert sum(runs) < made["input_ids"].numel() - 2 * 60, "the picture's tokens ran once"
    if dtype == torch.float32:
        assert (shared - naive).norm() <= 1e-5 * naive.norm()
    else:
        assert torch.nn.functional.cosine_similarity(shared.flatten(), naive.flatten(), dim=0) >= 0.999


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("attention", ["sdpa", PLAIN])
def test_fused_outputs_of_a_left_padded_batch_equal_naive(name, attention, monkeypatch):
    """GRPO's batches: prompts padded on the left, completions on the right."""
    model = painted(name)
    at_once = attending(model, attention)
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
    assert len(runs) == (1 if at_once else 2), "one prefix, one suffix"
    with unshared(monkeypatch):
        theirs, naive = gradient(model, made, fused_lm_head=True)
    assert (shared - naive).norm() <= 1e-5 * naive.norm()
    assert close(ours, theirs)


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("overhead", [0, 10**6])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", PLAIN])
def test_completions_of_one_question_share_it(name, overhead, checkpointing, attention, monkeypatch):
    """A batch of GRPO: the questions run once each."""
    weigh(monkeypatch, overhead)
    model = painted(name).train()
    at_once = attending(model, attention)
    add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    made, questions, lengths = sampled(name)
    with unshared(monkeypatch):
        theirs, naive = gradient(model, made, fused_lm_head=True)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    runs = count_backbone_tokens(model)
    ours, shared = gradient(model, made, fused_lm_head=True)
    trunk = prefix.shared_length(*prefix.left_aligned(made["input_ids"], made["attention_mask"])[:2])
    own = questions - 1 - trunk  # the last token of a prompt runs with the completion
    recurrent = name == "qwen3_5"  # whose questions run in packs of one length
    asked = 3 * int(own.max()) if overhead and not recurrent else int(own.sum())
    replied = 9 * 5 if overhead else int(lengths.sum())  # no token but the last two
    if at_once:
        assert runs == [trunk + asked + replied]
    else:
        together = 1 if overhead and not recurrent else 3
        assert runs[0] == trunk
        assert sum(runs[1 : 1 + together]) == asked
        assert sum(runs[1 + together :]) == replied
    assert (shared - naive).norm() <= 1e-5 * naive.norm()
    assert close(ours, theirs)


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("attention", ["sdpa", PLAIN])
@pytest.mark.parametrize("side", ["left", "right"])
def test_completions_share_a_picture_that_stands_behind_what_is_their_questions_own(name, attention, side, monkeypatch):
    """As where each question has tools, which chat templates put into the system turn."""
    model = painted(name).train()
    attending(model, attention)
    add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    made, _, _ = sampled(name)
    made = padded(made, "right")
    third = torch.tensor([2, 0, 1, 1, 0, 2, 0, 2, 1])[:, None] + 40  # a token of each question's own
    own = {"input_ids": third, "attention_mask": torch.ones_like(third), "labels": torch.full_like(third, -100)}
    made = padded({key: torch.cat([value[:, :1], own[key], value[:, 1:]], dim=1) for key, value in made.items()}, side)
    with unshared(monkeypatch):
        theirs, naive = gradient(model, made, fused_lm_head=True)
    runs = count_backbone_tokens(model)
    ours, shared = gradient(model, made, fused_lm_head=True)
    assert sum(runs) < made["input_ids"].numel() - 5 * 64, "the picture ran three times, not nine"
    assert (shared - naive).norm() <= 1e-5 * naive.norm()
    assert close(ours, theirs)


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("attention", ["sdpa", PLAIN])
def test_checkpointed_layers_run_again_with_what_was_before_them(name, attention):
    """Layers are run again in the backward pass, the prefix's too, and the gradient is the same."""
    made = with_labels(batch(name), 6)
    _, expected = gradient(painted(name).train(), made)
    model = painted(name).train()
    at_once = attending(model, attention)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    calls: list[int] = []
    layers = model.get_base_model().model.language_model.layers
    layers[0].register_forward_pre_hook(lambda _, args: calls.append(args[0].shape[0]))
    _, found = gradient(model, made)
    assert calls == [1, 1] if at_once else [1, 3, 3, 1], "prefix, rows, and both again from the back"
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    assert not any("_can_checkpoint_with_cache" in vars(layer) for layer in layers)


def test_checkpointing_of_the_older_kind_runs_rows_whole_and_says_so():
    made = with_labels(batch("qwen2_5_vl"), 6)
    _, expected = gradient(painted("qwen2_5_vl").train(), made)
    model = painted("qwen2_5_vl").train()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    runs = count_backbone_tokens(model)
    with pytest.warns(UserWarning, match="use_reentrant=True runs every row whole"):
        _, found = gradient(model, made)
    assert runs[0] == made["input_ids"].numel()
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient(model.eval(), made)


def test_a_model_whose_layers_are_not_known_runs_rows_whole():
    model = painted("qwen2_5_vl")
    made = with_labels(batch("qwen2_5_vl"), 6)
    _, expected = gradient(model, made)
    text = model.get_base_model().config.text_config
    text.layer_types, text.sliding_window = ["full_attention", "sliding_attention"], 10**6
    model.get_base_model().model.language_model.has_sliding_layers = True
    runs = count_backbone_tokens(model)
    _, found = gradient(model, made)
    assert runs == [made["input_ids"].numel()]
    assert (found - expected).norm() <= 1e-5 * expected.norm()


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
