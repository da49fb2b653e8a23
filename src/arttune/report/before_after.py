"""Problems as they were answered before and after, for a page: the first few of each kind, and how many there are.

What all questions say alike, such as rules of the format, is told once, so that of each one sees what it asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

KINDS = (  # how it went, in words, and how many are shown at most
    ("fixed", "wrong before, right with the painting", 4),
    ("kept", "right before and with the painting", 1),
    ("missed", "wrong before and with the painting", 2),
    ("lost", "right before, wrong with the painting", 1),
)
BETWEEN = "…"  # stands for what differs


def sorted_out(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers of a run by what happened to them."""
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind, *_ in KINDS}
    for sample in samples:
        before, after = sample["text_only"]["correct"], sample["trained"]["correct"]
        kinds[("kept" if before else "fixed") if after else ("lost" if before else "missed")].append(sample)
    return [
        {"kind": kind, "said": said, "count": len(kinds[kind]), "samples": kinds[kind][:most]}
        for kind, said, most in KINDS
    ]


def told_apart(samples: Sequence[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """The lines that all questions begin and end with, and the samples with what is left of theirs.

    The lines are "" where there are none, or where nothing would be left of a question.
    """
    asked = [sample["question"].splitlines() for sample in samples]
    head = _common_start(asked)
    rest = [lines[len(head) :] for lines in asked]
    tail = _common_start([lines[::-1] for lines in rest])[::-1]
    own = ["\n".join(lines[: len(lines) - len(tail)]).strip() for lines in rest]
    alike = "\n".join([*head, BETWEEN, *tail]).strip()
    if alike == BETWEEN or not all(own):
        return "", list(samples)
    return alike, [sample | {"question": question} for sample, question in zip(samples, own, strict=True)]


def _common_start(texts: list[list[str]]) -> list[str]:
    """The lines that all texts begin with."""
    return [lines[0] for lines in takewhile(lambda lines: len(set(lines)) == 1, zip(*texts, strict=False))]
