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


def like(kept: float, picture: torch.Tensor, artwork: torch.Tensor) -> float:
    return float(likeness(quantize(artwork + kept * (picture - artwork)), artwork))


@pytest.mark.parametrize("least", [0.98, 0.95, 0.8, 0.5])
def test_what_is_too_unlike_is_taken_back_and_hardly_more_than_that(least):
    """By a step of training it is a little too unlike, so much that a hundredth less would do."""
    picture, artwork = pair(112, noise=0.5)
    artwork = quantize(artwork)
    most = max(kept / 500 for kept in range(500) if like(kept / 500, picture, artwork) >= least)
    picture = artwork + 1.15 * most * (picture - artwork)
    kept = share(picture, artwork, least)
    assert like(kept, picture, artwork) >= least
    assert like(kept + 0.02, picture, artwork) < least


@pytest.mark.parametrize("least", [0.98, 0.8, 0.3])
@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_from_far_away_it_is_taken_back_too(least, noise):
    picture, artwork = pair(112, noise=noise)
    artwork = quantize(artwork)
    kept = share(picture, artwork, least)
    assert 0 < kept < 1
    assert like(kept, picture, artwork) >= least
    assert like(2 * kept, picture, artwork) < least


def test_next_to_the_artwork_it_is_taken_back_no_further_than_it_must():
    """So near that what float32 may misjudge is a good part of the room. As it is: rounded, all of this were steps."""
    picture, artwork = pair(112, noise=0.1)
    for least in (0.999, 0.9995):
        kept = share(picture, artwork, least, shown=lambda seen: seen)
        lacks = [1 - float(likeness(artwork + k * kept * (picture - artwork), artwork)) for k in (1.0, 1.1)]
        assert lacks[0] <= 1 - least < lacks[1]


def test_what_is_like_enough_stays():
    picture, artwork = pair(112, noise=0.01)
    assert share(picture, artwork, 0.9) == 1.0
