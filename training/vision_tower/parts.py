"""What is in a picture: its parts and their names, what each picture token stands for, what can be asked.

Each part of a scene (a word, a digit, a shape, a bar) has a box and the names of what it is. `meanings` spreads the
names over the picture tokens: every token stands for the part nearest to it. That is all the supervision of the stages
without a language model; questions and answers are that of the stages with one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from arttune.models.graft import FAMILY
from painter import COLOURS, SHAPES, Box
from questions import QUESTIONS

WORDS = Path(__file__).with_name("words.txt").read_text().split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789+-"
UNIT = FAMILY.unit  # side in pixels of what becomes one picture token


@dataclass
class Part:
    """Something in the picture: where it is (left, top, right, bottom, in pixels) and the names of what it is."""

    box: Box
    names: list[str]


@dataclass
class Scene:
    """A picture with its parts, the marks on it (of dense pages alone), and question-answer pairs."""

    kind: str
    image: Image.Image
    parts: list[Part] = field(default_factory=list)
    marks: list[tuple[Box, str]] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)

    @property
    def pixels(self) -> torch.Tensor:
        """`(3, H, W)` in [0, 1]."""
        return torch.from_numpy(np.asarray(self.image, dtype=np.float32) / 255).permute(2, 0, 1)

    def ask(self, rng: random.Random) -> tuple[str, str]:
        """A question about the picture in one of its wordings, and the answer."""
        topic, answer = rng.choice(self.facts)
        return rng.choice(QUESTIONS[topic]), answer

    def _middles(self) -> list[tuple[float, float]]:
        width, height = self.image.size
        return [(UNIT * (c + 0.5), UNIT * (r + 0.5)) for r in range(height // UNIT) for c in range(width // UNIT)]

    def meanings(self) -> list[list[str]]:
        """For each picture token, row by row, the names it stands for.

        A token on a part has the nearest part's names and those of the whole; a picture without parts has the latter
        everywhere, and what is beside all parts is ground.
        """
        if not self.parts:
            return [self.whole for _ in self._middles()]
        nearest = [min(self.parts, key=lambda part: _distance(part.box, x, y)) for x, y in self._middles()]
        return [
            [*part.names, *self.whole, "any:thing"] if on else ["any:ground"]
            for part, on in zip(nearest, self.covered(), strict=True)
        ]

    def covered(self) -> list[bool]:
        """For each picture token, whether the middle of it is on a part, or within a third of a token of it."""
        if not self.parts:
            return [True for _ in self._middles()]
        near = (UNIT / 3) ** 2
        return [any(_gap(part.box, x, y) <= near for part in self.parts) for x, y in self._middles()]


def _gap(box: Box, x: float, y: float) -> float:
    left, top, right, bottom = box
    return max(left - x, 0, x - right) ** 2 + max(top - y, 0, y - bottom) ** 2


def _distance(box: Box, x: float, y: float) -> float:
    left, top, right, bottom = box
    # Inside several boxes, the one whose middle is nearest.
    return _gap(box, x, y) + 1e-3 * (((left + right) / 2 - x) ** 2 + ((top + bottom) / 2 - y) ** 2)


def names() -> dict[str, list[str]]:
    """Every name a part can have, by what stands before its colon."""
    return {
        "word": WORDS,
        "char": [*"0123456789+-"],
        "at": [str(i) for i in range(5)],
        "long": [str(i) for i in range(1, 6)],
        "colour": list(COLOURS),
        "shape": list(SHAPES),
        "count": [str(i) for i in range(1, 6)],
        "end": ["left", "right", "top", "bottom"],
        "rank": ["tallest", "middle", "shortest"],
        "any": ["thing", "ground"],
        "kind": ["word", "phrase", "number", "sum", "object", "count", "pair", "chart", "blank", "noise"],
    }
