"""The `Answer:` grade, on the cases that the ART authors' rule decides."""

from __future__ import annotations

import pytest

from arttune.tasks.answers import GRADERS, grade_exact, grade_math, grade_number, marked, number, plain
from arttune.tasks.task import Grade, Problem

RIGHT, WRONG, NOTHING = Grade(True, True), Grade(False, True), Grade(False, False)


def problem(answer: str) -> Problem:
    return Problem([{"role": "user", "content": "?"}], answer=answer)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("7 - 2 = 5\nAnswer: 5", RIGHT),
        ("answer: 5", RIGHT),
        ("ANSWER:5", RIGHT),
        ("Answer: $5", RIGHT),
        ("Answer: 5.00", RIGHT),
        ("Answer: 5 apples", RIGHT),
        ("Answer: 5.", RIGHT),
        ("Answer: 4\nno, Answer: 5", RIGHT),
        ("Answer: 5\nno, Answer: 4", WRONG),
        ("Answer: 50", WRONG),
        ("Answer: -5", WRONG),
        ("Answer: five", NOTHING),
        ("Answer:", NOTHING),
        ("Answer:\n5", NOTHING),
        ("The answer is 5", NOTHING),
        ("5", NOTHING),
        ("", NOTHING),
    ],
)
def test_grade_number(text, verdict):
    assert grade_number(problem("5"), text) == verdict


@pytest.mark.parametrize("written", ["1,234.5", "$1,234.50", "1 234.5", "1234.5"])
def test_numbers_lose_commas_dollars_and_spaces(written):
    assert grade_number(problem("1234.5"), f"Answer: {written}").correct


def test_number_needs_a_number():
    assert number("no") is None
    assert number(None) is None
    assert str(number("-0.5x")) == "-0.5"


def test_plain_numbers():
    assert [plain(v) for v in (5.0, "62.0", 2.5, "3")] == ["5", "62", "2.5", "3"]


def test_marked_takes_the_last_line():
    assert marked("Answer: a\nanswer: b c \nrest") == "b c"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Answer: Mother-in-law", RIGHT),
        ("Answer: mother-in-law.", RIGHT),
        ("Answer: mother", WRONG),
        ("mother", NOTHING),
    ],
)
def test_grade_exact(text, verdict):
    assert grade_exact(problem("mother-in-law"), text) == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [(r"Answer: $\frac{1}{2}$", RIGHT), ("Answer: 0.5", RIGHT), ("Answer: 1/3", WRONG), ("one half", NOTHING)],
)
def test_grade_math(text, verdict):
    assert grade_math(problem(r"$\frac{1}{2}$"), text) == verdict


def test_graders_by_name():
    assert set(GRADERS) == {"number", "exact", "math"}
