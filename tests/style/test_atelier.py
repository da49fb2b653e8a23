"""From settings to tools: what fits together, and what is said of what does not."""

from __future__ import annotations

import pytest
from PIL import Image

from arttune.errors import BadInput
from arttune.style.atelier import tools
from arttune.style.looks import Looks
from arttune.style.starts import start_pixels

ORCHARD = "recipes/compare/orchard.png"
START = start_pixels(ORCHARD, (112, 112))


def test_a_plain_canvas_needs_no_taste():
    made = tools(Looks(), START, 0)
    assert (made.brush, made.taste, made.tower) == (None, None, None)


def test_styles_are_named_with_their_weights():
    made = tools(Looks(style="texture=1, variation=0.1, tower=2, patches=0.5", style_picture=ORCHARD), START, 0)
    assert {name: weight for name, (weight, _) in made.taste.losses.items()} == {
        "texture": 1.0,
        "variation": 0.1,
        "patches": 0.5,
    }
    assert made.tower.weight == 2.0


def test_who_only_looks_needs_no_files():
    looks = Looks(style="texture=1", style_picture="gone.png", limit=3, mask="gone.png", likeness=0.9)
    made = tools(looks, START, 0, fresh=False, learns=False)
    assert (made.taste, made.gamut.least) == (None, 0.9)


@pytest.mark.parametrize(
    ("looks", "says"),
    [
        ({"mask": ORCHARD}, "mask and figure_limit need a limit"),
        ({"likeness": 1.0}, "likeness is 1.0; it must be at least 0 and below 1"),
        ({"style": "cubism=1"}, "style: there is no cubism; use texture, patches, tower, variation"),
        ({"style": "texture=1"}, "texture is that of a picture; name it with style_picture"),
        ({"style": "texture=much", "style_picture": ORCHARD}, "style: texture is 'much'; it must be a number"),
        ({"style": "variation=-1"}, "style: variation is -1; it cannot be negative"),
        ({"style_picture": ORCHARD}, "style does not say what of it; try texture=1"),
        ({"style": "texture=1", "style_picture": "gone.png"}, "style_picture gone.png: no such file"),
        ({"palette": "black,white", "limit": 20}, "without any of the palette's 2 colours"),
        ({"palette": "black,white", "likeness": 0.9}, "less than the 0.9 asked for; lower likeness"),
        ({"brush": "roller"}, "there is no brush"),
        ({"likeness": 1 - 1e-7}, "is nearer to 1 than can be told of this start"),
        ({"brush": "mosaic:20", "likeness": 0.9}, "brush alone leave the start a likeness of"),
        ({"palette": "black,white", "limit": 20, "mask": ORCHARD}, "raise limit and figure_limit"),
        ({"style": "texture=1", "style_picture": "{plain}"}, "has one colour, which is no style"),
    ],
)
def test_what_does_not_fit_is_said(looks, says, tmp_path):
    Image.new("RGB", (30, 30), "black").save(tmp_path / "plain.png")
    looks = {name: str(tmp_path / "plain.png") if value == "{plain}" else value for name, value in looks.items()}
    with pytest.raises(BadInput, match=says.replace(".", r"\.")):
        tools(Looks(**looks), START, 0)
