"""What a task is: problems with a prompt, a strict grade to report and a shaped reward to learn from."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, str]


@dataclass(frozen=True)
class Problem:
    """One problem: the conversation that asks it, the answer to supervise on (if any) and the gold answer (if any).

    `columns` are the further fields of its source; reward functions get them by name. `where` is its place in its
    source, in words for an error message. `tools` are the functions that may be called, as chat templates take them.
    """

    prompt: list[Message]
    completion: str | None = None
    answer: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    where: str = ""
    tools: list[dict[str, Any]] = field(default_factory=list)

    @property
    def question(self) -> str:
        """The last user turn, for people to read."""
        return next(m["content"] for m in reversed(self.prompt) if m["role"] == "user")

    @property
    def reply(self) -> str:
        """The reply its source gives: completion or chosen; empty if it gives none."""
        return self.completion or self.columns.get("chosen") or ""


@dataclass(frozen=True)
class Grade:
    """The strict verdict on one completion: right or not, and whether it had the asked format."""

    correct: bool
    formatted: bool


@dataclass(frozen=True)
class Task:
    """A named set of problems with its grade and its reward. `load(split)` gives the problems of `train` or `test`.

    A reward is above that of every wrong answer where the grade is correct; None says that it cannot be told. Where
    both splits come from `one_file`, a file that stands in for it is for both.
    """

    name: str
    about: str
    load: Callable[[str], list[Problem]]
    grade: Callable[[Problem, str], Grade]
    reward: Callable[[Problem, str], float | None]
    max_new_tokens: int
    one_file: bool = False


def stepped(grade: Grade) -> float:
    """The reward of a grade alone: 1.0 for a right answer, 0.1 for the asked format, 0.0 without it."""
    return 1.0 if grade.correct else 0.1 if grade.formatted else 0.0


def part_of(problems: Sequence[Problem], split: str, every: int) -> list[Problem]:
    """The train or test part of problems that lie in one file: each `every`-th, up to the last, is for testing.

    So the test part is spread over the file, which may be sorted by kind. What is also asked in training is left out.
    """
    kept = range(len(problems) - 1, -1, -every)
    train = [problem for i, problem in enumerate(problems) if i not in kept]
    if split == "train":
        return train
    known = {json.dumps([one.prompt, one.tools]) for one in train}
    held = (problems[i] for i in reversed(kept))
    return [one for one in held if json.dumps([one.prompt, one.tools]) not in known]


def hold_out(problems: Sequence[Problem], count: int, seed: int) -> tuple[list[Problem], list[Problem]]:
    """Split off `count` problems by `seed`: (the rest in order, the held-out ones). Never takes more than a fifth."""
    count = min(count, len(problems) // 5)
    chosen = set(random.Random(seed).sample(range(len(problems)), count))
    rest = [p for i, p in enumerate(problems) if i not in chosen]
    return rest, [p for i, p in enumerate(problems) if i in chosen]
