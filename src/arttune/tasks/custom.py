"""A user's own task: a JSONL file, and a grade that is built in or a Python reward function.

Each line has `prompt` (text, or a list of messages) or `messages` (whose last assistant turn is the completion), and
`completion`, `answer` or both, or `chosen` and `rejected`, or, with a reward function, none of them. A line without
`completion` can be scored but not supervised on; one without `answer` is scored against its completion, or else its
chosen reply. `tools`, a list of functions as chat templates take them or the JSON text of one, are told in the prompt.

Messages may make `tool_calls`, which become text as the model's chat template would write them.

What is graded is what follows the last `Answer:` of the reply; where most of the file (its replies, or the questions of
lines without one) does without that marker, the whole reply. A reward function is called as TRL calls it on
conversations: `reward(completions=..., prompts=..., answer=..., **columns)` with a list of messages for each prompt and
each completion. It returns a number for each, of which 1.0 or more counts as correct, or None; objectives that learn
from rewards take the number itself.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from arttune.errors import BadInput
from arttune.tasks.answers import GRADERS, grade_number, is_number, marked, reward_number
from arttune.tasks.sources import read_jsonl
from arttune.tasks.task import Grade, Problem, Task, part_of, stepped
from arttune.tasks.written import Call, write

Reward = Callable[..., list[float]]
PAIR = ("chosen", "rejected")
MESSAGES = "must be a list of messages, each with a role and a text content"


def custom(path: Path, test: Path | None = None, grader: str | None = None, reward: str | None = None) -> Task:
    """The task in the file `path`.

    `test` is the file to score on; without it every fifth line of `path` is kept for that, but for what is also asked
    in one of the others. `grader` is `number`, `exact` or `math`, by default `number` if all answers are numbers and
    else `exact`; `reward` is `module:function` and takes the grader's place. Raises `BadInput` naming the file and
    line, or a reward that cannot be called.
    """
    everything = _problems(path, reward)
    scored = _problems(test, reward) if test is not None else []
    if grader is not None and grader not in GRADERS:
        raise BadInput(f"unknown grader {grader!r}; there are {', '.join(GRADERS)}")
    function = reward_function(reward) if reward else None
    every = [*everything, *scored]
    uses_marker = 2 * sum(marked(p.reply or p.question) is not None for p in every) > len(every)
    gold = partial(_gold, uses_marker=uses_marker)
    grader = grader or ("number" if all(is_number(gold(p)) for p in every) else "exact")
    same, marks_number = GRADERS[grader], function is None and grader == "number" and uses_marker

    def load(split: str) -> list[Problem]:
        if test is not None:
            return everything if split == "train" else scored
        return part_of(everything, split, 5)

    def grade(problem: Problem, text: str) -> Grade:
        if marks_number:
            return grade_number(replace(problem, answer=gold(problem)), text)
        found = marked(text) if uses_marker else text.strip()
        if function is None:
            return Grade(bool(found) and same(gold(problem), str(found)), bool(found))
        points = called(problem, text)
        return Grade(points is not None and points >= 1.0, bool(found))

    def called(problem: Problem, text: str) -> float | None:
        assert function is not None
        named = {name: [value] for name, value in (problem.columns | {"answer": problem.answer}).items()}
        named |= {"completions": [[{"role": "assistant", "content": text}]], "prompts": [problem.prompt]}
        (points,) = awaited(function(**named))
        return None if points is None else float(points)

    def worth(problem: Problem, text: str) -> float | None:
        if function is not None:
            return called(problem, text)
        if marks_number:
            return reward_number(replace(problem, answer=gold(problem)), text)
        return stepped(grade(problem, text))

    if function is not None:
        first = everything[0]
        reply = gold(first) or "yes"
        try:
            grade(first, reply)
        except Exception as error:
            raise BadInput(
                f"reward {reward!r} failed on {first.where}, given the reply {reply!r}: {type(error).__name__}: {error}"
            ) from error
    return Task(path.stem, f"your own problems in {path}", load, grade, worth, 256)


def _gold(problem: Problem, uses_marker: bool) -> str:
    """The answer a reply is compared with: the given one, or the completion's, or the chosen reply's."""
    if problem.answer is not None:
        return problem.answer
    return (uses_marker and marked(problem.reply)) or problem.reply


def _problems(path: Path, reward: str | None) -> list[Problem]:
    found = [_problem(row, where) for where, row in read_jsonl(path)]
    for problem in found:
        if reward is None and problem.answer is None and not problem.reply:
            raise BadInput(
                f"{problem.where}: neither completion nor answer, nor chosen and rejected; give one of them, or grade "
                "replies with --reward module:function"
            )
    return found


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
    else:
        raise BadInput(f"{where}: no field prompt or messages; it has {', '.join(row) or 'none'}")
    if not any(turn["role"] == "user" for turn in prompt):
        raise BadInput(f"{where}: no user turn to put the picture in")
    answer = None if row.get("answer") is None else str(row["answer"])
    known = ("prompt", "messages", "completion", "answer", "tools")
    columns = {k: v for k, v in row.items() if k not in known and not (k in PAIR and v is None)}
    pair = [name for name in PAIR if name in columns]
    if len(pair) == 1:
        raise BadInput(f"{where}: {pair[0]} alone; chosen and rejected come together")
    columns |= {name: _reply(columns[name], f"{where}: {name}") for name in pair}
    tools = _tools(row.get("tools"), where)
    return Problem(prompt, _reply(completion, f"{where}: completion"), answer, columns, where, tools)


def _tools(value: Any, where: str) -> list[dict[str, Any]]:
    """The functions of a row, which TRL's data sets may write as JSON text."""
    try:
        tools = json.loads(value) if isinstance(value, str) else value or []
    except ValueError:
        tools = None
    if not isinstance(tools, list) or not all(isinstance(one, dict) for one in tools):
        raise BadInput(f"{where}: tools must be a list of functions, or the JSON text of one")
    return tools


def _reply(value: Any, where: str) -> str | None:
    """The text of a completion, which TRL's data sets may write as a list of messages."""
    if isinstance(value, list):
        return _messages(value, where)[-1]["content"]
    if value is not None and not isinstance(value, str):
        raise BadInput(f"{where} is {value!r}; it must be text or a list with an assistant message")
    return value


def _messages(value: Any, where: str) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise BadInput(f"{where} {MESSAGES}")
    return [{"role": str(one.get("role")), "content": _said(one, where)} for one in value]


def _said(message: dict[str, Any], where: str) -> str:
    """The text of a message; calls that stand beside it, as the OpenAI API has them, are written behind it."""
    content, calls = message.get("content"), message.get("tool_calls")
    if not isinstance(message.get("role"), str) or not isinstance("" if calls and content is None else content, str):
        raise BadInput(f"{where} {MESSAGES}")
    return "\n".join(text for text in (content, write(_calls(calls, where)) if calls else "") if text)


def _calls(value: Any, where: str) -> list[Call]:
    try:
        made = [one.get("function", one) for one in value]
        told = [(one["name"], one.get("arguments") or {}) for one in made]
        found = [(name, json.loads(given) if isinstance(given, str) else given) for name, given in told]
    except (AttributeError, KeyError, TypeError, ValueError):
        found = [("", None)]
    if not all(isinstance(name, str) and isinstance(given, dict) for name, given in found):
        raise BadInput(f"{where}: tool_calls must be a list of functions, each with a name and arguments")
    return found


def awaited(found: Any) -> Any:
    """What a reward gave, which may be a coroutine."""
    return asyncio.run(found) if inspect.iscoroutine(found) else found


def reward_function(spec: str) -> Reward:
    """The function `module:function`. Raises `BadInput` if it cannot be imported or called."""
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
