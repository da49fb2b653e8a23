"""LoRA and a soft prompt go through the same run as a canvas, and are scored as they were trained."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import get_peft_model
from transformers import AutoTokenizer
from trl.trainer.utils import add_fused_lm_head

import zoo
from arttune import ArtConfig, adapters, prefix, training
from arttune.errors import BadInput
from arttune.evaluate import Decoding, answers, greedy
from arttune.scoring import Request, open_request, painting_file
from arttune.tasks import Problem
from test_training import problems, settings
from test_tree import FIELDS, close, count_backbone_tokens
from tuner.test_model import with_labels

__all__ = ["problems"]

OTHERS = ["lora", "soft-prompt"]


def adapted(name: str, family: str = "qwen2_5_vl"):
    torch.manual_seed(0)
    config = adapters.configured(name, ArtConfig(family=family), rank=4)
    model = get_peft_model(zoo.tiny(family), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)  # LoRA starts from zero
    return model.eval()


def text(side: str) -> dict[str, torch.Tensor]:
    """Rows without a picture."""
    rows = ["<|im_start|>user\nWhat?<|im_end|>\n", "<|im_start|>user\nAnd so on?<|im_end|>\n", "Hm"]
    read = zoo.tokenizer()(rows, return_tensors="pt", padding=True, padding_side=side, add_special_tokens=False)
    return {name: read[name] for name in ("input_ids", "attention_mask")}


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_is_that_of_a_canvas(name, tiny_folder, problems, tmp_path):
    out = tmp_path / "run"
    scores = training.train(settings(tiny_folder, problems, adapter=name), out)
    assert [score.adapter for score in scores] == ["none", name]
    made = {path.name for path in out.iterdir()}
    assert {"adapter_model.safetensors", "results.json", "samples.jsonl", "learning_curve.png"} <= made
    assert not {"art.png", "start_and_end.png"} & made
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines() if "loss" in line]
    assert losses[-1] < losses[0]
    request = Request(str(tiny_folder), str(problems), str(out), max_new_tokens=8, dtype="float32", threads=1)
    found = open_request(request).run()[0]
    assert (found.adapter, found.correct, found.tokens) == (name, scores[1].correct, scores[1].tokens)


@pytest.mark.parametrize("name", OTHERS)
def test_an_interrupted_run_ends_the_same(name, tiny_folder, problems, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    training.train(settings(tiny_folder, problems, adapter=name), whole)
    training.train(settings(tiny_folder, problems, adapter=name), cut)
    (cut / "results.json").unlink()
    last = max((cut / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for path in last.iterdir():
        path.unlink()
    training.resume(cut, {})
    assert (whole / "adapter_model.safetensors").read_bytes() == (cut / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("fused", [False, True])
def test_projecting_labels_alone_changes_nothing(name, fused):
    model = adapted(name).train()
    if fused:
        add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    extra = {"fused_lm_head": True} if fused else {}
    made = with_labels(text("right"), 4)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    theirs = model(**made, **extra)
    expected = torch.autograd.grad(theirs.loss, weights)
    adapters.project_labels_alone(model)
    ours = model(**made, **extra)
    for found, wanted in zip(torch.autograd.grad(ours.loss, weights), expected, strict=True):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    assert torch.allclose(ours.loss, theirs.loss, rtol=1e-6)
    if fused:
        assert close(ours, theirs)
    else:
        assert ours.logits.shape[1] == int((made["labels"][:, 1:] != -100).sum())


@pytest.mark.parametrize("family", zoo.NAMES)
def test_rollouts_of_the_same_prompts_run_them_once_and_say_the_same(family, monkeypatch):
    monkeypatch.setitem(prefix.OVERHEAD, "cpu", 0)
    model = adapted("lora", family)
    made = {key: value.repeat_interleave(4, dim=0) for key, value in text("left").items()}
    asked = {"max_new_tokens": 5, "do_sample": False}
    expected = model.generate(**made, **asked)
    whole = count_backbone_tokens(model)
    model.generate(**made, **asked)
    adapters.share_prompts(model)
    less = count_backbone_tokens(model)
    assert torch.equal(model.generate(**made, **asked), expected)
    assert sum(less) < 0.6 * sum(whole)
    told = model.generate(**made, **asked, return_dict_in_generate=True)
    assert torch.equal(told.sequences, expected)


@pytest.mark.parametrize("family", zoo.NAMES)
@pytest.mark.parametrize("name", OTHERS)
def test_greedy_answers_are_those_of_the_forward_pass_that_was_trained(name, family):
    """In a batch padded on the left, against each row by itself, a token at a time."""
    model = adapted(name, family)
    made = text("left")
    found = greedy(model, made, Decoding(4), zoo.tokenizer().pad_token_id)
    for row, mask, answer in zip(made["input_ids"], made["attention_mask"].bool(), found, strict=True):
        ids = row[mask][None]
        for token in answer:
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
            assert int(logits[0, -1].argmax()) == int(token)
            ids = torch.cat([ids, token[None, None]], dim=1)
            if int(token) == model.get_base_model().generation_config.eos_token_id:
                break


def test_eval_of_a_run_has_its_template_and_says_what_it_holds(tiny_folder, problems, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.chat_template = "{% if loud %}LOUD {% endif %}" + tokenizer.chat_template
    tokenizer.save_pretrained(tiny_folder)
    training.train(settings(tiny_folder, problems, adapter="lora", steps=1, template="loud=true"), tmp_path / "run")
    ready = open_request(Request(str(tiny_folder), str(problems), str(tmp_path / "run")))
    assert ready.loaded.tokenizer.apply_chat_template(ready.problems[0].prompt, tokenize=False)[:5] == "LOUD "
    assert ready.warnings == []
    with pytest.raises(BadInput, match="another adapter than a painting"):
        painting_file(str(tmp_path / "run"))


def test_weights_of_another_model_are_told(tiny_folder, problems, tmp_path):
    run, same, wider = tmp_path / "run", tmp_path / "same", tmp_path / "wider"
    training.train(settings(tiny_folder, problems, adapter="lora", steps=1), run)
    shutil.copytree(tiny_folder, same)
    other = zoo.tiny("qwen2_5_vl")
    other.config.text_config.intermediate_size += 32
    type(other)(other.config).save_pretrained(wider)
    zoo.tokenizer().save_pretrained(wider)
    (warning,) = open_request(Request(str(same), str(problems), str(run))).warnings
    assert warning == f"{run} was trained for {tiny_folder}, not for {same}; it may do nothing here"
    with pytest.raises(BadInput, match=f"{run} was trained for {tiny_folder} and does not fit {wider}"):
        open_request(Request(str(wider), str(problems), str(run)))
    (run / "config.yaml").unlink()
    with pytest.raises(BadInput, match=f"{run} was trained for {tiny_folder} and does not fit {wider}"):
        open_request(Request(str(wider), str(problems), str(run)))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (run / name).write_bytes((run / name).read_bytes()[:100])
        with pytest.raises(BadInput, match=f"{run / name} is damaged"):
            open_request(Request(str(tiny_folder), str(problems), str(run)))


def test_a_gradient_that_is_not_finite_moves_nothing():
    model = adapted("lora")
    adam = adapters.optimizer(model, 1e-3, 0.0)
    (group,) = adam.param_groups
    before = [weight.detach().clone() for weight in group["params"]]
    for weight in group["params"]:
        weight.grad = torch.full_like(weight, float("nan"))
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        adam.step()
    assert all(torch.equal(one, other) for one, other in zip(before, group["params"], strict=True))


def test_a_soft_prompt_is_counted_as_the_picture_is():
    asked = [Problem([{"role": "user", "content": "x"}])]
    plain, soft = zoo.tiny("qwen2_5_vl"), adapted("soft-prompt")
    read = [answers(model, zoo.tokenizer(), asked, Decoding(1))[1] for model in (plain, soft)]
    assert read[1] - read[0] == 64


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adapter": "soft-prompt", "objective": "grpo"}, "a soft-prompt learns by sft alone"),
        (
            {"adapter": "lora", "objective": "grpo", "rollouts": "http://x"},
            "a server .* has no lora",
        ),
        ({"adapter": "dora"}, "adapter is 'dora'; use art, lora, soft-prompt"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes, told, tiny_folder, problems):
    with pytest.raises(BadInput, match=told):
        settings(tiny_folder, problems, **changes)
