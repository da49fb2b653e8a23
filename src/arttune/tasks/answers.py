"""The `Answer:` format: how it is asked for, found, compared and rewarded.

Numbers are scored as the authors of ART do it (github.com/jinymusim/ART): the last `Answer:` that a number follows
counts, letter case aside; commas and white space are dropped from numbers, line breaks too; an output without scores 0.
"""

from __future__ import annotations

import re
import threading
from decimal import Decimal, InvalidOperation

from math_verify import parse, verify

from arttune.tasks.task import Grade, Problem

NUMBER_SUFFIX = "\n\nEnd your response with: Answer: <number>"
SUFFIX = "\n\nEnd your response with: Answer: <answer>"
MARK = re.compile(r"answer:", re.IGNORECASE)
NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")
MARKED_NUMBER = re.compile(r"answer:\s*\$?\s*(-?(?:\d[\d,\s]*(?:\.\d+)?|\.\d+))", re.IGNORECASE)
# Reward of a wrong number by its relative error, as the ART authors have it; a right answer has 1.
NEAR = ((Decimal("0.01"), 0.4), (Decimal("0.1"), 0.2))
MARKED, UNMARKED = 0.1, 0.01


def marked(text: str, whole: bool = False) -> str | None:
    """What stands after the last `Answer:`, to the end of its line (with `whole`, to the end of the text).

    None without a marker or with nothing after it.
    """
    marks = list(MARK.finditer(text))
    if not marks:
        return None
    rest = text[marks[-1].end() :]
    return (rest if whole else rest.split("\n", 1)[0]).strip() or None


def _bare(text: str) -> str:
    return re.sub(r"[$,\s]", "", text)


def number(text: str | None) -> Decimal | None:
    """The number that an answer begins with, `$`, commas and spaces dropped; None if there is none."""
    match = NUMBER.match(_bare(text or ""))
    try:
        return Decimal(match.group()) if match else None
    except InvalidOperation:
        return None


def is_number(text: str | None) -> bool:
    """Whether the whole text is a number: `1,300` is one, `1/2`, `10:30` and `2024-05-01` are not."""
    return NUMBER.fullmatch(_bare(text or "")) is not None


def plain(value: float | str) -> str:
    """A number as people write it: `5` for 5.0."""
    as_float = float(value)
    return str(int(as_float)) if as_float.is_integer() else str(value)


def same_number(gold: str, found: str) -> bool:
    """Whether `found` begins with the gold number."""
    return number(found) is not None and number(found) == number(gold)


def same_text(gold: str, found: str) -> bool:
    """Whether the two are equal, letter case, outer spaces and a final full stop aside."""
    return found.strip().rstrip(".").casefold() == gold.strip().rstrip(".").casefold()


def same_math(gold: str, found: str) -> bool:
    """Whether math-verify finds the two equivalent (fractions, LaTeX, units). What takes it too long is wrong."""
    # math-verify keeps its time limits with signals, which only the main thread can have.
    limit = 5 if threading.current_thread() is threading.main_thread() else None
    return verify(parse(gold, parsing_timeout=limit), parse(found, parsing_timeout=limit), timeout_seconds=limit)


def marked_number(text: str) -> Decimal | None:
    """The number after the last `Answer:` that has one."""
    found = MARKED_NUMBER.findall(text)
    return number(found[-1]) if found else None


def grade_number(problem: Problem, text: str) -> Grade:
    """The ART authors' grade: right if the marked number is the gold one."""
    found = marked_number(text)
    return Grade(found is not None and found == number(problem.answer), found is not None)


def reward_number(problem: Problem, text: str) -> float:
    """The ART authors' training reward, from 0 to 1.

    1.0 for the gold number after the marker; 0.4 for one within 1 % of it, 0.2 within 10 %, 0.1 for any other; 0.01
    for a number without the marker.
    """
    gold, found = number(problem.answer), marked_number(text)
    if found is None:
        return UNMARKED if NUMBER.search(text) else 0.0
    if found == gold:
        return 1.0
    if gold:
        for error, reward in NEAR:
            if abs(found - gold) <= error * abs(gold):
                return reward
    return MARKED


GRADERS = {"number": same_number, "exact": same_text, "math": same_math}
