"""The tables of the docs say what docs/compare.json says, number by number, and no comparison is left out of them.

The gallery's says what its paintings carry, and is of its recipes.
"""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from arttune import Painting
from arttune.compare.plan import CONTROLS
from arttune.compare.result import Answered
from arttune.compare.summary import AGAINST, pooled
from arttune.settings import Settings
from arttune.style.likeness import alike
from arttune.style.looks import Looks
from arttune.style.starts import start_pixels
from arttune.tasks import get_task

ROOT = Path(__file__).parent.parent
FOUND = json.loads((ROOT / "docs/compare.json").read_text())
SCORES: list[dict[str, Any]] = FOUND["scores"]
NAMES = {title: control for control, title in CONTROLS.items()}  # other adapters are called what they are
RESULTS = (ROOT / "docs/results.md").read_text()
# The lines of README's table: how each begins, and which comparison on which task it is.
LINES = {
    "SVAMP, `smol`": ("smol_svamp", "svamp"),
    "SVAMP, `qwen-0.5b`": ("qwen_svamp", "svamp"),
    "who is whose aunt, `smol`": ("smol_family", "reasoning_gym:family_relationships"),
    "who is whose aunt, `qwen-0.5b`": ("qwen_family", "reasoning_gym:family_relationships"),
    "service calls, `smol`, 118 problems": ("smol_sgd", "sgd"),
    "service calls, `qwen-0.5b`, 90 problems": ("qwen_sgd", "sgd"),
    "SVAMP by rewards alone, `qwen-0.5b`": ("qwen_svamp_grpo", "svamp"),
}
GALLERY = ROOT / "docs/gallery"
BEST = "the best control"
COLUMNS = ("none", BEST, "art", "soft-prompt", "lora")


def seeds(recipe: str, task: str, adapter: str) -> list[dict[str, Any]]:
    found = [s for s in SCORES if (s["recipe"], s["task"], s["adapter"]) == (recipe, task, adapter)]
    return sorted(found, key=lambda score: score["seed"])


def mean(scores: list[dict[str, Any]]) -> float | None:
    return sum(s["accuracy"] for s in scores) / len(scores) if scores else None


def rows(text: str) -> list[list[str]]:
    """The cells of each line of a Markdown table, without its heads and emphasis."""
    lines = [line.strip("|") for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip(" *") for cell in line.split("|")] for line in lines]


def interval(scores: list[dict[str, Any]]) -> str:
    """Of all seeds; of several it takes to know which problems each had right, which was not always kept."""
    if "right" in scores[0]:
        low, high = pooled([Answered(score, [one == "1" for one in score["right"]]) for score in scores])[1]
    elif len(scores) == 1:
        low, high = scores[0]["ci95"]
    else:
        return ""
    return f" [{low:.1%}, {high:.1%}]"


def beside(scores: list[dict[str, Any]]) -> dict[str, str]:
    """What stands beside accuracy, by column."""
    one, seconds = scores[0], statistics.mean(score["training_seconds"] for score in scores)
    return {
        "format": f"{statistics.mean(score['format_rate'] for score in scores):.0%}",
        "trained": f"{one['trained_parameters']:,}" if seconds else "",
        "to ship": f"{one['bytes'] / 1024:,.0f} KiB" if seconds else "",
        "training": f"{seconds:.0f} s" if seconds else "",
        "tokens a request": f"{statistics.mean(score['tokens'] / score['n'] for score in scores):.0f}",
    }


def published() -> list[tuple[str, str, int, list[list[str]]]]:
    """Recipe, task, problems and rows of each table of a comparison: it stands over the plot of its recipe."""
    found = []
    for table in re.finditer(r"^(\S+), (\d+) test problems:\n\n((?:\|.*\n)+)", RESULTS, re.M):
        recipe = re.search(r"\]\(compare/(\w+)\.png\)", RESULTS[table.end() :])
        assert recipe, table.group(1)
        found.append((recipe.group(1), table.group(1), int(table.group(2)), rows(table.group(3))))
    return found


@pytest.mark.parametrize(("recipe", "task", "n", "told"), published())
def test_a_table_says_what_was_scored(recipe, task, n, told):
    head, *told = told
    tests = {
        (one["name"], f"against {AGAINST.get(one['against'])}"): one
        for one in FOUND["pairs"]
        if (one["recipe"], one["task"]) == (recipe, task)
    }
    assert [NAMES.get(row[0], row[0]) for row in told] == list(
        dict.fromkeys(s["adapter"] for s in SCORES if (s["recipe"], s["task"]) == (recipe, task))
    )
    for row in told:
        scores = seeds(recipe, task, NAMES.get(row[0], row[0]))
        assert row[2] == ", ".join(f"{score['accuracy']:.1%}" for score in scores), row[0]
        assert row[1].startswith(f"{mean(scores):.1%}{interval(scores)}"), row[0]
        assert {score["n"] for score in scores} == {n}
        cells = dict(zip(head, row, strict=True))
        assert beside(scores).items() <= cells.items(), row[0]
        assert cells["rate"].split(" ")[0] == (f"{rate:g}" if (rate := scores[0]["learning_rate"]) else "")
        for column, cell in cells.items():
            one = tests.get((NAMES.get(row[0], row[0]), column))
            said = one and "{:+.1f} [{:+.1f}, {:+.1f}], p ".format(
                *(100 * x for x in (one["difference"], *one["ci95"]))
            )
            assert cell.startswith(said) if said else cell == "" or not column.startswith("against"), (row[0], column)


def test_every_score_is_in_a_table():
    assert {(recipe, task) for recipe, task, *_ in published()} == {(s["recipe"], s["task"]) for s in SCORES}


def test_the_readme_has_every_comparison_on_the_task_it_trained():
    table = (ROOT / "README.md").read_text().split("What has been compared so far")[1].split("\n\n")[1]
    told = {row[0]: row[1:] for row in rows(table)[1:]}
    assert told.keys() == LINES.keys()
    assert {recipe for recipe, _ in LINES.values()} == {score["recipe"] for score in SCORES}
    for name, (recipe, task) in LINES.items():
        for adapter, cell in zip(COLUMNS, told[name], strict=True):
            if adapter == BEST:  # the comparison by rewards had none: that of the same model, task and problems is told
                source = "qwen_svamp" if recipe == "qwen_svamp_grpo" else recipe
                shares = {one: mean(seeds(source, task, one)) or 0.0 for one in CONTROLS if one != "none"}
                best = max(shares, key=lambda one: shares[one])
                assert best == ("instruction" if recipe.endswith("_sgd") else "few-shot")  # as head and footnote say
                found = shares[best]
            else:
                found = mean(seeds(recipe, task, adapter))
            assert cell.replace(" %", "%") == ("" if found is None else f"{found:.1%}"), (name, adapter)


@pytest.mark.parametrize("path", sorted(GALLERY.glob("*.png")), ids=lambda path: path.stem)
def test_the_gallery_says_what_its_paintings_carry(path, monkeypatch):
    monkeypatch.chdir(ROOT)  # recipes name their starts from there
    (cells,) = [row for row in rows((GALLERY / "README.md").read_text()) if row[1] == path.stem]
    does, style = cells[2:]
    painting, settings = Painting.load(path), Settings.read(ROOT / f"recipes/gallery/{path.stem}.yaml", {})
    made = painting.provenance
    assert (made.task, made.objective, made.start) == (settings.task, settings.objective, settings.start)
    assert (made.steps, made.seed) == (settings.steps, settings.seed)
    looks = {one.name: getattr(settings, one.name) for one in fields(Looks) if one.name != "start"}
    defaults = vars(Settings())
    assert made.looks == {name: asked for name, asked in looks.items() if asked != defaults[name]}

    before, after = made.scores
    told = "0 → **{:.1f} %** [{:.1f}, {:.1f}]".format(*(100 * share for share in (after["accuracy"], *after["ci95"])))
    assert told in does
    assert (before["correct"], before["n"], after["n"]) == (0, 150, 150)
    task = get_task(made.task)
    for constant, share in re.findall(r"always `(.+)` would be ([\d.]+) %", does):
        right = sum(task.grade(problem, f"Answer: {constant}").correct for problem in task.load("test")[:150])
        assert share in (f"{100 * right / 150:.0f}", f"{100 * right / 150:.1f}")

    for flag, value in re.findall(r"--([a-z-]+)(?: ([^-]\S*))?", " ".join(re.findall(r"`(--[^`]+)`", style))):
        assert value in ("", str(made.looks[flag.replace("-", "_")])), flag
    start = start_pixels(made.start, made.size, seed=made.seed)
    for told in re.findall(r"MS-SSIM (\d\.\d+)", does + style):
        assert told == f"{alike(painting.pixels, start):.3f}"
    for told in re.findall(r"([\d,]+) have another colour", style):
        assert told == f"{(painting.pixels != start).any(0).sum():,}"
