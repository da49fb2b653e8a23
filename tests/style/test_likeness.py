"""MS-SSIM against the paper's formulas in plain numpy, and taking back what is too unlike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d

from arttune.canvas import quantize
from arttune.errors import BadInput
from arttune.style.likeness import BETAS, likeness, scales, share


def pair(side: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth picture with edges, and the same with noise."""
    chance = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 6, side), torch.linspace(0, 9, side), indexing="ij")
    artwork = torch.stack([0.5 + 0.4 * torch.sin(x + k) * torch.cos(y * (k + 1)) for k in range(3)])
    artwork[:, side // 3 : side // 2, side // 4 : side // 2] = 0.9
    return (artwork + noise * torch.randn(artwork.shape, generator=chance)).clamp(0, 1), artwork


def by_hand(one: np.ndarray, other: np.ndarray, betas: tuple[float, ...]) -> float:
    """Wang, Simoncelli and Bovik 2003, equation 7, of `(3, H, W)`: halved by averaging.

    Channels are averaged at each scale; windows are valid ones, but at the last scale the edges are mirrored.
    """
    at = np.arange(11) - 5
    window = np.exp(-(at**2) / (2 * 1.5**2))
    window /= window.sum()

    def blurred(x: np.ndarray) -> np.ndarray:
        return convolve1d(convolve1d(x, window, axis=1, mode="mirror"), window, axis=2, mode="mirror")

    found = 1.0
    for scale, beta in enumerate(betas):
        m, n = blurred(one), blurred(other)
        v, w, c = blurred(one**2) - m**2, blurred(other**2) - n**2, blurred(one * other) - m * n
        contrast = (2 * c + 0.03**2) / (v + w + 0.03**2)
        light = (2 * m * n + 0.01**2) / (m**2 + n**2 + 0.01**2)
        last = scale == len(betas) - 1
        seen = contrast * light if last else contrast[:, 5:-5, 5:-5]
        found *= max(0.0, float(seen.mean())) ** beta
        one, other = (x.reshape(3, x.shape[1] // 2, 2, -1, 2).mean(axis=(2, 4)) for x in (one, other))
    return found


@pytest.mark.parametrize("side", [224, 112, 28])
def test_likeness_is_the_papers(side):
    picture, artwork = pair(side)
    expected = by_hand(picture.double().numpy(), artwork.double().numpy(), scales((side, side)))
    assert float(likeness(picture, artwork)) == pytest.approx(expected, abs=1e-4)
    assert float(likeness(artwork, artwork)) == pytest.approx(1, abs=1e-6)


def test_there_are_as_many_scales_as_there_is_room_for():
    assert scales((224, 256)) == pytest.approx(BETAS, rel=2e-3)
    assert [len(scales((side, side))) for side in (175, 112, 56, 28)] == [4, 4, 3, 2]
    assert all(sum(scales((side, side))) == pytest.approx(1) for side in (224, 112, 28))
    with pytest.raises(BadInput, match="at least 11 pixels a side"):
        scales((8, 224))


@pytest.mark.parametrize("least", [0.95, 0.8, 0.5])
def test_what_is_too_unlike_is_taken_back_and_no_more_than_that(least):
    picture, artwork = pair(112, noise=0.5)
    artwork = quantize(artwork)
    assert float(likeness(picture, artwork)) < least
    kept = share(picture, artwork, least)
    assert float(likeness(quantize(artwork + kept * (picture - artwork)), artwork)) >= least
    more = kept + 2**-7
    assert float(likeness(quantize(artwork + more * (picture - artwork)), artwork)) < least


def test_what_is_like_enough_stays():
    picture, artwork = pair(112, noise=0.01)
    assert share(picture, artwork, 0.9) == 1.0
