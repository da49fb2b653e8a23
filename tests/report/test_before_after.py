"""What a page says of the problems before and after."""

from __future__ import annotations

import pytest

from arttune.report.before_after import sorted_out, told_apart


def sample(before: bool = False, after: bool = True, question: str = "q") -> dict:
    return {"question": question, "text_only": {"correct": before}, "trained": {"correct": after}}


def test_every_answer_is_counted_under_what_happened_to_it():
    found = sorted_out([sample(False, True)] * 7 + [sample(True, False)] * 2 + [sample(False, False)])
    counts = {one["kind"]: (one["count"], len(one["samples"])) for one in found}
    assert counts == {"fixed": (7, 4), "kept": (0, 0), "missed": (1, 1), "lost": (2, 1)}


def test_what_all_questions_say_alike_is_told_once():
    asked = ["Two apples,\nhow many?", "Two pears and a plum,\nhow many fruits?"]
    told = [f"Be brief.\nHere is the question:\n{one}\n\nEnd with: Answer: <answer>" for one in asked]
    alike, samples = told_apart([sample(question=one) for one in told])
    assert alike == "Be brief.\nHere is the question:\n…\n\nEnd with: Answer: <answer>"
    assert [one["question"] for one in samples] == asked


@pytest.mark.parametrize(
    "asked",
    [
        ["one line", "another"],
        ["the only question\nof a run"],
        ["the same\nquestion", "the same\nquestion"],
        ["a question", "a question\nand more"],
        [],
    ],
)
def test_questions_stay_whole_where_nothing_would_be_left_or_nothing_is_alike(asked):
    assert told_apart([sample(question=one) for one in asked]) == ("", [sample(question=one) for one in asked])
