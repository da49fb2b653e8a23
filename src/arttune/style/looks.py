"""The settings that decide what a canvas looks like: those of `ArtConfig`, and of a training run, alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def setting(default: Any, about: str) -> Any:
    """A field with its help."""
    return field(default=default, metadata={"help": about})


@dataclass(kw_only=True)
class Looks:
    """Where a canvas starts from, how far it may go from there, and what it is to look like."""

    start: str = setting(
        "grey",
        "What the canvas starts from: grey, noise, a colour (#c08040), clouds, rings, weave, poster (two problems of "
        "the task that is trained, solved), poster:TEXT, poster:FILE.txt, or a picture file.",
    )
    ground: str = setting("#808080", "Colour behind the transparent parts of a start picture.")
    limit: int | None = setting(None, "Levels of 255 by which a pixel may differ from the start. Default: no limit.")
    mask: str | None = setting(
        None,
        "What of the start is figure: its opaque parts (alpha), or the black of this picture file. The ground has the "
        "limit, the figure a figure_limit.",
    )
    figure_limit: int | None = setting(None, "The limit of the figure, with a mask. Default: 0.")
    likeness: float | None = setting(
        None, "How like its start the painting stays at least, as MS-SSIM from 0 to 1. Default: no limit."
    )
    style: str | None = setting(
        None,
        "What it is to look like: NAME=WEIGHT,NAME=WEIGHT of texture, tower and patches (of the style_picture) and "
        "variation (calm). At a weight of 1 it pulls as strongly as the objective.",
    )
    style_picture: str | None = setting(None, "The picture file whose style it is.")
    palette: str | None = setting(
        None,
        "The only colours it may have: #20304a,#f4e9d8,gold, or a picture file for its 16, FILE:24 for 24.",
    )
    robust: bool = setting(
        False, "Train through JPEG, small resizes and shifts, for services that do not pass a picture on as it is."
    )
    brush: str = setting(
        "pixels", "What it is painted with: pixels, mosaic[:SIDE of a tile] or strokes[:NUMBER of them]."
    )
