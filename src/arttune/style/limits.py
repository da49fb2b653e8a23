"""Hard limits: how many of the 255 levels each pixel of a canvas may be away from its artwork.

A limit holds by construction. The canvas is brought back between two uint8 pictures before each forward pass, so the
model never sees, and nobody is ever served, a pixel beyond them.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from arttune.canvas import LEVELS
from arttune.errors import BadInput
from arttune.style.starts import opacity, share_of, sides

ALPHA = "alpha"


def bounds(start: torch.Tensor, most: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The lowest and highest picture, uint8 `(3, H, W)`, at most `most` levels `(H, W)` away from `start`."""
    wide, reach = start.to(torch.int16), most.to(torch.int16)
    return (wide - reach).clamp(0, LEVELS).to(torch.uint8), (wide + reach).clamp(0, LEVELS).to(torch.uint8)


def allowed(
    size: tuple[int, int], limit: int, figure_limit: int | None = None, mask: str | None = None, start: str = "grey"
) -> torch.Tensor:
    """How many levels each pixel may change, int `(H, W)`.

    Without a `mask` that is `limit` everywhere. A mask is a picture file whose white parts, the ground, may change by
    `limit`, its black ones, the figure, by `figure_limit` (0 if it is None), and what is between by what is between; or
    `alpha`, for which the opaque parts of the `start` picture are the figure. Mask and start are cropped to the canvas
    alike, so they must have one shape. Raises `BadInput`.
    """
    if limit == 0 and not figure_limit:
        raise BadInput("limit is 0, which lets no pixel change; give levels of 255, such as 24")
    for name, value in (("limit", limit), ("figure_limit", figure_limit)):
        if value is not None and not 0 <= value <= LEVELS:
            raise BadInput(f"{name} is {value}; it is a number of levels, 0 to {LEVELS}")
    if mask is None:
        if figure_limit is not None:
            raise BadInput("figure_limit needs a mask that tells figure from ground: a picture file, or alpha")
        return torch.full(size, limit)
    if mask == ALPHA:
        if not os.path.isfile(start):
            raise BadInput(f"mask is alpha, but the start {start!r} is no picture file; give a mask file")
        ground = 1 - opacity(Path(start), size)
        if bool((ground == 0).all()):
            raise BadInput(f"mask is alpha, but {start} has no transparent part; give a mask file")
    elif os.path.isfile(mask):
        if os.path.isfile(start):
            _same_shape(Path(mask), Path(start))
        ground = share_of(Path(mask), size)
    else:
        raise BadInput(f"mask {mask!r} is no picture file; give one, or alpha")
    figure = figure_limit or 0
    most = (figure + (limit - figure) * ground).floor().long()
    if not bool(most.any()):
        raise BadInput(f"mask {mask} lets no pixel change: all of it is figure; make the ground white")
    return most


def _same_shape(mask: Path, start: Path) -> None:
    """Raises `BadInput` for pictures of which other parts are cropped; a pixel more or less is one shape still."""
    (wide, tall), (width, height) = sides(mask), sides(start)
    if abs(wide * height - width * tall) > max(wide, tall, width, height):
        raise BadInput(
            f"mask {mask} is {wide}x{tall} pixels and the start {start} {width}x{height}: other parts of them would be "
            "cropped; give both one shape"
        )
