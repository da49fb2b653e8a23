"""What a canvas starts from: a plain ground, noise, a picture, a pattern, or a poster that says what the task is."""

from __future__ import annotations

import math
import os
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

from arttune.canvas import LEVELS, open_picture, pixels_of
from arttune.errors import BadInput

FILTER = Image.Resampling.LANCZOS
POSTER = "poster"
PAPER, INK, SPOT = "#f3ead7", "#22303c", "#b5472f"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"  # DejaVu, which matplotlib brings


def start_pixels(start: str, size: tuple[int, int], ground: str = "#808080", seed: int = 0) -> torch.Tensor:
    """The uint8 `(3, H, W)` pixels a canvas of `size` = (height, width) starts from.

    `start` is `grey`, `noise` (uniform), a colour as `#rrggbb` or by name, a pattern (`clouds`, `rings`, `weave`;
    drawn, like the noise, by `seed`), `poster:TEXT` or `poster:FILE.txt`, or a picture file. That is cropped to the
    canvas's proportions and resized, and its transparent parts show `ground`. Raises `BadInput` if it is none of these.
    """
    height, width = size
    try:
        ImageColor.getrgb(ground)
    except ValueError:
        raise BadInput(f"ground {ground!r} is no colour; write it as '#808080' or by name") from None
    if start == "noise":
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)
    if start in PATTERNS:
        return PATTERNS[start](size, seed)
    if start.startswith(f"{POSTER}:"):
        return poster(start.removeprefix(f"{POSTER}:"), size)
    if os.path.isfile(start):
        return _from_picture(Path(start), size, ground)
    try:
        colour = ImageColor.getrgb("#808080" if start in ("grey", "gray") else start)[:3]
    except ValueError:
        raise BadInput(
            f"start {start!r} is no picture file and no colour; use grey, noise, a colour such as '#c08040', "
            f"{', '.join(PATTERNS)}, {POSTER}:TEXT or a file"
        ) from None
    return torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1).expand(3, height, width).contiguous()


def _from_picture(path: Path, size: tuple[int, int], ground: str) -> torch.Tensor:
    return pixels_of(_fitted(_laid_on(ground, path).convert("RGB"), size))


def opacity(path: Path, size: tuple[int, int]) -> torch.Tensor:
    """How opaque a start picture is, float `(H, W)` in [0, 1], cropped and resized as `start_pixels` does it."""
    return _grey(_upright(path).convert("RGBA").getchannel("A"), size)


def share_of(path: Path, size: tuple[int, int]) -> torch.Tensor:
    """The brightness of a picture, float `(H, W)` in [0, 1], cropped and resized as `start_pixels` does it.

    What is transparent lies on white.
    """
    return _grey(_laid_on("white", path).convert("L"), size)


def sides(path: Path) -> tuple[int, int]:
    """Width and height of a picture file in pixels, the right way up."""
    return _upright(path).size


def _grey(picture: Image.Image, size: tuple[int, int]) -> torch.Tensor:
    # Means alone, because the waves of a sharper filter would pass from one side of an edge to the other.
    return torch.from_numpy(np.array(_fitted(picture, size, Image.Resampling.BOX))).float() / LEVELS


def _laid_on(ground: str, path: Path) -> Image.Image:
    picture = _upright(path).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, ImageColor.getrgb(ground)), picture)


def _upright(path: Path) -> Image.Image:
    """Cameras store a portrait lying on its side, with a note to turn it."""
    return ImageOps.exif_transpose(open_picture(path))


def _fitted(picture: Image.Image, size: tuple[int, int], by: Image.Resampling = FILTER) -> Image.Image:
    height, width = size
    return picture if picture.size == (width, height) else ImageOps.fit(picture, (width, height), by)


def poster(text: str, size: tuple[int, int]) -> torch.Tensor:
    """A text, or that of a file, set as large as fits: uint8 `(3, H, W)`. Its first line is the heading.

    Raises `BadInput` for a text that would be too small to read.
    """
    said = _read(Path(text)) if text.endswith(".txt") and "\n" not in text else text
    heading, _, body = said.strip().partition("\n")
    if not heading:
        raise BadInput("start: the poster has no text; write poster:TEXT or poster:FILE.txt")
    height, width = size
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    edge = max(4, min(size) // 28)
    pen.rectangle((edge // 2, edge // 2, width - 1 - edge // 2, height - 1 - edge // 2), outline=SPOT, width=1)
    for points in range(height // 5, 6, -1):
        large, small = (ImageFont.truetype(FONTS / name, points * scale // 4) for name, scale in _FACES)
        lines = [(line, large, SPOT) for line in _wrapped(heading, large, width - 2 * edge)]
        lines += [
            (line, small, INK)
            for part in body.split("\n")
            if part.strip()
            for line in _wrapped(part, small, width - 2 * edge)
        ]
        tall = sum(_leading(font) for _, font, _ in lines)
        fits = all(font.getlength(line) <= width - 2 * edge for line, font, _ in lines)
        if fits and tall <= height - 2 * edge:
            top = edge + (height - 2 * edge - tall) // 2
            for line, font, colour in lines:
                pen.text((edge, top), line, fill=colour, font=font)
                top += _leading(font)
            return pixels_of(sheet)
    raise BadInput(
        f"start: the poster's {len(said)} letters do not fit on {width}x{height} pixels; give a shorter poster:TEXT"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"start: the poster's text {path} cannot be read ({error}); give a text file in UTF-8") from None


_FACES = (("DejaVuSerif-Bold.ttf", 5), ("DejaVuSans.ttf", 4))


def _leading(font: ImageFont.FreeTypeFont) -> int:
    return math.ceil(1.2 * font.size)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split() or [""]:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _field(size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """How far down and across each pixel is, float `(H, W)`, the shorter side 1."""
    height, width = size
    short = min(size)
    down, across = torch.meshgrid(torch.arange(height) / short, torch.arange(width) / short, indexing="ij")
    return down, across


def _inked(share: torch.Tensor, seed: int) -> torch.Tensor:
    """A picture of shares `(H, W)` in [0, 1] from one colour over another to a third, which `seed` draws."""
    chance = torch.Generator().manual_seed(seed)
    hue = float(torch.rand(1, generator=chance))
    ends = [
        torch.tensor(ImageColor.getrgb(f"hsl({360 * ((hue + turn) % 1):.0f}, {rich}%, {light}%)")).float()
        for turn, rich, light in ((0.0, 55, 28), (0.08, 50, 58), (0.45, 60, 84))
    ]
    low, high = (2 * share).clamp(0, 1), (2 * share - 1).clamp(0, 1)
    mixed = [a + (b - a) * low + (c - b) * high for a, b, c in zip(*ends, strict=True)]
    return torch.stack(mixed).round().clamp(0, LEVELS).to(torch.uint8)


def _clouds(size: tuple[int, int], seed: int) -> torch.Tensor:
    """Noise of several sizes on top of each other, each half as strong as the one twice as large."""
    chance, share = torch.Generator().manual_seed(seed), torch.zeros(size)
    for octave in range(5):
        cells = torch.rand(1, 1, 3 * 2**octave, 3 * 2**octave, generator=chance)
        share += torch.nn.functional.interpolate(cells, size, mode="bicubic", align_corners=False)[0, 0] / 2**octave
    return _inked((share - share.min()) / (share.max() - share.min()), seed)


def _rings(size: tuple[int, int], seed: int) -> torch.Tensor:
    """Waves from three points."""
    chance, (down, across) = torch.Generator().manual_seed(seed), _field(size)
    share = torch.zeros(size)
    for y, x in torch.rand(3, 2, generator=chance).tolist():
        share += torch.cos(2 * math.pi * 7 * torch.hypot(down - y, across - x))
    return _inked(0.5 + share / 6, seed)


def _weave(size: tuple[int, int], seed: int) -> torch.Tensor:
    """Bands that pass over and under each other."""
    down, across = _field(size)
    band = (torch.floor(8 * down) + torch.floor(8 * across)) % 2
    over = torch.where(band == 0, (8 * down) % 1, (8 * across) % 1)
    return _inked(torch.sin(math.pi * over) * (0.55 + 0.45 * band), seed)


PATTERNS = {"clouds": _clouds, "rings": _rings, "weave": _weave}
