"""The tables of the docs say what docs/compare.json says, number by number, and no comparison is left out of them."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from arttune.compare.plan import CONTROLS
from arttune.compare.result import Answered
from arttune.compare.summary import AGAINST, pooled

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
