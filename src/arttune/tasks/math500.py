"""MATH-500: competition mathematics (Hendrycks et al. 2021, arXiv 2103.03874; Lightman et al. 2023; scored only).

The answer stands after `Answer:`, in LaTeX or not, and math-verify compares it with the gold one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from arttune.errors import BadInput
from arttune.tasks.answers import SUFFIX, marked, same_math
from arttune.tasks.sources import problems_of, rows
from arttune.tasks.task import Grade, Problem, Task, stepped

MATH = re.compile(r"\$|\\\(|\\\[|\\boxed")  # what says itself where its LaTeX begins


def math500(data: Path | None = None) -> Task:
    """The task; `data` stands in for its file."""

    def load(split: str) -> list[Problem]:
        if split != "test":
            raise BadInput("math500 has no problems to train on; train on gsm8k or svamp, and score on math500")
        found = rows("math500", ("HuggingFaceH4/MATH-500", None), split, ("problem", "answer"), data)
        return problems_of(found, _problem, "MATH-500")

    def reward(problem: Problem, text: str) -> float:
        return stepped(_grade(problem, text))

    return Task("math500", "competition mathematics, to score only", load, _grade, reward, 1024)


def _problem(row: dict[str, Any], where: str) -> Problem:
    return Problem([{"role": "user", "content": row["problem"] + SUFFIX}], None, str(row["answer"]), where=where)


def _grade(problem: Problem, text: str) -> Grade:
    """Right if math-verify finds the marked answer, LaTeX or not, equal to the gold one.

    The answer is read as a whole: of words it would take the last number, whatever they say of it.
    """
    found = marked(text)
    if found is None:
        return Grade(False, False)
    bare = found.strip("*").strip().removesuffix(".")
    whole = bare if MATH.search(bare) else f"${bare}$"
    return Grade(same_math(f"${problem.answer}$", whole), True)
