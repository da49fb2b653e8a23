"""The `Answer:` format: how it is asked for, found and compared.

As the authors of ART score it (github.com/jinymusim/ART): the last `Answer:` in the output counts, letter case aside;
`$`, commas and spaces are dropped from numbers; an output without the marker scores 0.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from math_verify import parse, verify

from arttune.tasks.task import Grade, Problem

NUMBER_SUFFIX = "\n\nEnd your response with: Answer: <number>"
SUFFIX = "\n\nEnd your response with: Answer: <answer>"
MARKED = re.compile(r"answer:[ \t]*([^\n]*)", re.IGNORECASE)
NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")


def marked(text: str) -> str | None:
    """What stands after the last `Answer:`, to the end of its line; None without a marker or with nothing after it."""
    found = MARKED.findall(text)
    return found[-1].strip() or None if found else None


def number(text: str | None) -> Decimal | None:
    """The number a marked answer begins with, `$`, commas and spaces dropped; None if there is none."""
    match = NUMBER.match(re.sub(r"[$,\s]", "", text or ""))
    try:
        return Decimal(match.group()) if match else None
    except InvalidOperation:
        return None


def plain(value: float | str) -> str:
    """A number as people write it: `5` for 5.0."""
    as_float = float(value)
    return str(int(as_float)) if as_float.is_integer() else str(value)


def grade_number(problem: Problem, text: str) -> Grade:
    """Right if the marked answer is the gold number."""
    found = number(marked(text))
    return Grade(found is not None and found == number(problem.answer), found is not None)


def grade_exact(problem: Problem, text: str) -> Grade:
    """Right if the marked answer is the gold answer, letter case, outer spaces and a final full stop aside."""
    found = marked(text)
    same = found is not None and found.rstrip(".").casefold() == (problem.answer or "").strip().rstrip(".").casefold()
    return Grade(same, found is not None)


def grade_math(problem: Problem, text: str) -> Grade:
    """Right if math-verify finds the marked answer equivalent to the gold one (fractions, LaTeX, units)."""
    found = marked(text)
    if found is None:
        return Grade(False, False)
    # No timeouts: math-verify sets them with signals, which only work in the main thread.
    gold = parse(str(problem.answer), parsing_timeout=None)
    return Grade(verify(gold, parse(found, parsing_timeout=None), timeout_seconds=None), True)


GRADERS = {"number": grade_number, "exact": grade_exact, "math": grade_math}
