"""A fixed palette: every pixel of the painting is one of a few colours, chosen beforehand.

The model sees the nearest colours, the gradient passes straight through to the canvas behind them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor

from arttune.canvas import LEVELS, open_picture
from arttune.errors import BadInput

COLOURS = 16  # of a picture, if it is not said how many


def colours(palette: str) -> torch.Tensor:
    """The colours of a palette, uint8 `(K, 3)`.

    `palette` lists colours, `#20304a,#f4e9d8,gold`, or names a picture file, whose 16 most telling ones are taken
    (median cut, Heckbert 1982), or as many as `FILE:K` says. Raises `BadInput`.
    """
    name, _, count = palette.rpartition(":")
    if os.path.isfile(palette) or (count.isdecimal() and os.path.isfile(name)):
        file, number = (Path(palette), COLOURS) if os.path.isfile(palette) else (Path(name), int(count))
        if not 2 <= number <= 256:
            raise BadInput(f"palette {palette!r} asks for {number} colours; 2 to 256 can be")
        return _of_picture(file, number)
    try:
        found = [ImageColor.getrgb(part.strip())[:3] for part in palette.split(",")]
    except ValueError:
        raise BadInput(
            f"palette {palette!r} is no picture file and no list of colours; write #20304a,#f4e9d8,gold or FILE:16"
        ) from None
    if len(set(found)) < 2:
        raise BadInput(f"palette {palette!r} has one colour; a picture needs two")
    return torch.tensor(sorted(set(found)), dtype=torch.uint8)


def listed(chosen: torch.Tensor) -> str:
    """`colours` as the text that gives them again."""
    return ",".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in chosen.tolist())


def _of_picture(path: Path, number: int) -> torch.Tensor:
    pixels = np.array(open_picture(path).convert("RGBA"))
    seen = pixels[pixels[..., 3] > 0][None, :, :3]  # not what lies hidden where it is transparent
    if not seen.size:
        raise BadInput(f"{path} is transparent all over; a palette needs two colours")
    table = Image.fromarray(seen).quantize(number, Image.Quantize.MEDIANCUT).getpalette() or []
    kept = {tuple(table[k : k + 3]) for k in range(0, 3 * number, 3) if len(table) >= k + 3}
    if len(kept) < 2:
        raise BadInput(f"{path} has one colour; a palette needs two")
    return torch.tensor(sorted(kept), dtype=torch.uint8)


def snapped(
    picture: torch.Tensor, chosen: torch.Tensor, low: torch.Tensor | None = None, high: torch.Tensor | None = None
) -> torch.Tensor:
    """The nearest of the colours `(K, 3)` uint8 for each pixel of a picture `(3, H, W)` in [0, 1], straight through.

    Nearest in RGB, and of those between `low` and `high` (uint8 pictures) if there are such; where no colour is, the
    nearest of all.
    """
    held = picture.detach().flatten(1).T
    ink = chosen.to(held) / LEVELS
    far = torch.cdist(held, ink, compute_mode="donot_use_mm_for_euclid_dist")
    if low is not None and high is not None:
        under, over = (edge.flatten(1).T[:, None].to(torch.int16) for edge in (low, high))
        ink_levels = chosen[None].to(torch.int16)
        legal = ((ink_levels >= under) & (ink_levels <= over)).all(dim=2)
        far = far + 4.0 * (~legal).to(far)  # farther than any colour of the cube is from another
    nearest = ink[far.argmin(dim=1)].T.reshape(picture.shape)
    return picture + (nearest - picture).detach()
