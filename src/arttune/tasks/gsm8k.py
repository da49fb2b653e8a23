"""GSM8K: grade-school word problems of several steps (Cobbe et al. 2021, arXiv 2110.14168; hub openai/gsm8k).

Prompt suffix and grade are the ART authors'. The supervised answer is the data set's own worked solution without its
calculator annotations, its last line `#### N` written as `Answer: N`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from arttune.errors import BadInput
from arttune.tasks.answers import NUMBER_SUFFIX, grade_number, reward_number
from arttune.tasks.sources import problems_of, rows
from arttune.tasks.task import Problem, Task


def gsm8k(data: Path | None = None) -> Task:
    """The task; `data` stands in for whichever split is loaded."""

    def load(split: str) -> list[Problem]:
        found = rows("gsm8k", ("openai/gsm8k", "main"), split, ("question", "answer"), data)
        return problems_of(found, _problem, "GSM8K")

    about = "grade-school word problems of several steps, 7,473 to train on"
    return Task("gsm8k", about, load, grade_number, reward_number, 512)


def _problem(row: dict[str, Any], where: str) -> Problem:
    work, mark, gold = str(row["answer"]).rpartition("####")
    if not mark:
        raise BadInput(f"{where}: the answer has no '#### N' line")
    answer = gold.strip().replace(",", "")
    completion = f"{re.sub(r'<<[^>]*>>', '', work).strip()}\nAnswer: {answer}"
    prompt = [{"role": "user", "content": str(row["question"]) + NUMBER_SUFFIX}]
    return Problem(prompt, completion, answer, where=where)
