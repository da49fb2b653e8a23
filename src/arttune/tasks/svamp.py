"""SVAMP: one-step arithmetic word problems (Patel et al. 2021, arXiv 2103.07191; hub ChilleD/SVAMP, 700 / 300).

The prompt suffix and the grade are the ART authors'. The supervised answer spells the equation out first,
`7 - 2 = 5` and then `Answer: 5`: a model that computes before it answers learns faster.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from arttune.errors import BadInput
from arttune.tasks.answers import NUMBER_SUFFIX, grade_number, plain, reward_number
from arttune.tasks.sources import problems_of, rows
from arttune.tasks.task import Problem, Task


def svamp(data: Path | None = None) -> Task:
    """The task; `data` stands in for whichever split is loaded."""

    def load(split: str) -> list[Problem]:
        found = rows("svamp", ("ChilleD/SVAMP", None), split, ("Body", "Question", "Answer"), data)
        return problems_of(found, _problem, "SVAMP")

    return Task("svamp", "one-step arithmetic word problems, 700 to train on", load, grade_number, reward_number, 64)


def _problem(row: dict[str, Any], where: str) -> Problem:
    body = str(row["Body"]).strip()
    question = f"{body} {str(row['Question']).strip()}"
    try:
        answer = plain(row["Answer"])
    except (TypeError, ValueError):
        raise BadInput(f"{where}: Answer {row['Answer']!r} is not a number") from None
    work = _spelled(str(row.get("Equation", "")), answer)
    prompt = [{"role": "user", "content": question + NUMBER_SUFFIX}]
    return Problem(prompt, f"{work}Answer: {answer}", answer, where=where)


def _spelled(equation: str, answer: str) -> str:
    """`( 8.0 - 3.0 )` and 5 as `8 - 3 = 5` and a line break; empty without an equation."""
    text = re.sub(r"\d+(?:\.\d+)?", lambda m: plain(m.group()), equation).strip()
    if text.startswith("(") and text.endswith(")") and "(" not in text[1:]:
        text = text[1:-1].strip()
    text = text.replace("( ", "(").replace(" )", ")")
    return f"{text} = {answer}\n" if text else ""
