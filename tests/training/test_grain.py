"""The fine grain: a finished tower sees as before, and what it overlooked reaches the tokens along a straight way."""

from __future__ import annotations

import pytest
import torch

import train
from grain import CHANNELS, GAIN, STRENGTH, patterns, quiet, with_grain, without_grain
from reader import Reader
from scenes import scene


@pytest.fixture
def readers(tiny_folder) -> tuple[Reader, Reader]:
    """A reader with an untrained tower without grain, and one whose tower has it besides."""
    bare, grained = Reader(tiny_folder), Reader(tiny_folder)
    bare.build(train.SHAPE, 0)
    grained.tower = with_grain(bare.tower, 0)
    return bare, grained


def off(readers: tuple[Reader, Reader], picture: torch.Tensor) -> float:
    """How far the tokens of a picture move with the grain, of their length."""
    with torch.no_grad():
        before, after = (reader.see([picture]) for reader in readers)
    return float((after - before).norm() / before.norm())


def noise(strength: float) -> torch.Tensor:
    dice = torch.Generator().manual_seed(7)
    return (0.5 + strength * torch.randn(3, 224, 224, generator=dice)).clamp(0, 1)


def test_patterns_are_orthonormal_and_the_quiet_ones_are_not_flat():
    found = patterns().flatten(1)
    assert len(found) == 3 * 14**2
    torch.testing.assert_close(found @ found.T, torch.eye(len(found)), atol=1e-5, rtol=0)
    assert quiet(CHANNELS, 0).mean((2, 3)).abs().max() < 1e-6


def test_what_is_flat_looks_the_same_and_noise_moves_tokens_as_far_as_told(readers):
    assert off(readers, torch.full((3, 224, 224), 0.3)) < 1e-5
    assert off(readers, scene("a word", 224, {"word": 1}).pixels) < GAIN / 2
    assert off(readers, noise(STRENGTH)) == pytest.approx(GAIN, rel=0.3)


def test_the_way_of_the_grain_is_straight(readers):
    """Patterns twice as strong move the tokens twice as far, and negative ones back, but for GELU's slight bend."""
    dice = torch.Generator().manual_seed(3)
    parts = torch.einsum("ijp,pcab->ciajb", torch.randn(16, 16, CHANNELS, generator=dice), quiet(CHANNELS, 0))
    change = parts.reshape(3, 224, 224)
    ground = noise(STRENGTH)
    with torch.no_grad():
        base = readers[1].see([ground]) - readers[0].see([ground])

    def moved(strength: float) -> torch.Tensor:
        with torch.no_grad():
            before, after = (reader.see([ground + strength * change]) for reader in readers)
        return after - before - base

    for strength in (0.02, -0.01):
        straight = strength / 0.01 * moved(0.01)
        assert (moved(strength) - straight).norm() < 0.15 * straight.norm()


def test_what_was_added_can_be_left_behind(readers):
    bare, grained = (reader.tower.state_dict() for reader in readers)
    for weights in (bare, grained):
        again = without_grain(weights, readers[0].tower)
        assert all(torch.allclose(again[name], weight) for name, weight in bare.items())
