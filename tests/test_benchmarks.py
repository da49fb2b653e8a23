"""The benchmarks still run: as short as they can, and for their printed result."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import zoo
from arttune import training
from arttune.compare import Comparison, compare, summary
from test_training import problems, settings

__all__ = ["problems"]

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
        (
            "likeness.py",
            (
                *("--artworks", "art.png", "--hold", "none", "0.9+32", "--seeds", "0", "--steps", "1"),
                *("--authors", "art.png=grey.png", "--plot", "plot.png"),
            ),
            "always the commonest answer: 11.3%",
        ),
        (
            "starts.py",
            ("--picture", "art.png", "--seeds", "0", "--steps", "1", "--plot", "plot.png"),
            "than those letters scrambled",
        ),
        ("robust.py", ("--start", "art.png", "--seeds", "0", "--steps", "1", "--test", "4"), "JPEG 50"),
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


@pytest.mark.slow
@zoo.REAL
def test_likeness_goes_on_from_what_was_measured_alone(tmp_path):
    def measure(holds: tuple[str, ...], steps: str = "1") -> subprocess.CompletedProcess[str]:
        art = str(FOLDER.parent / "recipes" / "compare" / "orchard.png")
        words = ["--artworks", art, "--hold", *holds, "--seeds", "0", "--steps", steps]
        command = [sys.executable, str(FOLDER / "likeness.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    first = measure(("none",))
    assert first.returncode == 0, first.stderr
    shutil.rmtree(tmp_path / "runs" / "likeness" / "orchard-free-0")
    second = measure(("none", "0.9"))
    assert second.returncode == 0, second.stderr
    assert sorted(path.name for path in (tmp_path / "runs" / "likeness").iterdir() if path.is_dir()) == [
        "orchard-0.9-0"
    ]
    line = next(line for line in first.stdout.splitlines() if "free" in line)
    assert line in second.stdout.splitlines()
    assert "is of a run whose steps is 1, not 2" in measure(("none",), "2").stderr


def test_what_was_compared_is_collected(tiny_folder, problems, tmp_path, monkeypatch, capsys):
    """A comparison half way is kept so that it goes on elsewhere; a finished one is published in place of its like."""
    spec = importlib.util.spec_from_file_location("collect", FOLDER / "collect.py")
    collect = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(collect)
    monkeypatch.chdir(tmp_path)
    run, kept, docs = (tmp_path / name for name in ("runs/compare/mine", "docs/compare/unfinished/mine", "docs"))
    docs.mkdir()
    others = {"scores": [{"recipe": "mine"}, {"recipe": "other"}], "pairs": []}
    (docs / "compare.json").write_text(json.dumps(others))
    rates = {"lora": [1e-3, 1e-2]}
    plan = Comparison(
        run=settings(tiny_folder, problems, steps=2, test_limit=4),
        adapters=["lora"],
        controls=[],
        seeds=[0],
        rates=rates,
        search_steps=1,
    )
    train = training.train

    def failing(settings, out, *rest):
        if out.name == "lora-0":
            raise KeyboardInterrupt
        return train(settings, out, *rest)

    monkeypatch.setattr(training, "train", failing)
    with pytest.raises(KeyboardInterrupt):
        compare(plan, run)
    monkeypatch.setattr(sys, "argv", ["collect.py", "mine"])
    collect.main()
    assert "mine: 1 cells to go" in capsys.readouterr().out
    shutil.rmtree(run)
    shutil.copytree(kept, run)
    begun = []
    monkeypatch.setattr(
        training, "train", lambda settings, out, *rest: begun.append(out) or train(settings, out, *rest)
    )
    summary.write(compare(plan, run), run, "mine", plan.rates)
    assert [out.name for out in begun] == ["lora-0"]
    (docs / "compare").mkdir(exist_ok=True)
    collect.main()
    told = json.loads((docs / "compare.json").read_text())
    assert [(one["recipe"], one.get("adapter")) for one in told["scores"]] == [
        ("other", None),
        ("mine", "none"),
        ("mine", "lora"),
    ]
    assert (docs / "compare" / "mine.png").is_file()
    assert not kept.exists()
    assert capsys.readouterr().out.strip() == (run / "compare.md").read_text().strip()
