"""Style losses against slow ways to the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from arttune.style.losses import Patches, Texture, gram, pyramid, variation


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    return torch.rand(3, 56, 84, generator=chance), torch.rand(3, 56, 84, generator=chance) ** 2


def test_variation_is_the_mean_difference_of_neighbours():
    picture = pictures()[0].numpy()
    down, across = np.abs(np.diff(picture, axis=1)).sum(), np.abs(np.diff(picture, axis=2)).sum()
    assert float(variation(torch.from_numpy(picture))) == pytest.approx((down + across) / picture.size, rel=1e-5)


def test_a_gram_matrix_is_the_mean_product_of_features():
    features = torch.rand(4, 30, generator=torch.Generator().manual_seed(2))
    for i in range(4):
        for j in range(4):
            assert float(gram(features)[i, j]) == pytest.approx(float((features[i] * features[j]).mean()), rel=1e-5)


def test_a_pyramid_halves_by_averaging_while_there_is_room():
    picture = pictures()[0]
    levels = pyramid(picture, 5, 14)
    assert [tuple(level.shape[1:]) for level in levels] == [(56, 84), (28, 42), (14, 21)]
    assert float(levels[1][2, 5, 7]) == pytest.approx(float(picture[2, 10:12, 14:16].mean()), rel=1e-6)


@pytest.mark.parametrize("kind", [Texture, Patches])
def test_a_style_is_nothing_from_itself_and_its_gradient_leads_there(kind):
    picture, style = pictures()
    loss = kind(style)
    assert float(loss(style, 0)) == pytest.approx(0, abs=1e-6)
    far = [float(loss(picture, step)) for step in range(4)]
    seen = picture.clone().requires_grad_()
    for step in range(40):
        (slope,) = torch.autograd.grad(loss(seen, step), seen)
        seen = (seen - 0.02 * slope / slope.square().mean().sqrt()).detach().clamp(0, 1).requires_grad_()
    assert np.mean([float(loss(seen.detach(), step)) for step in range(4)]) < 0.5 * np.mean(far)


def test_texture_does_not_care_where_things_are():
    style = torch.zeros(3, 112, 112)
    style[:, ::8] = 1
    moved, turned = style.roll(3, dims=1), style.transpose(1, 2).contiguous()
    loss = Texture(style)
    assert float(loss(moved)) < 0.05 * float(loss(turned))


@pytest.mark.parametrize("kind", [Texture, Patches])
def test_a_fringe_is_as_far_from_the_style_as_a_stripe_within(kind):
    style = pictures()[1]
    within, fringe = style.clone(), style.clone()
    within[:, :, 40:42], fringe[:, :, :2] = 1, 1
    loss = kind(style)
    stripe, edge = (np.mean([float(loss(one, step)) for step in range(8)]) for one in (within, fringe))
    assert 0.6 * stripe < edge < 1.7 * stripe


def test_patches_are_compared_as_scipy_compares_distributions():
    picture, style = pictures()
    loss = Patches(style, directions=3, levels=1)
    drawn = torch.randn(3, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    drawn /= drawn.flatten(1).norm(dim=1)[:, None, None, None]
    far = []
    for direction in drawn:
        ours, theirs = (
            [float((p[:, y : y + 7, x : x + 7] * direction).sum()) for y in range(0, 56, 2) for x in range(0, 84, 2)]
            for p in (torch.from_numpy(np.pad(one, [(0, 0), (3, 3), (3, 3)], "reflect")) for one in (picture, style))
        )
        far.append(wasserstein_distance(ours, theirs))
    assert float(loss(picture, 0)) == pytest.approx(np.mean(far), rel=1e-4)
