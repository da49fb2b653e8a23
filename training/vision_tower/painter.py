"""How the tower's pictures are drawn: colours, fonts, words, and six shapes, one canvas a picture."""

from __future__ import annotations

import importlib.util
import itertools
import random
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLOURS = {
    "red": (220, 30, 30),
    "orange": (255, 140, 0),
    "yellow": (250, 225, 30),
    "green": (30, 160, 50),
    "blue": (35, 70, 225),
    "purple": (135, 30, 165),
    "black": (15, 15, 15),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
TRAINED = [
    "matplotlib:DejaVuSans",
    "matplotlib:DejaVuSans-Bold",
    "matplotlib:DejaVuSerif",
    "matplotlib:DejaVuSansMono",
    "matplotlib:STIXGeneral",
    "font_roboto:Roboto-Regular",
    "font_roboto:Roboto-Bold",
    "font_roboto:Roboto-Italic",
    "font_source_sans_pro:SourceSansPro-Regular",
    "font_source_sans_pro:SourceSansPro-Bold",
    "font_source_serif_pro:SourceSerifPro-Regular",
    "font_source_serif_pro:SourceSerifPro-Bold",
    "font_fredoka_one:FredokaOne-Regular",
]
HELD_OUT = [
    "font_caladea:Caladea-Regular",
    "font_caladea:Caladea-Bold",
    "font_hanken_grotesk:HankenGrotesk-Regular",
    "font_hanken_grotesk:HankenGrotesk-Medium",
    "font_manrope:Manrope-Medium",
]

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
Colour = tuple[int, int, int]


@cache
def typeface(name: str, size: int) -> ImageFont.FreeTypeFont:
    package, _, file = name.partition(":")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"the font package {package} is not installed: pip install -e '.[tower]'")
    here = (
        Path(matplotlib.get_data_path(), "fonts/ttf")
        if package == "matplotlib"
        else Path(found.origin).parent / "files"
    )
    path = next(path for path in (here / f"{file}.ttf", here / f"{file}.otf") if path.is_file())
    return ImageFont.truetype(str(path), size)


def characters(font: ImageFont.FreeTypeFont, text: str, left: float, top: float, bottom: float) -> list[Box]:
    """The box of each character of `text`, written from `left` on."""
    edges = [left + font.getlength(text[:i]) for i in range(len(text) + 1)]
    return [(a, top, b, bottom) for a, b in itertools.pairwise(edges)]


class Painter:
    """Draws one scene of a side of `side` pixels with the randomness `rng`, in fonts of `fonts`."""

    def __init__(self, rng: random.Random, side: int, fonts: list[str]) -> None:
        self.rng, self.side, self.fonts = rng, side, fonts
        self.ground = self._colour()
        self.image = Image.new("RGB", (side, side), self.ground)
        self.draw = ImageDraw.Draw(self.image)

    def _colour(self) -> Colour:
        r = self.rng
        if r.random() < 0.4:
            return r.choice([(255, 255, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (235, 225, 200)])
        return r.randrange(256), r.randrange(256), r.randrange(256)

    def ink(self) -> Colour:
        """A colour that stands out from the ground."""
        while True:
            if abs(_light(colour := self._colour()) - _light(self.ground)) > 70:
                return colour

    def named(self, avoid: tuple[str, ...] = ()) -> tuple[str, Colour]:
        """A named colour, somewhat varied, that stands out from the ground."""
        r = self.rng
        while True:
            name = r.choice(list(COLOURS))
            red, green, blue = (min(255, max(0, value + r.randint(-20, 20))) for value in COLOURS[name])
            shade = (red, green, blue)
            fits = name not in avoid and _contrast(shade, self.ground) > 90
            if fits or r.random() < 0.02:  # it may be that nothing is left that stands out
                return name, shade

    def write(self, text: str, room: Box) -> tuple[Box, list[Box]]:
        """Write `text` somewhere in `room`; the box of the whole and one of each character."""
        r, (left, top, right, bottom) = self.rng, room
        name, ink = r.choice(self.fonts), self.ink()
        unit = typeface(name, 100)
        x0, y0, x1, y1 = unit.getbbox(text)
        limit = min((right - left - 4) * 100 / (x1 - x0), (bottom - top - 4) * 100 / (y1 - y0), 60)
        size = max(8, int(limit if limit < 18 else r.uniform(max(18, limit * 0.45), limit)))
        font = typeface(name, size)
        x0, y0, x1, y1 = font.getbbox(text)
        x = left + 2 + r.random() * max(0, right - left - 4 - (x1 - x0)) - x0
        y = top + 2 + r.random() * max(0, bottom - top - 4 - (y1 - y0)) - y0
        self.draw.text((x, y), text, font=font, fill=ink)
        return (x + x0, y + y0, x + x1, y + y1), characters(font, text, x, y + y0, y + y1)

    def shape(self, name: str, colour: Colour, room: Box, least: float = 0.5) -> Box:
        """Draw a shape somewhere in `room`, at least `least` of it wide."""
        r, (left, top, right, bottom) = self.rng, room
        size = min(right - left, bottom - top) * r.uniform(least, 0.95)
        x = left + (right - left - size) * r.random()
        y = top + (bottom - top - size) * r.random()
        scale = 4  # drawn larger and reduced, for smooth edges
        mask = Image.new("L", (round(size * scale),) * 2)
        _outline(ImageDraw.Draw(mask), name, round(size * scale), r.uniform(-12, 12))
        mask = mask.resize((round(size),) * 2, Image.Resampling.BOX)
        self.image.paste(colour, (round(x), round(y)), mask)
        return x, y, x + size, y + size


def _contrast(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5


def _light(colour: Colour) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _outline(draw: ImageDraw.ImageDraw, name: str, size: int, turn: float) -> None:
    half, edge = size / 2, size * 0.48

    def around(angles: list[float], radii: list[float]) -> list[tuple[float, float]]:
        points = zip(angles, radii, strict=True)
        return [(half + q * np.sin(np.radians(a + turn)), half - q * np.cos(np.radians(a + turn))) for a, q in points]

    if name == "circle":
        draw.ellipse((half - edge, half - edge, half + edge, half + edge), fill=255)
    elif name == "ring":
        draw.ellipse((half - edge, half - edge, half + edge, half + edge), outline=255, width=round(size * 0.13))
    elif name == "square":
        draw.polygon(around([45, 135, 225, 315], [edge * 1.2] * 4), fill=255)
    elif name == "triangle":
        draw.polygon(around([0, 120, 240], [edge] * 3), fill=255)
    elif name == "star":
        draw.polygon(around([36.0 * i for i in range(10)], [edge, edge * 0.42] * 5), fill=255)
    else:
        arm = size * 0.14
        for straight in (True, False):
            long = [(-edge, -arm), (edge, -arm), (edge, arm), (-edge, arm)]
            corners = long if straight else [(y, x) for x, y in long]
            sine, cosine = np.sin(np.radians(turn)), np.cos(np.radians(turn))
            draw.polygon([(half + x * cosine - y * sine, half + x * sine + y * cosine) for x, y in corners], fill=255)
