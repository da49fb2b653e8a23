"""The demo as `make demo` runs it: its recipe, the real default model, and a gain that is no accident."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_the_demo_paints_a_picture_that_helps(tmp_path):
    arttune = Path(sys.executable).parent / "arttune"
    out = tmp_path / "demo"
    command = [arttune, "train", "--config", ROOT / "recipes" / "gallery" / "family.yaml", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    before, after = json.loads((out / "results.json").read_text())["scores"]
    assert after["n"] >= 150
    assert before["correct"] == 0
    answers = Counter(json.loads(line)["answer"] for line in (out / "samples.jsonl").read_text().splitlines())
    assert after["accuracy"] > answers.most_common(1)[0][1] / after["n"], "better than the commonest answer to all"
    (typed,) = [line.removeprefix("Next: ") for line in done.stdout.splitlines() if line.startswith("Next: ")]
    again = subprocess.run([*shlex.split(typed), "--json"], capture_output=True, text=True, check=True, cwd=ROOT)
    (score,) = json.loads(again.stdout)["scores"]
    assert score["correct"] == after["correct"], "the painting alone, in a fresh process, scores the same"
