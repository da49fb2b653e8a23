"""What a canvas starts from is what was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from arttune.canvas import Painting
from arttune.errors import BadInput
from arttune.style.starts import INK, PAPER, PATTERNS, poster, start_pixels
from test_canvas import SIZE, noise


@pytest.mark.parametrize(
    ("start", "colour"), [("grey", (128, 128, 128)), ("#c08040", (192, 128, 64)), ("red", (255, 0, 0))]
)
def test_plain_starts_have_their_colour(start, colour):
    pixels = start_pixels(start, SIZE)
    assert pixels.shape == (3, *SIZE)
    assert {tuple(c) for c in pixels.flatten(1).T.tolist()} == {colour}


def test_noise_depends_on_the_seed_alone():
    assert torch.equal(noise(1), noise(1))
    assert not torch.equal(noise(1), noise(2))


def test_a_picture_of_the_right_size_starts_unchanged(tmp_path):
    pixels = noise()
    Painting(pixels).save(tmp_path / "a.png")
    assert torch.equal(start_pixels(str(tmp_path / "a.png"), SIZE), pixels)


def test_transparent_parts_of_a_start_show_the_ground(tmp_path):
    rgba = np.zeros((56, 84, 4), dtype=np.uint8)
    rgba[:, 42:] = (255, 0, 0, 255)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "half.png")
    pixels = start_pixels(str(tmp_path / "half.png"), SIZE, ground="#102030")
    assert pixels[:, 0, 0].tolist() == [16, 32, 48]
    assert pixels[:, 0, 80].tolist() == [255, 0, 0]


def test_a_picture_of_another_shape_is_cropped_not_squeezed(tmp_path):
    wide = np.zeros((100, 400, 3), dtype=np.uint8)
    wide[:, 150:250] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    pixels = start_pixels(str(tmp_path / "wide.png"), (56, 56))
    assert pixels.float().mean() > 250


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_fills_the_canvas_and_depends_on_the_seed_alone(name):
    pixels = start_pixels(name, SIZE, seed=1)
    assert (pixels.shape, pixels.dtype) == ((3, *SIZE), torch.uint8)
    assert torch.equal(pixels, start_pixels(name, SIZE, seed=1))
    assert not torch.equal(pixels, start_pixels(name, SIZE, seed=2))
    assert float(pixels.float().std(dim=(1, 2)).max()) > 20


def test_a_poster_is_as_large_as_fits(tmp_path):
    short, long = poster("SUM\n2 + 2 = 4", (224, 224)), poster("SUM\n" + "2 + 2 = 4, and so on. " * 12, (224, 224))
    ink = torch.tensor(ImageColor.getrgb(INK)).view(3, 1, 1)
    for pixels in (short, long):
        assert pixels.shape == (3, 224, 224)
        rows = ((pixels - ink).abs().sum(dim=0) < 60).any(dim=1).nonzero().flatten()
        assert 0 < int(rows.min()) < int(rows.max()) < 223
    paper = torch.tensor(ImageColor.getrgb(PAPER)).view(3, 1, 1)
    for pixels in (short, long):
        covered = (pixels != paper).any(dim=0)[10:214, 10:214]
        wide, tall = covered.any(dim=0).sum(), covered.any(dim=1).sum()
        assert max(int(wide), int(tall)) > 130
    (tmp_path / "said.txt").write_text("SUM\n2 + 2 = 4")
    assert torch.equal(start_pixels(f"poster:{tmp_path / 'said.txt'}", (224, 224)), short)


@pytest.mark.parametrize(
    ("text", "says"),
    [(" ", "has no text"), ("word " * 4000, "do not fit on 224x224 pixels"), ("gone.txt", "gone.txt cannot be read")],
)
def test_a_poster_nobody_can_read_is_said(text, says):
    with pytest.raises(BadInput, match=says):
        poster(text, (224, 224))


def test_sixteen_bits_of_grey_are_no_white(tmp_path):
    Image.fromarray(np.repeat(np.arange(0, 65536, 257, dtype=np.uint16)[None], 14, 0)).save(tmp_path / "scan.png")
    pixels = start_pixels(str(tmp_path / "scan.png"), (14, 256))
    assert pixels[0, 0].tolist() == pixels[2, 13].tolist() == list(range(256))


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_colours_that_are_none_of_a_screen_are_bad_input(tmp_path, mode):
    Image.new(mode, (28, 28)).save(tmp_path / "odd.tif")
    with pytest.raises(BadInput, match=rf"odd\.tif has colours of the kind '{mode}'"):
        start_pixels(str(tmp_path / "odd.tif"), SIZE)


def test_an_unknown_start_is_bad_input():
    with pytest.raises(BadInput, match="no picture file and no colour"):
        start_pixels("blurple.png", SIZE)


def test_an_unknown_ground_is_bad_input():
    with pytest.raises(BadInput, match="ground 'blurple' is no colour"):
        start_pixels("grey", SIZE, ground="blurple")


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    lying = Image.new("RGB", (56, 28), "red")
    lying.paste("blue", (0, 0, 28, 28))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise: what lies left is up
    lying.save(tmp_path / "photo.png", exif=exif)
    shown = start_pixels(str(tmp_path / "photo.png"), (56, 28))
    assert shown[:, 0, 0].tolist() == [0, 0, 255]
    assert shown[:, -1, -1].tolist() == [255, 0, 0]
