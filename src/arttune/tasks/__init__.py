"""Tasks by name: the built-in ones, all of reasoning-gym, and any JSONL file of your own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from arttune.errors import BadInput
from arttune.tasks import bfcl
from arttune.tasks.aqua import aqua
from arttune.tasks.custom import custom, reward_function
from arttune.tasks.gsm8k import gsm8k
from arttune.tasks.gym import PREFIX, gym
from arttune.tasks.math500 import math500
from arttune.tasks.seal_tools import seal_tools
from arttune.tasks.sgd import sgd
from arttune.tasks.svamp import svamp
from arttune.tasks.task import Grade, Message, Problem, Task, hold_out
from arttune.tasks.toolmind import toolmind

BUILT_IN: dict[str, Callable[[Path | None], Task]] = {
    "svamp": svamp,
    "gsm8k": gsm8k,
    "math500": math500,
    "aqua": aqua,
    "sgd": sgd,
    "seal_tools": seal_tools,
    "toolmind": toolmind,
    "bfcl": bfcl.bfcl,
}

__all__ = ["BUILT_IN", "Grade", "Message", "Problem", "Task", "get_task", "hold_out", "reward_function"]


def get_task(name: str, data: Path | None = None, grader: str | None = None, reward: str | None = None) -> Task:
    """The task called `name`: built in, `reasoning_gym:<name>`, or the path of a `.jsonl` file.

    `data` overrides a built-in task's file (in its upstream format), or names the test file of a task of your own.
    Raises `BadInput` for an unknown name, or for a grader or reward where the task has its own.
    """
    path = Path(name)
    if path.suffix in (".jsonl", ".gz") or path.is_file():
        return custom(path, data, grader, reward)
    if grader or reward:
        raise BadInput(f"task {name} has a grade of its own; grader and reward are for your own .jsonl tasks")
    if name.startswith(PREFIX):
        if data is not None:
            raise BadInput(f"{name} is generated and takes no data file")
        return gym(name.removeprefix(PREFIX))
    if name.startswith(bfcl.PREFIX):
        return bfcl.bfcl(data, name.removeprefix(bfcl.PREFIX))
    if name not in BUILT_IN:
        raise BadInput(
            f"unknown task {name!r}; there are {', '.join(BUILT_IN)}, {PREFIX}<name> and your own FILE.jsonl"
        )
    return BUILT_IN[name](data)
