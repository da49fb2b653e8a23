"""How far each pixel may go, by figure and ground, and that it goes no farther."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from arttune.errors import BadInput
from arttune.style.limits import allowed, bounds

SIZE = (56, 84)


@pytest.fixture
def cutout(tmp_path):
    """A picture whose left half is opaque and right half is clear, with a half-clear column between."""
    pixels = np.zeros((56, 84, 4), dtype=np.uint8)
    pixels[:, :41, 3], pixels[:, 41, 3] = 255, 127
    Image.fromarray(pixels, "RGBA").save(tmp_path / "cutout.png")
    return tmp_path / "cutout.png"


def test_bounds_are_as_many_levels_away_and_end_at_black_and_white():
    start = torch.tensor([0, 100, 250], dtype=torch.uint8).view(3, 1, 1)
    low, high = bounds(start, torch.full((1, 1), 10))
    assert (low.flatten().tolist(), high.flatten().tolist()) == ([0, 90, 240], [10, 110, 255])
    assert low.dtype == high.dtype == torch.uint8


def test_without_a_mask_all_may_change_alike():
    assert torch.equal(allowed(SIZE, 12), torch.full(SIZE, 12))


def test_opaque_parts_are_the_figure(cutout):
    most = allowed(SIZE, 40, 4, "alpha", str(cutout))
    assert most[0, [0, 40, 41, 42, 83]].tolist() == [4, 4, 4 + int(36 * 128 / 255), 40, 40]


def test_black_of_a_mask_is_the_figure_and_may_not_change_unless_told(tmp_path):
    grey = np.repeat(np.arange(0, 252, 3, dtype=np.uint8)[None], 56, axis=0)
    Image.fromarray(grey, "L").save(tmp_path / "mask.png")
    most = allowed(SIZE, 51, None, str(tmp_path / "mask.png"))
    assert most[0].tolist() == [int(51 * level / 255) for level in range(0, 252, 3)]


@pytest.mark.parametrize("side", [112, 300, 1000])
def test_a_figure_of_a_mask_of_another_size_does_not_change_either(tmp_path, side):
    """Not by the waves that a sharp filter makes at an edge: all pixels whose sources are all figure."""
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[:, side // 2 :] = 255
    Image.fromarray(mask, "L").save(tmp_path / "mask.png")
    clear = np.zeros((side, side, 4), dtype=np.uint8)
    clear[..., 3] = 255 - mask
    Image.fromarray(clear, "RGBA").save(tmp_path / "cut.png")
    for how in (("alpha", str(tmp_path / "cut.png")), (str(tmp_path / "mask.png"), "grey")):
        most = allowed((224, 224), 255, 0, *how)
        assert int(most[:, :111].max()) == 0
        assert int(most[:, 113:].min()) == 255


def test_what_is_transparent_in_a_mask_is_ground(tmp_path):
    """A black figure on nothing is how such pictures leave most programs."""
    figure = np.zeros((56, 84, 4), dtype=np.uint8)
    figure[:, :42, 3] = 255
    Image.fromarray(figure, "RGBA").save(tmp_path / "mask.png")
    most = allowed(SIZE, 40, 4, str(tmp_path / "mask.png"))
    assert most[0, [0, 41, 42, 83]].tolist() == [4, 4, 40, 40]


def test_a_mask_that_lets_nothing_change_is_said(tmp_path):
    Image.new("L", (84, 56), 0).save(tmp_path / "mask.png")
    with pytest.raises(BadInput, match="lets no pixel change: all of it is figure"):
        allowed(SIZE, 40, None, str(tmp_path / "mask.png"))
    assert torch.equal(allowed(SIZE, 40, 4, str(tmp_path / "mask.png")), torch.full(SIZE, 4))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"limit": 300}, "limit is 300; it is a number of levels, 0 to 255"),
        ({"limit": 0}, "limit is 0, which lets no pixel change"),
        ({"limit": 9, "figure_limit": -1, "mask": "alpha"}, "figure_limit is -1"),
        ({"limit": 9, "figure_limit": 3}, "figure_limit needs a mask"),
        ({"limit": 9, "mask": "alpha"}, "'grey' is no picture file; give a mask file"),
        ({"limit": 9, "mask": "nowhere.png"}, "mask 'nowhere.png' is no picture file; give one, or alpha"),
        ({"limit": 9, "mask": "alpha", "start": "recipes/compare/orchard.png"}, "has no transparent part"),
        (
            {"limit": 9, "mask": "docs/compare/smol_svamp.png", "start": "recipes/compare/orchard.png"},
            "other parts of them would be cropped; give both one shape",
        ),
    ],
)
def test_what_makes_no_sense_is_said(given, says):
    with pytest.raises(BadInput, match=says.replace(".", r"\.")):
        allowed(SIZE, **given)
