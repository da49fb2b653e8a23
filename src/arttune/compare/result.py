"""What came of a cell of a comparison, and its file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arttune.records import read_samples, read_scores


@dataclass(frozen=True)
class Answered:
    """A score, and which problems were got right."""

    score: dict[str, Any]
    right: list[bool]

    @classmethod
    def of_run(cls, folder: Path) -> Answered:
        """How the adapter of a finished run answered."""
        return cls(read_scores(folder)[-1], [line["trained"]["correct"] for line in read_samples(folder)])


@dataclass(frozen=True)
class Result:
    """A finished cell: how it answered the task, and what else it was asked; what it took."""

    answered: list[Answered]
    rate: float | None = None
    parameters: int = 0  # trained
    size: int = 0  # bytes to ship
    seconds: float = 0.0  # of training
    made: dict[str, str] = field(default_factory=dict)  # on what machine, with what versions, when
    wording: str | None = None  # of the best instruction

    @classmethod
    def read(cls, path: Path) -> Result:
        """From the file of a finished cell."""
        held = json.loads(path.read_text(encoding="utf-8"))
        return cls(**held | {"answered": [Answered(**one) for one in held["answered"]]})
