"""A palette's colours, and every pixel one of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from arttune.canvas import to_uint8
from arttune.errors import BadInput
from arttune.style.palette import colours, listed, snapped


def test_colours_are_listed_and_read_back():
    found = colours("gold, #20304A,#f4e9d8,gold")
    assert {tuple(one) for one in found.tolist()} == {(255, 215, 0), (32, 48, 74), (244, 233, 216)}
    assert torch.equal(colours(listed(found)), found)


def test_colours_of_a_picture_are_those_it_has(tmp_path):
    there = np.array([[10, 20, 30], [200, 100, 0], [255, 255, 255]], dtype=np.uint8)
    Image.fromarray(there[np.arange(900).reshape(30, 30) % 3], "RGB").save(tmp_path / "three.png")
    assert colours(str(tmp_path / "three.png")).tolist() == there.tolist()
    assert len(colours("recipes/compare/orchard.png")) == 16
    assert len(colours("recipes/compare/orchard.png:24")) == 24


def test_what_lies_hidden_is_no_colour(tmp_path):
    pixels = np.zeros((20, 20, 4), dtype=np.uint8)
    pixels[:5], pixels[5:9] = (200, 0, 0, 255), (0, 0, 200, 128)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "logo.png")
    assert colours(str(tmp_path / "logo.png")).tolist() == [[0, 0, 200], [200, 0, 0]]
    Image.new("RGBA", (20, 20)).save(tmp_path / "nothing.png")
    with pytest.raises(BadInput, match="transparent all over"):
        colours(str(tmp_path / "nothing.png"))


@pytest.mark.parametrize(
    ("palette", "says"),
    [
        ("crimsonish", "no picture file and no list of colours"),
        ("red", "has one colour"),
        ("recipes/compare/orchard.png:²", "no picture file and no list of colours"),
        ("recipes/compare/orchard.png:1", "asks for 1 colours; 2 to 256"),
    ],
)
def test_what_is_no_palette_is_said(palette, says):
    with pytest.raises(BadInput, match=says):
        colours(palette)


def test_each_pixel_is_the_nearest_colour_and_the_gradient_passes():
    chance = torch.Generator().manual_seed(0)
    picture = torch.rand(3, 9, 7, generator=chance).requires_grad_()
    chosen = colours("#102030,#f0e0d0,#c04020,#2080a0,#808080")
    seen = snapped(picture, chosen)
    for y in range(9):
        for x in range(7):
            far = [(picture.detach()[:, y, x] - one / 255).square().sum() for one in chosen]
            assert to_uint8(seen)[:, y, x].tolist() == chosen[int(torch.stack(far).argmin())].tolist()
    weight = torch.rand(3, 9, 7, generator=chance)
    (seen * weight).sum().backward()
    assert torch.equal(picture.grad, weight)


def test_only_colours_within_the_limits_are_taken():
    chosen = colours("#000000,#646464,#ffffff")
    picture = torch.full((3, 1, 2), 0.05)
    low = torch.tensor([[[90, 0]]] * 3, dtype=torch.uint8)
    high = torch.tensor([[[110, 255]]] * 3, dtype=torch.uint8)
    assert to_uint8(snapped(picture, chosen, low, high))[0, 0].tolist() == [100, 0]
