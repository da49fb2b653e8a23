"""Rewards by name reach TRL as it calls them, and the user's function as the user's rows have it."""

from __future__ import annotations

from dataclasses import replace

from arttune.objectives.rewards import rewards
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
        "def seen(prompts, completions, answer, level, hint, trainer_state, **_):\n"
        '    return [f\'{p[0]["content"]}|{c[0]["content"]}|{a}|{l}|{h}|{trainer_state}\'\n'
        "            for p, c, a, l, h in zip(prompts, completions, answer, level, hint)]\n"
    )
    monkeypatch.chdir(tmp_path)
    task = replace(TASK, reward=lambda problem, text: 1.0 if text == problem.answer else None)
    (own, users), weights = rewards("task, my_points:seen=0.25", task, PROBLEMS)
    assert weights == [1.0, 0.25]
    assert (own.__name__, users.__name__) == ("task", "seen")
    given = {"problem": [1, 0], "completions": replies("blue", "blue"), "prompts": ["with placeholders"] * 2}
    assert own(**given) == [1.0, None]
    assert users(**given, trainer_state="now") == ["say blue|blue|blue|None|sky|now", "say red|blue|red|3|None|now"]
