"""ToolMind: function calls in conversations (Yang et al. 2025, arXiv 2511.15718; hub Nanbeige/ToolMind, Apache-2.0).

Of its parts the conversations after Glaive. A problem is one up to the assistant's first turn, and right are the calls
that are made there, exactly; the reasoning in front of them is not supervised on. Where the first reply makes no call
that the offered functions declare, there is no problem. Every twentieth is for scoring.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from arttune.errors import BadInput
from arttune.tasks import calls
from arttune.tasks.sources import hub_file, local_file, read_jsonl
from arttune.tasks.task import Problem, Task

HUB, PART = "Nanbeige/ToolMind", "open_datasets/glaive-function-calling-v2-query.jsonl"
EVERY = 20


def toolmind(data: Path | None = None) -> Task:
    """The task; `data` stands in for its file, which has both splits."""

    def load(split: str) -> list[Problem]:
        path = data or local_file("toolmind", "train") or hub_file(HUB, PART)
        found = [one for where, row in read_jsonl(path, ("conversations", "tools")) for one in _checked(row, where)]
        kept = range(len(found) - 1, -1, -EVERY)
        return [problem for i, problem in enumerate(found) if (i in kept) == (split == "test")]

    about = "function calls in conversations, from the hub"
    return Task("toolmind", about, load, calls.grade, calls.reward, 256)


def _checked(row: dict[str, Any], where: str) -> list[Problem]:
    try:
        return list(_problems(row, where))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{where}: not as ToolMind publishes its rows ({type(error).__name__}: {error})") from None


def _problems(row: dict[str, Any], where: str) -> Iterator[Problem]:
    """The problem in a conversation, if it holds one."""
    turns = _parsed(row["conversations"])
    before = list(takewhile(lambda turn: turn["role"] in ("system", "user"), turns))
    reply = turns[len(before)] if len(turns) > len(before) else {}
    functions = [tool.get("function", tool) for tool in _parsed(row["tools"])]
    declared = {
        one["name"]: one["parameters"]["properties"]
        for one in functions
        if isinstance(one.get("parameters"), dict) and isinstance(one["parameters"].get("properties"), dict)
    }
    calling = [_call(one["function"]) for one in _parsed(reply.get("tool_calls") or [])]
    known = all(name in declared and set(arguments) <= set(declared[name]) for name, arguments in calling)
    if not calling or not known or not any(turn["role"] == "user" for turn in before):
        return
    prompt = [{"role": turn["role"], "content": turn["content"]} for turn in before]
    answers = [(name, calls.exactly(arguments)) for name, arguments in calling]
    yield calls.asked(prompt, functions, answers, calls.write(calling), where)


def _call(made: dict[str, Any]) -> calls.Call:
    return made["name"], _parsed(made["arguments"])


def _parsed(value: Any) -> Any:
    """Lists and objects that some rows hold as JSON text."""
    return json.loads(value) if isinstance(value, str) else value
