"""A GIF of a canvas while it is painted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from arttune.canvas import open_picture
from arttune.errors import BadInput
from arttune.report.frames import kept

LONG, SHORT = 1600, 120  # milliseconds of the first and last picture, and of those between


def film(folder: Path, path: Path, side: int = 448) -> int:
    """Write the pictures kept in a run's `folder` as the GIF `path`, scaled so that the longer side is about `side`.

    Pixels stay sharp: the scale is a whole number, 1 at least. Returns how many pictures there are. Raises `BadInput`
    if there are none.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder; name the GIF, such as {path / 'film.gif'}")
    frames = kept(folder)
    if len(frames) < 2:
        raise BadInput(f"{folder} has no frames to make a film of; a run keeps them while it paints")
    shown = _coloured([open_picture(file).convert("RGB") for file in frames.values()], side)
    path.parent.mkdir(parents=True, exist_ok=True)
    shown[0].save(
        path,
        save_all=True,
        append_images=shown[1:],
        duration=[LONG, *[SHORT] * (len(shown) - 2), LONG],
        format="GIF",
        loop=0,
        optimize=False,
    )
    return len(shown)


def _coloured(pictures: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """All scaled, and with the same 256 colours, so that what does not change does not flicker."""
    width, height = pictures[0].size
    together = Image.new("RGB", (width, height * len(pictures)))
    for place, one in enumerate(pictures):
        together.paste(one, (0, height * place))
    table = together.quantize(256, Image.Quantize.MEDIANCUT)
    times = max(1, side // max(width, height))
    larger = [one.resize((width * times, height * times), Image.Resampling.NEAREST) for one in pictures]
    return [one.quantize(palette=table, dither=Image.Dither.NONE) for one in larger]
