"""A painting alone brings its adapter back, in a fresh process too, and unfit pictures are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from PIL import Image, PngImagePlugin

import zoo
from arttune import ArtConfig, BadInput, Painting, load
from arttune.tuner import art_layer
from tuner.test_model import batch

CHECK = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import zoo
from peft import PeftModel
from arttune import load
from tuner.test_model import batch
if sys.argv[2] == "peft":
    model = PeftModel.from_pretrained(zoo.tiny("qwen3_vl"), sys.argv[3])
else:
    model = load(zoo.tiny("qwen3_vl"), sys.argv[3] + "/art.png")
with torch.no_grad():
    torch.save(model(**batch("qwen3_vl")).logits, sys.argv[4])
"""


def test_a_fresh_process_gives_the_same_logits_both_ways(tmp_path):
    model = get_peft_model(zoo.tiny("qwen3_vl"), ArtConfig(start="noise"))
    with torch.no_grad():
        art_layer(model).canvas().weight.mul_(0.7).add_(0.1)  # a trained master lies between the PNG's levels
    model.save_pretrained(str(tmp_path))
    with torch.no_grad():
        expected = model(**batch("qwen3_vl")).logits
    for way in ("peft", "picture"):
        target = tmp_path / f"{way}.pt"
        command = [sys.executable, "-c", CHECK, str(Path(__file__).parent), way, str(tmp_path), str(target)]
        subprocess.run(command, check=True, capture_output=True)
        assert torch.allclose(torch.load(target), expected, atol=1e-6), way


def test_several_paintings_in_one_model(tmp_path):
    for name, colour in (("one", "#204060"), ("two", "#c08040")):
        get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start=colour)).save_pretrained(str(tmp_path / name))
    model = load(zoo.tiny("qwen2_5_vl"), tmp_path / "one" / "art.png", adapter_name="one")
    model = load(model, tmp_path / "two" / "art.png", adapter_name="two")
    alone = load(zoo.tiny("qwen2_5_vl"), tmp_path / "one" / "art.png")
    with torch.no_grad():
        two = model(**batch("qwen2_5_vl")).logits
        assert not any(p.requires_grad for p in model.parameters()), "a loaded painting is frozen"
        model.set_adapter("one")
        one = model(**batch("qwen2_5_vl")).logits
        assert torch.equal(one, alone(**batch("qwen2_5_vl")).logits)
    assert not torch.equal(one, two)


def test_a_plain_picture_of_a_legal_size_loads(tmp_path):
    Image.new("RGB", (224, 112), "#123456").save(tmp_path / "plain.png")
    model = load(zoo.tiny("qwen2_5_vl"), tmp_path / "plain.png")
    assert model.peft_config["default"].canvas_size == (112, 224)


def test_unfit_pictures(tmp_path):
    Image.new("RGB", (100, 100)).save(tmp_path / "odd.png")
    with pytest.raises(BadInput, match=r"odd\.png: canvas size 100x100 is not legal.*Nearest: 112x112 or 84x84"):
        load(zoo.tiny("qwen2_5_vl"), tmp_path / "odd.png")
    get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig()).save_pretrained(str(tmp_path))
    with pytest.raises(BadInput, match="was painted for qwen2_5_vl; this model is qwen3_vl"):
        load(zoo.tiny("qwen3_vl"), tmp_path / "art.png")
    painting = Painting.load(tmp_path / "art.png")
    picture = Image.open(tmp_path / "art.png")
    picture.putpixel((3, 3), (255, 0, 0))
    chunks = PngImagePlugin.PngInfo()
    for key, value in picture.text.items():
        chunks.add_itxt(key, value)
    picture.save(tmp_path / "edited.png", pnginfo=chunks)
    assert painting.intact()
    with pytest.raises(BadInput, match="sha256 differs"):
        load(zoo.tiny("qwen2_5_vl"), tmp_path / "edited.png")
    picture.resize((112, 112)).save(tmp_path / "small.png", pnginfo=chunks)
    with pytest.raises(BadInput, match="was painted at 224x224 pixels and is now 112x112"):
        load(zoo.tiny("qwen2_5_vl"), tmp_path / "small.png")
