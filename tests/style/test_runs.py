"""Runs with looks: by every objective, limits hold, an interruption changes nothing, and adapters are told apart."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from peft import PeftModel, get_peft_model

import zoo
from arttune import ArtConfig, Painting, training
from arttune.records import read_metrics
from arttune.style.likeness import alike
from arttune.style.palette import colours
from arttune.style.starts import start_pixels
from arttune.tuner import art_layer
from test_training import WORDS, settings
from tuner.test_model import batch, with_labels

ORCHARD = "recipes/compare/orchard.png"
STYLE = {"style": "texture=0.5,patches=0.3,tower=0.5,variation=0.1", "style_picture": ORCHARD}
LOOKS = {
    "held and styled": {"start": "clouds", "likeness": 0.9, "limit": 60, "robust": True} | STYLE,
    "strokes": {"start": ORCHARD, "brush": "strokes:200"} | STYLE,
    "tiles of a palette": {"start": ORCHARD, "brush": "mosaic:8", "palette": f"{ORCHARD}:40"},
}


OFTEN = {("sft", "held and styled"), ("grpo", "tiles of a palette"), ("dpo", "strokes")}
EVERY = [
    pytest.param(how, looks, id=f"{how}-{name}", marks=() if (how, name) in OFTEN else pytest.mark.slow)
    for how in ("sft", "grpo", "dpo")
    for name, looks in LOOKS.items()
]


@pytest.mark.parametrize(("objective", "looks"), EVERY)
def test_every_objective_keeps_looks_through_an_interruption(objective, looks, tiny_folder, tmp_path, monkeypatch):
    said = [{"chosen": f"Answer: {word}", "rejected": "no", "completion": f"Answer: {word}"} for word in WORDS * 5]
    keep = {"sft": ("completion",), "dpo": ("chosen", "rejected"), "grpo": ()}[objective]
    rows = [
        {"prompt": f"{i}: say one", "answer": "aa"} | {name: one[name] for name in keep} for i, one in enumerate(said)
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "vowels.py").write_text(
        "def share(completions, **_): return [c[0]['content'].count('a') for c in completions]"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "vowels", raising=False)
    more = {"objective": objective, "batch_size": 8, "generations": 4, "beta": 0.1, "rewards": "vowels:share"}
    chosen = settings(tiny_folder, tmp_path / "own.jsonl", steps=6, eval_every=2, schedule="constant", **more, **looks)
    unbroken, out = tmp_path / "unbroken", tmp_path / "run"
    training.train(chosen, unbroken)
    training.train(chosen, out)
    for name in ("results.json", "art.png"):
        (out / name).unlink()
    shutil.rmtree(out / "checkpoints" / "checkpoint-6")
    training.resume(out, {})
    for place in ("checkpoints/checkpoint-6/art.png", "art.png"):
        ours, theirs = (Painting.load(folder / place).pixels for folder in (out, unbroken))
        assert torch.equal(ours, theirs)
    start = start_pixels(looks["start"], (224, 224))
    assert not torch.equal(ours, start)
    if "limit" in looks:
        assert int((ours.int() - start.int()).abs().max()) <= looks["limit"]
        assert alike(ours, start) >= looks["likeness"]
    if "palette" in looks:
        assert {tuple(one) for one in ours.flatten(1).T.tolist()} <= {
            tuple(c) for c in colours(looks["palette"]).tolist()
        }
    if "style" in looks:
        lines = [line for line in read_metrics(out / "metrics.jsonl") if "loss" in line]
        assert all({"texture", "patches", "variation", "tower 1"} <= line.keys() for line in lines)
    assert (out / "gallery.html").is_file()


def held(name: str = "default", **looks) -> PeftModel:
    """A model with a canvas that noise has been painted on."""
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start=ORCHARD, **looks), adapter_name=name)
    noise = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(len(name)))
    art_layer(model).canvas(name).weight.data += 0.2 * noise
    return model


def test_adapters_are_the_same_pictures_under_other_names_and_beside_others(tmp_path):
    expected = {}
    for name, looks in (("default", {"limit": 30}), ("logo", {"limit": 60, "likeness": 0.8})):
        model = held(name, **looks)
        expected[name] = art_layer(model).painting(name).pixels
        model.save_pretrained(tmp_path / name)
    folders = {"default": tmp_path / "default", "logo": tmp_path / "logo" / "logo"}
    for name, folder in folders.items():
        for other in ("default", "third"):
            alone = PeftModel.from_pretrained(zoo.tiny("qwen2_5_vl"), str(folder), adapter_name=other)
            assert torch.equal(art_layer(alone).painting(other).pixels, expected[name]), (name, other)
    both = PeftModel.from_pretrained(zoo.tiny("qwen2_5_vl"), str(folders["default"]))
    both.load_adapter(str(folders["logo"]), "logo")
    for name in folders:
        assert torch.equal(art_layer(both).painting(name).pixels, expected[name])


def test_the_reference_of_a_loaded_canvas_is_that_canvas(tmp_path):
    """The loop is TRL's own, which copies parameters alone."""
    model = held(limit=30, likeness=0.8)
    expected = art_layer(model).painting().pixels
    model.save_pretrained(tmp_path)
    model = PeftModel.from_pretrained(zoo.tiny("qwen2_5_vl"), str(tmp_path), is_trainable=True)
    model.add_adapter("ref", model.peft_config["default"])
    for name, param in model.named_parameters():
        if ".default." in name:
            model.get_parameter(name.replace(".default.", ".ref.")).data.copy_(param.data)
    assert torch.equal(art_layer(model).painting("ref").pixels, expected)
    model.set_adapter("ref")
    with torch.no_grad():
        assert torch.equal((art_layer(model).pixels() * 255).round().to(torch.uint8), expected)


def test_likeness_is_not_judged_in_the_trainers_half_precision():
    model = held(likeness=0.99).train()
    made = with_labels(batch("qwen2_5_vl", completion=" Fine."), 3)
    expected = art_layer(model).painting().pixels
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**made).loss
    loss.backward()
    assert torch.equal(art_layer(model).painting().pixels, expected)
    assert not torch.equal(expected, start_pixels(ORCHARD, (224, 224)))
    assert art_layer(model).canvas().taste.figures["likeness"] == pytest.approx(
        alike(expected, start_pixels(ORCHARD, (224, 224))), abs=1e-4
    )


def test_looking_on_bends_nothing():
    """A gradient that is taken in evaluation is the objective's own."""
    made, slopes = with_labels(batch("qwen2_5_vl", completion=" Fine."), 3), []
    for looks in ({}, {"likeness": 0.5} | STYLE):
        model = held(**looks).eval()
        model(**made).loss.backward()
        slopes.append(art_layer(model).canvas().weight.grad)
    assert torch.equal(*slopes)
    assert int(art_layer(model).canvas().taste.steps) == 0
