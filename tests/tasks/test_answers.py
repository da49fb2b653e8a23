"""The `Answer:` grade, on the cases that the ART authors' rule decides."""

from __future__ import annotations

import time

import pytest

from arttune.tasks.answers import (
    grade_number,
    is_number,
    marked,
    number,
    plain,
    reward_number,
    same_math,
    same_text,
)
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
        ("Answer: 4 Answer: 5", RIGHT),
        ("Answer: 5 Answer: 4", WRONG),
        ("Answer: 50", WRONG),
        ("Answer: -5", WRONG),
        ("Answer: five", NOTHING),
        ("Answer:", NOTHING),
        ("Answer:\n5", RIGHT),
        ("Answer: 5\nAnswer: unknown", RIGHT),
        ("Answer: 5\n\n7 - 2", WRONG),  # 57, as the authors read it
        ("Answer: 5\n\nSo it is 7 - 2", RIGHT),
        ("Answer: .5", WRONG),
        ("The answer is 5", NOTHING),
        ("5", NOTHING),
        ("", NOTHING),
    ],
)
def test_grade_number(text, verdict):
    assert grade_number(problem("5"), text) == verdict


@pytest.mark.parametrize(
    ("gold", "text", "reward"),
    [
        ("200", "2 * 100 = 200\nAnswer: 200", 1.0),
        ("200", "Answer: 202", 0.4),
        ("200", "Answer: 203", 0.2),
        ("200", "Answer: 180", 0.2),
        ("200", "Answer: 179", 0.1),
        ("-200", "Answer: -198", 0.4),
        ("200", "Answer: many", 0.0),
        ("200", "Answer: many, as 2 * 100", 0.01),
        ("200", "Answer:", 0.0),
        ("0", "Answer: 1", 0.1),
        ("0", "Answer: 0", 1.0),
        ("200", "It is 200.", 0.01),
        ("200", "I cannot tell.", 0.0),
        ("200", "", 0.0),
    ],
)
def test_reward_number(gold, text, reward):
    assert reward_number(problem(gold), text) == reward


@pytest.mark.parametrize("written", ["1,234.5", "$1,234.50", "1 234.5", "1234.5"])
def test_numbers_lose_commas_dollars_and_spaces(written):
    assert grade_number(problem("1234.5"), f"Answer: {written}").correct


def test_number_needs_a_number():
    assert number("no") is None
    assert number(None) is None
    assert str(number("-0.5x")) == "-0.5"


@pytest.mark.parametrize("text", ["1/2", "10:30", "2024-05-01", "5 apples", "", None])
def test_what_only_begins_with_a_number_is_none(text):
    assert not is_number(text)
    assert is_number("$1,300")


def test_plain_numbers():
    assert [plain(v) for v in (5.0, "62.0", 2.5, "3")] == ["5", "62", "2.5", "3"]


def test_marked_takes_the_last_line_or_all_that_is_left():
    text = "Answer: a\nanswer: b c \nrest"
    assert marked(text) == "b c"
    assert marked(text, whole=True) == "b c \nrest"


@pytest.mark.parametrize(("found", "same"), [("Mother-in-law", True), (" mother-in-law. ", True), ("mother", False)])
def test_same_text(found, same):
    assert same_text("mother-in-law", found) is same


@pytest.mark.parametrize(("found", "same"), [(r"$\frac{1}{2}$", True), ("0.5", True), ("1/3", False), ("", False)])
def test_same_math(found, same):
    assert same_math(r"$\frac{1}{2}$", found) is same


def test_math_that_never_ends_is_wrong():
    begun = time.monotonic()
    assert not same_math("5", "$10^{10^{10}}$")
    assert time.monotonic() - begun < 30
