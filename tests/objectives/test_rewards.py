"""Rewards by name reach TRL as it calls them, and the user's function as the user's rows have it."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace

import pytest

from arttune.errors import BadInput
from arttune.objectives.rewards import rewards, try_out
from arttune.tasks import Problem
from objectives.test_sft import TASK

PROBLEMS = [
    Problem([{"role": "user", "content": "say red"}], answer="red", columns={"level": 3}),
    Problem([{"role": "user", "content": "say blue"}], answer="blue", columns={"hint": "sky"}),
]


def replies(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": text}] for text in texts]


def test_the_tasks_own_and_a_users_weighted(tmp_path, monkeypatch):
    (tmp_path / "my_points.py").write_text(
        "calls = []\n"
        "def seen(prompts, completions, answer, level, hint, trainer_state, **_):\n"
        '    calls.extend(f\'{p[0]["content"]}|{c[0]["content"]}|{a}|{l}|{h}|{trainer_state}\'\n'
        "            for p, c, a, l, h in zip(prompts, completions, answer, level, hint))\n"
        "    return [0.5] * len(prompts)\n"
    )
    monkeypatch.chdir(tmp_path)
    task = replace(TASK, reward=lambda problem, text: 1.0 if text == problem.answer else None)
    (own, users), weights = rewards("task, my_points:seen=0.25", task, PROBLEMS)
    assert weights == [1.0, 0.25]
    assert (own.__name__, users.__name__) == ("task", "my_points:seen")
    given = {"problem": [1, 0], "completions": replies("blue", "blue"), "prompts": ["with placeholders"] * 2}
    assert own(**given) == [1.0, None]
    assert users(**given, trainer_state="now") == [0.5, 0.5]
    import my_points

    assert my_points.calls[-2:] == ["say blue|blue|blue|None|sky|now", "say red|blue|red|3|None|now"]


def test_an_async_function_is_awaited(tmp_path, monkeypatch):
    (tmp_path / "slow_points.py").write_text("async def one(completions, **_):\n    return [1.0] * len(completions)\n")
    monkeypatch.chdir(tmp_path)
    (found,), _ = rewards("slow_points:one", TASK, PROBLEMS)
    assert inspect.iscoroutinefunction(found)
    assert asyncio.run(found(problem=[0], prompts=[""], completions=replies("a"))) == [1.0]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("def one(texts): return [1.0]", "TypeError.*unexpected keyword"),
        ("def one(**_): return 1.0", "failed on a problem: TypeError"),
        ("def one(**_): return ['good']", "ValueError.*'good'"),
    ],
)
def test_one_that_cannot_work_is_found_before_the_first_step(tmp_path, monkeypatch, body, complaint):
    name = f"bad_points_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    functions, _ = rewards(f"{name}:one", TASK, PROBLEMS)
    with pytest.raises(
        BadInput, match=rf"rewards: {name}:one failed on a problem: .*{complaint.removeprefix('failed on a problem: ')}"
    ):
        try_out(functions, PROBLEMS[0])
