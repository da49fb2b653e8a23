"""AQuA-RAT: multiple-choice word problems with a worked rationale (Ling et al. 2017, arXiv 1705.04146; Apache-2.0)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from arttune.tasks.answers import marked
from arttune.tasks.sources import problems_of, rows
from arttune.tasks.task import Grade, Problem, Task, stepped

ASK = "\n\nEnd your response with: Answer: <letter>"
LETTER = re.compile(r"\W*([A-E])\b")
ANOTHER = re.compile(r"\W*(?:or|and)\W+[A-E]\b|\W+[A-E]\W*(?:$|,|(?:or|and)\b)")  # behind the first letter
# How rationales name the right option in their last line.
NAMED = re.compile(r"\n[^\n]*\b(?:answer|ans|option|choice|correct)\b[^\n]*\Z", re.IGNORECASE)


def aqua(data: Path | None = None) -> Task:
    """The task; `data` stands in for whichever split is loaded."""

    def load(split: str) -> list[Problem]:
        needed = ("question", "options", "rationale", "correct")
        return problems_of(rows("aqua", ("deepmind/aqua_rat", "raw"), split, needed, data), _problem, "AQuA-RAT")

    def reward(problem: Problem, text: str) -> float:
        return stepped(_grade(problem, text))

    return Task("aqua", "multiple-choice word problems", load, _grade, reward, 256)


def _problem(row: dict[str, Any], where: str) -> Problem:
    if not isinstance(row["options"], list):
        raise TypeError("options are no list")
    options = "\n".join(re.sub(r"^([A-E])\)\s*", r"\1) ", option) for option in row["options"])
    prompt = [{"role": "user", "content": f"{row['question']}\n{options}{ASK}"}]
    work = NAMED.sub("", row["rationale"]).strip()
    return Problem(prompt, f"{work}\nAnswer: {row['correct']}", row["correct"], where=where)


def _grade(problem: Problem, text: str) -> Grade:
    """Right if the marked answer begins with the right letter and does not go on with another."""
    found = LETTER.match(said := marked(text) or "")
    if found is None or ANOTHER.match(said, found.end()):
        return Grade(False, False)
    return Grade(found.group(1) == problem.answer, True)
