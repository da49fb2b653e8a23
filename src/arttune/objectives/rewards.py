"""Reward functions as TRL calls them, from what a user names: the task's own and any Python function, weighted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from transformers import TrainerState

from arttune.errors import BadInput
from arttune.tasks import Problem, Task, reward_function
from arttune.tasks.custom import awaited

Reward = Callable[..., Any]  # a number or None for each completion, or a coroutine of that
TASK = "task"


def rewards(spec: str, task: Task, problems: list[Problem]) -> tuple[list[Reward], list[float]]:
    """The functions and weights of `task[=WEIGHT],module:function[=WEIGHT],...`, for rows that know their `problem`.

    A function is called with `prompts`, `completions`, `completion_ids`, `answer`, the problem's further columns and
    what TRL adds; it may be `async`. Raises `BadInput`.
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
            functions.append(_of_user(name, problems))
    return functions, weights


def _of_task(task: Task, problems: list[Problem]) -> Reward:
    def reward(completions: list[Any], problem: list[int], **_: Any) -> list[float | None]:
        said = zip(problem, completions, strict=True)
        return [task.reward(problems[i], completion[0]["content"]) for i, completion in said]

    reward.__name__ = TASK
    return reward


def _of_user(spec: str, problems: list[Problem]) -> Reward:
    """The function `spec` with what it would get from TRL on the user's own rows: no placeholders, all columns."""
    function: Callable[..., Any] = reward_function(spec)
    names = sorted({name for one in problems for name in one.columns})

    def given(problem: list[int], prompts: list[Any], **more: Any) -> dict[str, Any]:
        chosen = [problems[i] for i in problem]
        columns = {name: [one.columns.get(name) for one in chosen] for name in names}
        answers = [one.answer for one in chosen]
        return {"prompts": [one.prompt for one in chosen]} | columns | {"answer": answers} | more

    def reward(**named: Any) -> Any:
        return function(**given(**named))

    async def reward_to_come(**named: Any) -> Any:
        return await function(**given(**named))

    found = reward_to_come if inspect.iscoroutinefunction(function) else reward
    found.__name__ = spec  # TRL logs it under this name
    return found


def try_out(functions: list[Reward], first: Problem) -> None:
    """Call each of `rewards` once for the first problem, before hours are spent. Raises `BadInput`."""
    for one in functions:
        _try(one, first)


def _try(reward: Reward, first: Problem) -> None:
    reply = [{"role": "assistant", "content": first.completion or first.answer or "yes"}]
    try:
        found = reward(
            problem=[0],
            prompts=[first.prompt],
            completions=[reply],
            completion_ids=[[0]],
            trainer_state=TrainerState(),
            log_extra=lambda *_: None,
            log_metric=lambda *_: None,
        )
        (only,) = awaited(found)
        if only is not None:
            float(only)
    except Exception as error:
        raise BadInput(
            f"rewards: {reward.__name__} failed on {first.where or 'a problem'}: {type(error).__name__}: {error}"
        ) from error
