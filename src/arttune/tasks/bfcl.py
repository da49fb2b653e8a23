"""BFCL: function calling in seven single-turn categories (Patil et al. 2025, ICML; data Apache-2.0).

Scored only: there is nothing to train on. `bfcl` is all categories, `bfcl:simple_python` one of them. Where no offered
function fits (`irrelevance`), the right reply makes no call. What the leaderboard has on the hub is its third version.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from arttune.errors import BadInput
from arttune.tasks import calls
from arttune.tasks.sources import hub_file, local_file, problems_of, read_jsonl
from arttune.tasks.task import Problem, Task

CATEGORIES = (
    *("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance"),
    *("live_simple", "live_multiple"),
)
PREFIX = "bfcl:"
HUB = "gorilla-llm/Berkeley-Function-Calling-Leaderboard"


def bfcl(data: Path | None = None, category: str | None = None) -> Task:
    """All categories, or one. `data` is a folder with a folder for each, or one category's own. Raises `BadInput`."""
    if category not in (None, *CATEGORIES):
        raise BadInput(f"bfcl has no category {category!r}; there are {', '.join(CATEGORIES)}")
    chosen = CATEGORIES if category is None else (category,)

    def load(split: str) -> list[Problem]:
        if split != "test":
            raise BadInput("bfcl has no problems to train on; train on sgd, seal_tools or toolmind, and score on bfcl")
        if category is None and data is not None and not (data / CATEGORIES[0]).is_dir():
            raise BadInput(f"{data} has no folder {CATEGORIES[0]}; for one category's own folder use bfcl:<category>")
        # In turn, so that the first of them are of all categories.
        turns = zip_longest(*(_problems(one, data) for one in chosen))
        return [problem for turn in turns for problem in turn if problem is not None]

    name = "bfcl" if category is None else f"{PREFIX}{category}"
    return Task(name, "function calling in seven categories, to score only", load, calls.grade, calls.reward, 256)


def _problems(category: str, data: Path | None) -> list[Problem]:
    asked = read_jsonl(_file(category, "test", data), ("id", "question", "function"))
    truth: dict[str, Any] = {}
    if category != "irrelevance":
        answers = read_jsonl(_file(category, "possible_answer", data), ("id", "ground_truth"))
        truth = {row["id"]: row["ground_truth"] for _, row in answers}
        missing = next((where for where, row in asked if row["id"] not in truth), None)
        if missing:
            raise BadInput(f"{missing}: possible_answer has no line with this id")
    return problems_of(asked, lambda row, where: _problem(row, truth.get(row["id"], []), where), "BFCL")


def _file(category: str, kind: str, data: Path | None) -> Path:
    """Where the lines of `kind` (`test`, `possible_answer`) of a category are."""
    if data is not None:
        inner = data / category
        return (inner if inner.is_dir() else data) / f"{kind}.jsonl"
    named = f"BFCL_v3_{category.removesuffix('_python')}.json"
    return local_file(f"bfcl/{category}", kind) or hub_file(HUB, named if kind == "test" else f"{kind}/{named}")


def _problem(row: dict[str, Any], truth: list[dict[str, Any]], where: str) -> Problem:
    (turns,) = row["question"]
    answers = [call for wanted in truth for call in wanted.items()]
    prompt = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    return replace(calls.asked(prompt, row["function"], answers, None, where), answer=json.dumps(truth))
