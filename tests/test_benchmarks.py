"""The benchmarks still run: as short as they can, and for their printed result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import zoo

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
@zoo.REAL
@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("cpu_step.py", ("--rounds", "1", "--steps", "1", "--arm", "plain attention"), "1.00 of the first"),
        ("optimizer.py", ("--steps", "2", "--batch", "2", "--arm", "muon 0.02"), "kept-out loss"),
        ("grpo_directions.py", ("--batches", "2", "--batch-size", "8"), "levelled"),
        ("step_time.py", ("--rounds", "1", "--batch-size", "2", "--arm", "art", "--arm", "lora"), "floor:"),
        ("scaling.py", ("--rounds", "1", "--series", "words"), "1.00"),
        ("budget.py", ("--minutes", "0.02", "--test", "2", "--arm", "64 tokens"), "64 tokens"),
        ("evaluation.py", ("--rounds", "1", "--problems", "4"), "times as fast"),
        (
            "style_time.py",
            ("--rounds", "1", "--batch-size", "2", "--artwork", "art.png", "--style-picture", "art.png"),
            "strokes:3000",
        ),
        ("likeness.py", ("--artworks", "art.png", "--least", "none", "0.9", "--steps", "1"), "art"),
        ("starts.py", ("--picture", "art.png", "--seeds", "0", "--steps", "1"), "poster, an instruction"),
        ("robust.py", ("--start", "art.png", "--steps", "1", "--test", "4"), "JPEG 50"),
        ("recording.py", ("smol", "grey.png", "--rows", "4", "--tokens", "8", "--rounds", "1"), "same: 100.0%"),
    ],
)
def test_it_runs(name, arguments, says, tmp_path):
    Image.new("RGB", (224, 224), (128, 128, 128)).save(tmp_path / "grey.png")
    Image.open(FOLDER.parent / "recipes" / "compare" / "orchard.png").save(tmp_path / "art.png")
    command = [sys.executable, str(FOLDER / name), *arguments, "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert '"ratios"' in (tmp_path / "found.json").read_text()
