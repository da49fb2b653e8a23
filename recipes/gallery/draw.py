"""Draws the artworks that the gallery's paintings start from, with nothing but Pillow and numpy: no picture is fetched.

    python recipes/gallery/draw.py          # writes mountains.png, sea.png, family.png and carpet.png beside this file

All but the carpet are drawn at four times their size and made smaller, so that edges are smooth.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE, TIMES = 224, 4
BIG = SIDE * TIMES


def noise(shape: tuple[int, int], cells: int, octaves: int, seed: int) -> np.ndarray:
    """Smooth noise in [0, 1]: octaves of it, each twice as fine and half as strong."""
    chance, total = np.random.default_rng(seed), np.zeros(shape)
    for octave in range(octaves):
        coarse = chance.random((cells * 2**octave + 1, cells * 2**octave + 1)).astype(np.float32)
        grown = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        total += np.asarray(grown) / 2**octave
    return (total - total.min()) / (total.max() - total.min())


def rgb(code: str) -> np.ndarray:
    return np.array([int(code[k : k + 2], 16) for k in (0, 2, 4)], dtype=float)


def between(low: str, high: str, share: np.ndarray) -> np.ndarray:
    """Colours from one to another, `(..., 3)`."""
    return rgb(low) + (rgb(high) - rgb(low)) * share[..., None]


def finished(pixels: np.ndarray, grain: float, seed: int) -> Image.Image:
    """The large picture made small, with the grain of paper."""
    flat = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    speckle = np.random.default_rng(seed).normal(0, grain, (SIDE, SIDE, 1))
    return Image.fromarray((np.asarray(flat) + speckle).clip(0, 255).astype(np.uint8))


def disc(away: np.ndarray, radius: float, sharp: float) -> np.ndarray:
    """How much of a disc of `radius` covers what is `away` from its centre, `(..., 1)`."""
    return (1 / (1 + np.exp((away - radius) * sharp)))[..., None]


def mountains() -> Image.Image:
    """Ridges behind ridges under a moon, each paler the farther it is."""
    down, across = np.mgrid[0:BIG, 0:BIG] / BIG
    sky = between("1d2b4f", "e7a977", (down * 1.7).clip(0, 1) ** 1.3)
    sky += 26 * (noise((BIG, BIG), 4, 5, 1)[..., None] - 0.5)
    away = np.hypot(down - 0.2, across - 0.7)
    sky += (rgb("fff3d6") - sky) * disc(away, 0.075, 400)
    sky += 70 * np.exp(-(away**2) / 0.02)[..., None]
    stars = np.random.default_rng(3)
    for y, x, size in zip(stars.random(70) * 0.3, stars.random(70), stars.random(70) * 2 + 1.2, strict=True):
        sky += 170 * np.exp(-((down - y) ** 2 + (across - x) ** 2) * (BIG / size) ** 2)[..., None]
    ridges = (("8f7f9f", 0.46, 0.20), ("6b6a93", 0.56, 0.22), ("454f78", 0.67, 0.22), ("28355a", 0.80, 0.20))
    for number, (colour, height, rough) in enumerate((*ridges, ("141d38", 0.93, 0.14))):
        line = height - rough * (noise((1, BIG), 3, 7, 10 + number)[0] - 0.35)
        body = down > line
        light = noise((BIG, BIG), 10, 5, 20 + number) - 0.5 + 1.2 * (line[None] + 0.04 - down).clip(-0.15, 0.04)
        sky = np.where(body[..., None], rgb(colour) + 70 * light[..., None], sky)
    return finished(sky, 3.0, 4)


def sea() -> Image.Image:
    """A low sun over waves, a lighthouse before it."""
    down, across = np.mgrid[0:BIG, 0:BIG] / BIG
    horizon, sun = 0.56, 0.34
    sky = between("2f4a6d", "f6b26b", (down / horizon).clip(0, 1) ** 1.6)
    streaks = Image.fromarray(noise((BIG, BIG), 3, 6, 5).astype(np.float32)).resize((BIG, BIG // 6))
    sky += 60 * (np.asarray(streaks.resize((BIG, BIG))) - 0.5)[..., None]
    away = np.hypot(down - 0.5, across - sun)
    sky += (rgb("fff0c2") - sky) * disc(away, 0.09, 300) + 80 * np.exp(-(away**2) / 0.03)[..., None]
    depth = ((down - horizon) / (1 - horizon)).clip(1e-3, 1)
    swell = np.sin(60 / (depth + 0.12) + 14 * noise((BIG, BIG), 6, 4, 6)) * (0.4 + depth)
    water = between("7a6f74", "12304a", depth**0.6) + 34 * swell[..., None]
    path = np.exp(-(((across - sun) / (0.05 + 0.16 * depth)) ** 2)) * (0.5 + 0.5 * swell)
    water += rgb("ffcf8a") * 0.75 * path.clip(0, 1)[..., None]
    picture = Image.fromarray(np.where((down < horizon)[..., None], sky, water).clip(0, 255).astype(np.uint8))
    lighthouse(ImageDraw.Draw(picture))
    glow = Image.new("L", picture.size)
    ImageDraw.Draw(glow).polygon(places((0.25, 0.79), (0.1, 0), (0.24, 0)), fill=110)
    light = Image.new("RGB", picture.size, "#ffe9b0")
    picture = Image.composite(light, picture, glow.filter(ImageFilter.GaussianBlur(14)))
    return finished(np.asarray(picture).astype(float), 3.0, 7)


def places(*shares: tuple[float, float]) -> list[tuple[float, float]]:
    """Pixels of points that are given as shares of the way down and across."""
    return [(x * BIG, y * BIG) for y, x in shares]


def lighthouse(pen: ImageDraw.ImageDraw) -> None:
    """Red and white on a rock."""
    rock = ((1, 0.56), (0.86, 0.64), (0.8, 0.74), (0.79, 0.84), (0.86, 0.93), (0.9, 1), (1, 1))
    pen.polygon(places(*rock), fill="#1c2530")
    for band in range(5):
        top, wide = 0.3 + 0.1 * band, 0.052 + 0.006 * band
        foot, wider = top + 0.1, wide + 0.006
        corners = ((top, 0.79 - wide), (top, 0.79 + wide), (foot, 0.79 + wider), (foot, 0.79 - wider))
        pen.polygon(places(*corners), fill="#e9e1d2" if band % 2 else "#b3402e")
    pen.rectangle(places((0.285, 0.72), (0.302, 0.86)), fill="#1c2530")
    pen.rectangle(places((0.22, 0.755), (0.287, 0.825)), fill="#ffe9a8", outline="#1c2530", width=8)
    pen.polygon(places((0.222, 0.735), (0.17, 0.79), (0.222, 0.845)), fill="#b3402e")


def family() -> Image.Image:
    """Portraits on a wall, joined as in a family tree."""
    wall = between("dcc9a3", "c9b184", noise((BIG, BIG), 40, 3, 8))
    stripe = (np.arange(BIG) / BIG * 14 % 1 < 0.5).astype(float)
    picture = Image.fromarray((wall - 9 * stripe[None, :, None]).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for tie in (((0.2, 0.24), (0.2, 0.76)), ((0.53, 0.24), (0.53, 0.76)), ((0.2, 0.5), (0.84, 0.5))):
        pen.line(places(*tie), fill="#7b5a34", width=14)
    for person in (  # down, across, size, skin, hair, clothes, long hair
        (0.2, 0.24, 0.15, "#f0c9a0", "#d9d4cc", "#59708a", True),
        (0.2, 0.76, 0.15, "#e3b189", "#8b8680", "#4d5b46", False),
        (0.53, 0.24, 0.15, "#d8a57c", "#3a2a20", "#a4483a", False),
        (0.53, 0.76, 0.15, "#f3d2b0", "#7a4a25", "#c99a3f", True),
        (0.84, 0.5, 0.13, "#e9bd93", "#5a3520", "#5f8f7a", True),
    ):
        portrait(pen, *person)
    return finished(np.asarray(picture).astype(float), 3.0, 9)


def portrait(
    pen: ImageDraw.ImageDraw, down: float, across: float, size: float, skin: str, hair: str, clothes: str, long: bool
) -> None:
    """A face in a frame."""

    def box(left: float, top: float, right: float, foot: float) -> tuple[float, float, float, float]:
        """Corners in half sides of the frame, from its middle."""
        return tuple(
            BIG * (at + size * part) for at, part in zip((across, down) * 2, (left, top, right, foot), strict=True)
        )

    def square(half: float, colour: str, off: float = 0.0) -> None:
        pen.rectangle(box(off - half, off - half, off + half, off + half), fill=colour)

    square(1.02, "#8a7550", off=0.08)
    for half, colour in ((1.02, "#6d4a26"), (0.96, "#a9783c"), (0.84, "#e8dfc8")):
        square(half, colour)
    if long:
        pen.ellipse(box(-0.5, -0.66, 0.5, 0.55), fill=hair)
    pen.chord(box(-0.7, 0.22, 0.7, 1.5), 180, 360, fill=clothes)
    pen.rectangle(box(-0.13, 0.1, 0.13, 0.38), fill=skin)
    pen.ellipse(box(-0.36, -0.52, 0.36, 0.26), fill=skin)
    pen.chord(box(-0.4, -0.62, 0.4, 0.12), 185, 355, fill=hair)
    for side in (-0.15, 0.15):
        pen.ellipse(box(side - 0.045, -0.165, side + 0.045, -0.075), fill="#33261d")
    pen.arc(box(-0.16, -0.06, 0.16, 0.14), 20, 160, fill="#8a3d30", width=6)
    pen.rectangle(box(-0.84, 0.84, 0.84, 0.96), fill="#a9783c")


def carpet() -> Image.Image:
    """Lozenges in a plaited border, of knots of four pixels and the six colours of `carpet.yaml`."""
    down, across = np.abs(np.mgrid[0:56, 0:56] - 27.5)  # knots from the middle
    edge = np.maximum(down, across)
    lozenges = np.array([1, 1, 3, 0, 2, 2, 0, 3, 4, 4, 3, 1])[((down + across) / 2.5).astype(int) % 12]
    plait = np.abs((down - across) % 6 - 3) + np.abs(edge - 24)
    border = np.array([5, 2, 2, 0])[plait.astype(int).clip(0, 3)]
    knots = np.select([edge > 27, edge > 26, edge > 21, edge > 20], [1, 3, border, 3], lozenges)
    wools = np.stack([rgb(code) for code in ("20304a", "7a2e2e", "c08040", "e8d8b0", "4f7a6a", "f4efe4")])
    return Image.fromarray(wools[knots].astype(np.uint8).repeat(4, 0).repeat(4, 1))


def main() -> None:
    for draw in (mountains, sea, family, carpet):
        draw().save(Path(__file__).parent / f"{draw.__name__}.png", optimize=True)


if __name__ == "__main__":
    main()
