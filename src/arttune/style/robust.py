"""Training through what services do to a picture: JPEG, a resize there and back, a shift of a pixel or two.

Each step of training sees the canvas after one of them, or as it is. Expectation over transformation (Athalye et al.
2018, arXiv 1707.07397) with few of them: what a painting says must then not hang on what they destroy.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate, pad

from arttune.canvas import LEVELS, Painting, pixels_of, quantize, to_uint8

QUALITIES, SCALES, SHIFT = (50, 95), (0.8, 1.25), 2  # of JPEG, of a side, in pixels


def jpeg(picture: torch.Tensor, quality: int) -> torch.Tensor:
    """A float picture `(3, H, W)` in [0, 1] as a JPEG decoder gives it back, the gradient passed straight through.

    Colours are stored at half the size, which is what encoders do unless told otherwise.
    """
    data = io.BytesIO()
    Painting(to_uint8(picture)).picture.save(data, "JPEG", quality=quality, subsampling="4:2:0")
    decoded = pixels_of(Image.open(data)).to(picture) / LEVELS
    return picture + (decoded - picture).detach()


def resized(picture: torch.Tensor, scale: float) -> torch.Tensor:
    """A picture made larger or smaller, at uint8 levels, and then of its own size again."""
    height, width = picture.shape[1:]
    there = (max(1, round(height * scale)), max(1, round(width * scale)))
    seen = picture[None]
    for size in (there, (height, width)):
        seen = quantize(interpolate(seen, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1))
    return seen[0]


def shifted(picture: torch.Tensor, down: int, across: int) -> torch.Tensor:
    """A picture moved by whole pixels, its edge repeated where there would be nothing."""
    height, width = picture.shape[1:]
    most = max(abs(down), abs(across))
    wide = pad(picture[None], (most, most, most, most), mode="replicate")[0]
    return wide[:, most - down : most - down + height, most - across : most - across + width]


def shaken(picture: torch.Tensor, seed: int, step: int) -> torch.Tensor:
    """A picture `(3, H, W)` after one of what may happen to it, or of nothing, as seed and step say. Differentiable."""
    chance = np.random.default_rng([seed, step])
    kind = chance.integers(4)
    if kind == 0:
        return jpeg(picture, int(chance.integers(QUALITIES[0], QUALITIES[1] + 1)))
    if kind == 1:
        return resized(picture, float(np.exp(chance.uniform(*np.log(SCALES)))))
    if kind == 2:
        return shifted(picture, *(int(move) for move in chance.integers(-SHIFT, SHIFT + 1, 2)))
    return picture
