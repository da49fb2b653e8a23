"""The atelier: from the settings of a canvas's looks to the brush, the gamut and the taste that make them so."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from arttune.canvas import LEVELS
from arttune.errors import BadInput
from arttune.given import named_numbers
from arttune.style.brushes import Brush, brush
from arttune.style.gamut import Gamut
from arttune.style.likeness import ROUNDING, likeness, scales
from arttune.style.limits import allowed, bounds
from arttune.style.looks import Looks
from arttune.style.losses import Patches, Texture, variation
from arttune.style.palette import colours
from arttune.style.starts import start_pixels
from arttune.style.taste import Loss, Taste
from arttune.style.tower import TowerTexture

TOWER, VARIATION = "tower", "variation"
OF_A_PICTURE: dict[str, Callable[[torch.Tensor], Loss]] = {"texture": Texture, "patches": Patches}
STYLES = (*OF_A_PICTURE, TOWER, VARIATION)


@dataclass(frozen=True)
class Tools:
    """What a canvas is painted with; see their rooms."""

    brush: Brush | None
    gamut: Gamut
    taste: Taste | None = None
    tower: TowerTexture | None = None
    robust: int | None = None  # the seed of what the canvas is trained through


def tools(looks: Looks, start: torch.Tensor, seed: int, fresh: bool = True, learns: bool = True) -> Tools:
    """Those for a canvas that starts from the uint8 `start` `(3, H, W)`. Raises `BadInput`.

    A canvas that is not `fresh` gets its start and limits from weights that are still to be loaded. One that `learns`
    no more needs no taste, nor the files that it was made with.
    """
    size = (start.shape[1], start.shape[2])
    if looks.limit is None and (looks.mask, looks.figure_limit) != (None, None):
        raise BadInput("mask and figure_limit need a limit, which is that of the ground; 255 is none")
    limits = None
    if looks.limit is not None:
        read = (looks.limit, looks.figure_limit, looks.mask, looks.start)
        most = allowed(size, *read) if fresh else torch.zeros(size)
        limits = bounds(start, most.to(start.device))
    if looks.likeness is not None:
        scales(size)
        if not 0 <= looks.likeness < 1:
            raise BadInput(f"likeness is {looks.likeness}; it must be at least 0 and below 1")
    palette = None if looks.palette is None else colours(looks.palette).to(start.device)
    made = Tools(brush(looks.brush, size, seed), Gamut(limits, palette, looks.likeness))
    if fresh:
        _begins_legal(looks, made, start)
    if not learns:
        return made
    losses, tower = _style(looks, start)
    taste = Taste(losses, looks.likeness) if losses or looks.likeness is not None else None
    return Tools(made.brush, made.gamut, taste, tower, seed if looks.robust else None)


def _begins_legal(looks: Looks, tools: Tools, start: torch.Tensor) -> None:
    """Whether what palette and brush make of the start is within the limits, so that there is a way back to it."""
    palette, gamut = tools.gamut.palette, tools.gamut
    artwork = start.float() / LEVELS
    if palette is not None and gamut.low is not None and gamut.high is not None:
        levels = (gamut.shown(artwork) * LEVELS).round()
        outside = ((levels < gamut.low) | (levels > gamut.high)).any(dim=0)
        if bool(outside.any()):
            share, masked = float(outside.float().mean()), looks.mask is not None
            raise BadInput(
                f"limit {looks.limit}{', with its mask,' if masked else ''} leaves {share:.0%} of the pixels without "
                f"any of the palette's {len(palette)} colours; raise limit{' and figure_limit' if masked else ''}, or "
                "take more colours, and such as the start has"
            )
    if looks.likeness is None:
        return
    painted = [artwork] if tools.brush is None else [artwork, tools.brush.paint(tools.brush.begin(start))]
    found = min(float(likeness(gamut.shown(gamut.within(one, start)), artwork)) for one in painted)
    if found < looks.likeness + ROUNDING:
        by = " and ".join(name for name, there in (("brush", tools.brush), ("palette", palette)) if there is not None)
        if not by:
            raise BadInput(f"likeness {looks.likeness} is nearer to 1 than can be told of this start; lower it")
        raise BadInput(
            f"{by} alone leave the start a likeness of {found:.3f} to itself, less than the {looks.likeness} asked "
            "for; lower likeness, or take smaller tiles, more strokes or more colours"
        )


def _style(looks: Looks, start: torch.Tensor) -> tuple[dict[str, tuple[float, Loss]], TowerTexture | None]:
    """The losses of a picture's style, by name with their weights, and the one that the tower has to look for."""
    weights = named_numbers("style", looks.style)
    unknown = [name for name in weights if name not in STYLES]
    if unknown:
        raise BadInput(f"style: there is no {', '.join(unknown)}; use {', '.join(STYLES)}")
    shown = [name for name in weights if name != VARIATION]
    if shown and looks.style_picture is None:
        raise BadInput(f"style: {', '.join(shown)} is that of a picture; name it with style_picture")
    if looks.style_picture is not None and not shown:
        raise BadInput("style_picture says whose style, but style does not say what of it; try texture=1")
    if not shown:
        return {name: (weight, variation) for name, weight in weights.items()}, None
    if not os.path.isfile(str(looks.style_picture)):
        raise BadInput(f"style_picture {looks.style_picture}: no such file")
    size = (start.shape[1], start.shape[2])
    picture = start_pixels(str(looks.style_picture), size, looks.ground).to(start.device).float() / LEVELS
    if not bool((picture.flatten(1) != picture[:, :1, 0]).any()):
        raise BadInput(f"style_picture {looks.style_picture} has one colour, which is no style")
    losses = {
        name: (weight, variation if name == VARIATION else OF_A_PICTURE[name](picture))
        for name, weight in weights.items()
        if name != TOWER
    }
    return losses, TowerTexture(weights[TOWER], picture) if TOWER in weights else None
