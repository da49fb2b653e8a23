"""ToolMind: function calls in conversations (Yang et al. 2025, arXiv 2511.15718; hub Nanbeige/ToolMind, Apache-2.0).

Of its parts the conversations after Glaive. A problem is one up to the assistant's first turn, and right are the calls
that are made there, exactly; the reasoning in front of them is not supervised on. Where the first reply makes no call
that the offered functions declare, or one that their types do not allow, there is no problem. Every twentieth is for
scoring, unless its prompt is also one to train on.
"""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path
from typing import Any

from arttune.tasks import calls
from arttune.tasks.sources import hub_file, local_file, problems_of, read_jsonl
from arttune.tasks.task import Problem, Task, part_of

HUB, PART = "Nanbeige/ToolMind", "open_datasets/glaive-function-calling-v2-query.jsonl"
EVERY = 20


def toolmind(data: Path | None = None) -> Task:
    """The task; `data` stands in for its file, which has both splits."""

    def load(split: str) -> list[Problem]:
        path = data or local_file("toolmind", "train") or hub_file(HUB, PART)
        made = problems_of(read_jsonl(path, ("conversations", "tools")), _problem, "ToolMind")
        found = [one for one in made if one is not None and calls.grade(one, str(one.completion)).correct]
        return part_of(found, split, EVERY)

    about = "function calls in conversations, from the hub"
    return Task("toolmind", about, load, calls.grade, calls.reward, 256, one_file=True)


def _problem(row: dict[str, Any], where: str) -> Problem | None:
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
        return None
    prompt = [{"role": turn["role"], "content": turn["content"]} for turn in before]
    answers = [(name, calls.exactly(arguments)) for name, arguments in calling]
    return calls.asked(prompt, functions, answers, calls.write(calling), where)


def _call(made: dict[str, Any]) -> calls.Call:
    return made["name"], _parsed(made["arguments"])


def _parsed(value: Any) -> Any:
    """Lists and objects that some rows hold as JSON text."""
    return json.loads(value) if isinstance(value, str) else value
