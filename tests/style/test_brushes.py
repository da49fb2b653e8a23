"""Brushes paint the artwork they begin with, and their gradients are those of what they paint."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from arttune.errors import BadInput
from arttune.style.brushes import Mosaic, Strokes, brush
from arttune.style.starts import start_pixels

ORCHARD = "recipes/compare/orchard.png"


def test_tiles_have_the_mean_colour_of_what_they_cover():
    artwork = start_pixels(ORCHARD, (56, 84))
    laid = Mosaic((56, 84), 7, 0)
    colours = laid.begin(artwork)
    assert colours.shape == (3, 8 * 12)
    for tile in (0, 40, 95):
        under = artwork.flatten(1)[:, laid.tile == tile].float() / 255
        assert colours[:, tile].tolist() == pytest.approx(under.mean(dim=1).tolist(), abs=1e-6)
    picture = laid.paint(colours).flatten(1)
    plain = laid.shade == 1
    assert torch.equal(picture[:, plain], colours[:, laid.tile][:, plain])
    assert torch.allclose(picture[:, ~plain], 0.6 * colours[:, laid.tile][:, ~plain])


@pytest.mark.parametrize(("size", "side"), [((56, 84), 7), ((60, 84), 9), ((29, 28), 2), ((28, 56), 14)])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_pixel_is_of_the_nearest_tile_of_all(size, side, seed):
    rows, columns = round(size[0] / side), round(size[1] / side)
    cells = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), 2).double() + 0.5
    chance = torch.Generator().manual_seed(seed)
    moved = cells + 0.6 * (torch.rand(rows * columns, 2, generator=chance).view_as(cells).double() - 0.5)
    points = (moved * torch.tensor([size[0] / rows, size[1] / columns])).view(-1, 2)
    laid = Mosaic(size, side, seed).tile.view(size)
    for y in range(0, size[0], 3):
        for x in range(0, size[1], 3):
            far = (points - torch.tensor([y + 0.5, x + 0.5])).norm(dim=1)
            assert float(far[laid[y, x]]) == pytest.approx(float(far.min()), abs=1e-4)


def test_gaps_are_where_tiles_meet():
    laid = Mosaic((28, 28), 7, 1)
    tile, gap = laid.tile.view(28, 28), (laid.shade < 1).view(28, 28)
    for y in range(28):
        for x in range(28):
            meets = (y and tile[y, x] != tile[y - 1, x]) or (x and tile[y, x] != tile[y, x - 1])
            assert bool(gap[y, x]) == bool(meets)


@pytest.mark.parametrize("seed", [0, 1])
def test_strokes_show_the_artwork(seed):
    artwork = start_pixels(ORCHARD, (112, 112))
    strokes = Strokes((112, 112), 900, seed)
    with torch.no_grad():
        picture = strokes.paint(strokes.begin(artwork))
    assert picture.shape == (3, 112, 112)
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1
    blurred = torch.nn.functional.avg_pool2d(artwork.float()[None] / 255, 7, 1, 3, count_include_pad=False)[0]
    plain = (blurred - blurred.mean(dim=(1, 2), keepdim=True)).square().mean()
    assert float((picture - blurred).square().mean()) < 0.25 * float(plain)


@pytest.mark.parametrize("chosen", ["mosaic:7", "strokes:40"])
def test_gradients_are_those_of_finite_differences(chosen):
    artwork = start_pixels(ORCHARD, (28, 42))
    made = brush(chosen, (28, 42))
    numbers = made.begin(artwork).double()
    chance = torch.Generator().manual_seed(0)
    numbers += 0.01 * torch.rand(numbers.shape, generator=chance, dtype=torch.float64)
    weight = torch.rand(3, 28, 42, generator=chance, dtype=torch.float64)
    numbers.requires_grad_()
    (slope,) = torch.autograd.grad((made.paint(numbers) * weight).sum(), numbers)
    for at in torch.randperm(numbers.numel(), generator=chance)[:40].tolist():
        step = torch.zeros(numbers.numel(), dtype=torch.float64)
        step[at] = 1e-6
        step = step.view_as(numbers)
        with torch.no_grad():
            rise = ((made.paint(numbers + step) - made.paint(numbers - step)) * weight).sum() / 2e-6
        assert float(slope.flatten()[at]) == pytest.approx(float(rise), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ("roller", "there is no brush 'roller'"),
        ("mosaic:²", "there is no brush"),
        ("mosaic:1", "2 to 14 pixels"),
        ("strokes:0", "must be a stroke"),
    ],
)
def test_what_is_no_brush_is_said(chosen, says):
    with pytest.raises(BadInput, match=says):
        brush(chosen, (28, 42))


def test_pixels_are_no_brush():
    assert brush("pixels", (28, 28)) is None


def test_bristles_have_two_colours_in_turn():
    strokes = Strokes((84, 84), 1, 0)
    numbers = torch.zeros(1, 11)
    numbers[0, :2], numbers[0, 5], numbers[0, 10] = 42.5 / strokes.PLACE, 1.0, 1.0  # level, in the middle; red and blue
    red, _, blue = strokes.paint(numbers)[:, :, 42]
    assert torch.allclose((red + blue)[25:60], torch.ones(35), atol=1e-3)
    peaks = [y for y in range(26, 59) if blue[y] > blue[y - 1] and blue[y] >= blue[y + 1]]
    assert {b - a for a, b in pairwise(peaks)} == {3}


def test_numbers_are_kept_where_they_paint():
    artwork = start_pixels(ORCHARD, (56, 84))
    for made in (Mosaic((56, 84), 7, 0), Strokes((56, 84), 50, 0)):
        numbers = made.begin(artwork)
        begun = numbers.clone()
        made.keep_(numbers)
        torch.testing.assert_close(made.paint(numbers), made.paint(begun))
        numbers += 1e6 * torch.randn(numbers.shape, generator=torch.Generator().manual_seed(0))
        made.keep_(numbers)
        picture = made.paint(numbers)
        assert picture.isfinite().all()
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1 + 1e-6
