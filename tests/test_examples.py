"""The example scripts run as they stand, and what they leave is a painting that another process can load."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

import zoo
from arttune import Painting, load
from arttune.style.starts import start_pixels

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("name", ["transformers_trainer", "trl_lora_to_art"])
def test_example(name, tiny_folder, tmp_path):
    problems = tmp_path / "p.jsonl"
    rows = [{"prompt": f"say {word}", "completion": f"{word}!"} for word in ("red", "green", "blue", "grey") * 4]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(str(tiny_folder), str(problems), str(tmp_path / "out"))
    painting = Painting.load(tmp_path / "out" / "art.png")
    start = start_pixels("noise" if name == "transformers_trainer" else "grey", (224, 224))
    moved = (painting.pixels.float() - start.float()).abs()
    assert moved.mean() > 5, "twenty steps of 0.02 move most pixels by many levels"
    shown = load(zoo.tiny("qwen2_5_vl"), tmp_path / "out" / "art.png")
    assert torch.equal(shown.base_model.layer.painting("default").pixels, painting.pixels)
