"""Likeness: how much of an artwork one still sees in a painting, and holding a canvas to it.

Likeness is MS-SSIM (Wang et al. 2003, "Multi-scale structural similarity for image quality assessment"), 1 for the same
picture. What a canvas is less like than it must be is taken back before anyone sees it (`share`), and so that this
need not be much, likeness also has a price in training (`taste.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

from arttune.canvas import LEVELS, quantize
from arttune.errors import BadInput

# Of the paper's five scales, from fine to coarse. A window must fit into the coarsest (`scales`).
BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
GUESSES, HALVES = 8, 8
ROUNDING = 2e-5  # by which float32, on any processor, may misjudge a picture


def scales(size: tuple[int, int]) -> tuple[float, ...]:
    """The weights of as many of the scales as a picture has room for, their sum 1. Raises `BadInput` if it has none."""
    fitting = sum(min(size) // max(1, k) ** 2 >= WINDOW for k in range(len(BETAS)))  # as torchmetrics wants it
    if not fitting:
        raise BadInput(f"likeness needs a canvas of at least {WINDOW} pixels a side; this one is {min(size)}")
    taken = BETAS[:fitting]
    return tuple(beta / sum(taken) for beta in taken)


def likeness(picture: torch.Tensor, artwork: torch.Tensor) -> torch.Tensor:
    """MS-SSIM of two pictures `(3, H, W)` in [0, 1]; 1 where they are the same.

    As torchmetrics has it: channels are averaged at each scale, and at the coarsest the picture is mirrored at its
    edges.
    """
    size = (picture.shape[1], picture.shape[2])
    found: torch.Tensor = ms_ssim(picture[None], artwork[None], data_range=1.0, betas=scales(size), normalize="relu")
    return found


@torch.no_grad()
def alike(painting: torch.Tensor, artwork: torch.Tensor) -> float | None:
    """The likeness of two uint8 pictures; None where there is no room for a window."""
    if min(painting.shape[1:]) < WINDOW:
        return None
    return float(likeness(painting.cpu().float() / LEVELS, artwork.cpu().float() / LEVELS))


@torch.no_grad()
def share(
    picture: torch.Tensor,
    artwork: torch.Tensor,
    least: float,
    shown: Callable[[torch.Tensor], torch.Tensor] = quantize,
) -> float:
    """How much of its difference from `artwork` a picture may keep to be, as it is `shown`, at least that like.

    1 where it is so already, and 0, the artwork itself, if need be. Near the artwork, what a picture lacks in likeness
    grows with the square of how far it is away, and farther with a smaller power, which two guesses tell: so the second
    or third guess is nearly always right, but for a hair that is left to spare. Where guesses fail, halves do not.
    """
    kept, power = 1.0, 2.0
    before: tuple[float, float] | None = None
    room = max(0.0, 1 - least - ROUNDING)
    for tried in range(GUESSES + HALVES):
        guess = picture if kept == 1.0 else artwork + kept * (picture - artwork)
        lacks = 1 - float(likeness(shown(guess), artwork))
        if lacks <= room:
            return kept
        if tried >= GUESSES:
            kept /= 2
            continue
        if before is not None and lacks < before[1]:
            power = min(2.0, max(0.1, math.log(lacks / before[1]) / math.log(kept / before[0])))
        before = kept, lacks
        kept *= min(1.0, 0.995 * (room / lacks) ** (1 / power))
    return 0.0
