"""A user's own task: a JSONL file, and a grade that is built in or a Python reward function.

Each line has `prompt` (text, or a list of messages) or `messages` (whose last assistant turn is the completion), and
`completion`, `answer` or both. A line with `answer` alone can be scored but not supervised on; one with `completion`
alone is scored against the completion.

What is graded is what follows the last `Answer:` of the reply; where the file itself never uses that marker, the whole
reply. The reward function is one that TRL would take: `reward(completions, prompts=..., answer=..., **columns)`
returns a number for each completion, and 1.0 or more counts as correct.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arttune.errors import BadInput
from arttune.tasks.answers import GRADERS, is_number, marked
from arttune.tasks.sources import read_jsonl
from arttune.tasks.task import Grade, Problem, Task

Reward = Callable[..., list[float]]


def custom(path: Path, test: Path | None = None, grader: str | None = None, reward: str | None = None) -> Task:
    """The task in the file `path`. `test` is the file to score on; without it a fifth of `path` is kept for that.

    `grader` is `number`, `exact` or `math`, by default `number` if all answers are numbers and else `exact`; `reward`
    is `module:function` and takes the grader's place. Raises `BadInput` naming the file and line.
    """
    everything = [_problem(row, where) for where, row in read_jsonl(path)]
    if grader is not None and grader not in GRADERS:
        raise BadInput(f"unknown grader {grader!r}; there are {', '.join(GRADERS)}")
    function = _reward(reward) if reward else None
    cut = len(everything) - max(1, len(everything) // 5)
    uses_marker = any(marked(p.completion or p.question) for p in everything)
    same = GRADERS[grader or ("number" if all(is_number(_gold(p)) for p in everything) else "exact")]

    def load(split: str) -> list[Problem]:
        if test is not None:
            return everything if split == "train" else [_problem(row, where) for where, row in read_jsonl(test)]
        return everything[:cut] if split == "train" else everything[cut:]

    def grade(problem: Problem, text: str) -> Grade:
        found = marked(text) if uses_marker else text.strip()
        if function is None:
            return Grade(bool(found) and same(_gold(problem), str(found)), bool(found))
        columns = {name: [value] for name, value in (problem.columns | {"answer": problem.answer}).items()}
        points = function(completions=[text], prompts=[problem.prompt], **columns)
        return Grade(float(points[0]) >= 1.0, bool(found))

    return Task(path.stem, f"your own problems in {path}", load, grade, 256)


def _gold(problem: Problem) -> str:
    """The answer a reply is compared with: the given one, or the completion's."""
    if problem.answer is not None:
        return problem.answer
    completion = problem.completion or ""
    return marked(completion) or completion


def _problem(row: dict[str, Any], where: str) -> Problem:
    if "messages" in row:
        turns = _messages(row["messages"], f"{where}: messages")
        spoken = turns[-1]["role"] == "assistant"
        prompt, completion = (turns[:-1], turns[-1]["content"]) if spoken else (turns, row.get("completion"))
    elif "prompt" in row:
        asked = row["prompt"]
        prompt = (
            [{"role": "user", "content": asked}] if isinstance(asked, str) else _messages(asked, f"{where}: prompt")
        )
        completion = row.get("completion")
        if isinstance(completion, list):
            completion = _messages(completion, f"{where}: completion")[-1]["content"]
    else:
        raise BadInput(f"{where}: no field prompt or messages; it has {', '.join(row) or 'none'}")
    if not any(turn["role"] == "user" for turn in prompt):
        raise BadInput(f"{where}: no user turn to put the picture in")
    if completion is not None and not isinstance(completion, str):
        raise BadInput(f"{where}: completion is {completion!r}; it must be text or a list with an assistant message")
    answer = None if row.get("answer") is None else str(row["answer"])
    if completion is None and answer is None:
        raise BadInput(f"{where}: neither completion nor answer; one of them is needed")
    known = ("prompt", "messages", "completion", "answer")
    return Problem(prompt, completion, answer, {k: v for k, v in row.items() if k not in known})


def _messages(value: Any, where: str) -> list[dict[str, str]]:
    good = isinstance(value, list) and value and all(isinstance(m, dict) for m in value)
    if not good or not all(isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in value):
        raise BadInput(f"{where} must be a list of messages, each with a role and a text content")
    return [{"role": m["role"], "content": m["content"]} for m in value]


def _reward(spec: str) -> Reward:
    module, colon, name = spec.partition(":")
    if not colon or not module or not name:
        raise BadInput(f"reward {spec!r} must be written module:function")
    # A module in the working directory is what `--reward my_rewards:score` means to whoever types it.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"reward {spec!r} cannot be imported: {error}") from None
    if not callable(function):
        raise BadInput(f"reward {spec!r} is not a function")
    return function
