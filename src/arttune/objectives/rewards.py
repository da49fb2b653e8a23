"""Reward functions as TRL calls them, from what a user names: the task's own and any Python function, weighted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arttune.errors import BadInput
from arttune.tasks import Problem, Task, reward_function

Reward = Callable[..., list[float | None]]
TASK = "task"


def rewards(spec: str, task: Task, problems: list[Problem]) -> tuple[list[Reward], list[float]]:
    """The functions and weights of `task[=WEIGHT],module:function[=WEIGHT],...`, for rows that know their `problem`.

    A function is called with `prompts`, `completions`, `completion_ids`, `answer`, the problem's further columns and
    what TRL adds. Raises `BadInput`.
    """
    functions, weights = [], []
    for part in (part.strip() for part in spec.split(",")):
        name, equals, weight = part.partition("=")
        try:
            weights.append(float(weight) if equals else 1.0)
        except ValueError:
            raise BadInput(f"rewards: {weight!r} is no weight; write {name}=0.5") from None
        if name == TASK:
            functions.append(_of_task(task, problems))
        else:
            functions.append(_of_user(reward_function(name), problems))
    return functions, weights


def _of_task(task: Task, problems: list[Problem]) -> Reward:
    def reward(completions: list[Any], problem: list[int], **_: Any) -> list[float | None]:
        said = zip(problem, completions, strict=True)
        return [task.reward(problems[i], completion[0]["content"]) for i, completion in said]

    reward.__name__ = TASK
    return reward


def _of_user(function: Callable[..., Any], problems: list[Problem]) -> Reward:
    """`function` with what it would get from TRL on the user's own rows: no placeholders, all columns."""

    def reward(problem: list[int], prompts: list[Any], **given: Any) -> list[float | None]:
        chosen = [problems[i] for i in problem]
        names = {name for one in chosen for name in one.columns}
        columns = {name: [one.columns.get(name) for one in chosen] for name in names}
        answers = [one.answer for one in chosen]
        return function(prompts=[one.prompt for one in chosen], **(columns | {"answer": answers} | given))

    reward.__name__ = getattr(function, "__name__", "reward")
    return reward
