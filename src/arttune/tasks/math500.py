"""MATH-500: competition mathematics (Hendrycks et al. 2021, arXiv 2103.03874; Lightman et al. 2023; scored only).

The answer stands after `Answer:`, in LaTeX or not, and math-verify compares it with the gold one.
"""

from __future__ import annotations

from pathlib import Path

from arttune.errors import BadInput
from arttune.tasks.answers import SUFFIX, marked, same_math
from arttune.tasks.sources import rows
from arttune.tasks.task import Grade, Problem, Task, stepped


def math500(data: Path | None = None) -> Task:
    """The task; `data` stands in for its file."""

    def load(split: str) -> list[Problem]:
        if split != "test":
            raise BadInput("math500 has no problems to train on; train on gsm8k or svamp, and score on math500")
        found = rows("math500", ("HuggingFaceH4/MATH-500", None), split, ("problem", "answer"), data)
        return [
            Problem([{"role": "user", "content": row["problem"] + SUFFIX}], None, str(row["answer"]), where=where)
            for where, row in found
        ]

    def reward(problem: Problem, text: str) -> float:
        return stepped(_grade(problem, text))

    return Task("math500", "competition mathematics, to score only", load, _grade, reward, 1024)


def _grade(problem: Problem, text: str) -> Grade:
    """Right if math-verify finds the marked answer, LaTeX or not, equal to the gold one."""
    found = marked(text)
    gold = f"${problem.answer}$"
    return Grade(found is not None and (same_math(gold, found) or same_math(gold, f"${found}$")), found is not None)
