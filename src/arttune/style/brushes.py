"""Brushes: what a canvas is painted with. What is trained is the brush's own numbers; pixels follow from them.

`pixels` is no brush at all: each pixel is trained itself. `mosaic` lays irregular tiles, of which the colours are
trained. `strokes` paints with short straight strokes, of which place, direction, length, width and colour are trained.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch

from arttune.canvas import LEVELS
from arttune.errors import BadInput

PIXELS, MOSAIC, STROKES = "pixels", "mosaic", "strokes"
SIDE, NUMBER = 7, 1000  # of tiles in pixels, of strokes


class Brush(Protocol):
    """Numbers to pixels."""

    def begin(self, artwork: torch.Tensor) -> torch.Tensor:
        """The float32 numbers that paint the uint8 `artwork` `(3, H, W)` as well as the brush can."""

    def keep_(self, numbers: torch.Tensor) -> None:
        """Bring numbers back to those that paint anything sensible, in place."""

    def paint(self, numbers: torch.Tensor) -> torch.Tensor:
        """The float picture `(3, H, W)` that they paint, differentiable."""


def brush(chosen: str, size: tuple[int, int], seed: int = 0) -> Brush | None:
    """The brush for a canvas of `size` = (height, width); None for `pixels`. Raises `BadInput`.

    It is `mosaic` or `strokes`, with the side of the tiles or the number of the strokes behind a colon.
    """
    name, colon, count = chosen.partition(":")
    if name not in (MOSAIC, STROKES) or (colon and not count.isdecimal()):
        if chosen == PIXELS:
            return None
        raise BadInput(f"there is no brush {chosen!r}; use pixels, mosaic, strokes, mosaic:{SIDE} or strokes:{NUMBER}")
    if name == MOSAIC:
        side = int(count or SIDE)
        if not 2 <= side <= min(size) // 2:
            raise BadInput(f"brush {chosen!r}: the side of a tile is 2 to {min(size) // 2} pixels here")
        return Mosaic(size, side, seed)
    number = int(count or NUMBER)
    if number < 1:
        raise BadInput(f"brush {chosen!r}: there must be a stroke")
    return Strokes(size, number, seed)


class Mosaic:
    """Irregular tiles: the cells of points that stand near the corners of a grid. Numbers: `(3, tiles)`, colours."""

    GROUT = 0.6  # how bright the gaps are, of the tile beside them

    def __init__(self, size: tuple[int, int], side: int, seed: int) -> None:
        height, width = size
        rows, columns = max(1, round(height / side)), max(1, round(width / side))
        grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float() + 0.5
        chance = torch.Generator().manual_seed(seed)
        points = (grid + 0.6 * (torch.rand(grid.shape, generator=chance) - 0.5)) * torch.tensor(
            [height / rows, width / columns]
        )
        self.size, self.tiles = size, rows * columns
        self.tile = _nearest(size, points.view(rows, columns, 2))
        laid = self.tile.view(height, width)
        gap = torch.zeros(size, dtype=torch.bool)
        gap[:, 1:] |= laid[:, 1:] != laid[:, :-1]
        gap[1:] |= laid[1:] != laid[:-1]
        self.shade = torch.where(gap.flatten(), self.GROUT, 1.0)

    def begin(self, artwork: torch.Tensor) -> torch.Tensor:
        """The mean colour of what each tile covers."""
        flat = artwork.float().flatten(1) / LEVELS
        tile = self.tile.to(flat.device)
        total = flat.new_zeros(3, self.tiles).index_add_(1, tile, flat)
        return total / torch.bincount(tile, minlength=self.tiles).clamp_min(1)

    def keep_(self, numbers: torch.Tensor) -> None:
        """Colours are in [0, 1]."""
        numbers.nan_to_num_().clamp_(0, 1)

    def paint(self, numbers: torch.Tensor) -> torch.Tensor:
        """Tiles and the gaps between them."""
        tile, shade = self.tile.to(numbers.device), self.shade.to(numbers.device)
        return (numbers[:, tile] * shade).view(3, *self.size)


def _nearest(size: tuple[int, int], points: torch.Tensor) -> torch.Tensor:
    """Which of the points `(rows, columns, 2)`, each within its own cell of a grid, is nearest: `(pixels,)`.

    Only those of the cell that a pixel is in and of two around it can be.
    """
    (height, width), (rows, columns, _) = size, points.shape
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float() + 0.5
    row = (places[:, 0] * rows / height).long()
    column = (places[:, 1] * columns / width).long()
    best, found = torch.full_like(places[:, 0], math.inf), torch.zeros_like(row)
    for down, across in torch.cartesian_prod(torch.arange(-2, 3), torch.arange(-2, 3)).tolist():
        r, c = (row + down).clamp(0, rows - 1), (column + across).clamp(0, columns - 1)
        far = ((places - points[r, c]) ** 2).sum(dim=1)
        nearer = far < best
        best, found = torch.where(nearer, far, best), torch.where(nearer, r * columns + c, found)
    return found


class Strokes:
    """Strokes that lie over one another, the later ones shorter and on top.

    Numbers: `(strokes, 11)`: centre down and across, direction in half turns, logarithms of length and width, all in
    units in which a step of 0.01 is a small one, and two colours, which its bristles have in turn. At each pixel the
    strokes there are mixed by how much they cover it and by a softmax of their order (Kotovenko et al. 2021, arXiv
    2103.17185, mix by distance), which has gradients for all of them, unlike paint.
    """

    PLACE = 48.0  # pixels to a unit of place
    SOFT = 0.7  # pixels over which an edge fades
    BRISTLES = 3.0  # pixels from one bristle to the next of its colour
    LAYERING = 12.0  # logarithm of the weight of the last stroke over the first
    LONGER = 1.28  # times its length at first that a stroke may become
    LOADS = 5  # of like strokes, each of which needs windows of one size

    def __init__(self, size: tuple[int, int], number: int, seed: int) -> None:
        self.size, self.number, self.seed = size, number, seed
        height, width = size
        # From large to small: a stroke's area falls as their number grows, so that each layer covers the canvas.
        order = torch.linspace(0, 1, number)
        covering = math.sqrt(height * width / number)
        self.long = covering * (5.0 - 3.6 * order.sqrt())
        self.wide = self.long * 0.3
        self.weight = (self.LAYERING * order).exp()

    def begin(self, artwork: torch.Tensor) -> torch.Tensor:
        """Strokes strewn evenly, along the artwork's edges, in the colour they lie on."""
        height, width = self.size
        chance = torch.Generator().manual_seed(self.seed)
        # Additive recurrence on the plastic number: even without a grid (Roberts 2018, "R2").
        at = torch.arange(1, self.number + 1, dtype=torch.float64)[:, None] * torch.tensor(
            [0.7548776662466927, 0.5698402909980532], dtype=torch.float64
        )
        at = (at + torch.rand(2, generator=chance, dtype=torch.float64)) % 1
        y, x = (at[:, 0] * height).float(), (at[:, 1] * width).float()
        flat = artwork.float().cpu() / LEVELS
        blurred = torch.nn.functional.avg_pool2d(flat[None], 9, 1, 4, count_include_pad=False)[0]
        grey = blurred.mean(dim=0)
        down, across = torch.gradient(grey)
        place = (y.long().clamp(0, height - 1), x.long().clamp(0, width - 1))
        steep = torch.atan2(down[place], across[place]) + math.pi / 2
        aimless = torch.rand(self.number, generator=chance) * math.pi
        flatness = torch.hypot(down[place], across[place]) < 1e-3
        turn = torch.where(flatness, aimless, steep) / math.pi
        zero = torch.zeros(self.number)
        colours = [*flat[:, place[0], place[1]]] * 2
        begun = torch.stack([y / self.PLACE, x / self.PLACE, turn, zero, zero, *colours], dim=1)
        return begun.to(artwork.device)

    def keep_(self, numbers: torch.Tensor) -> None:
        """Centres are on the canvas, directions in a turn, sizes from half to what windows hold, colours in [0, 1]."""
        height, width = self.size
        numbers.nan_to_num_()
        numbers[:, 0].clamp_(0, height / self.PLACE)
        numbers[:, 1].clamp_(0, width / self.PLACE)
        numbers[:, 2].fmod_(2)  # whole turns
        numbers[:, 3:5].clamp_(-math.log(2), math.log(self.LONGER))
        numbers[:, 5:].clamp_(0, 1)

    def paint(self, numbers: torch.Tensor) -> torch.Tensor:
        """The strokes on a ground of their mean colour."""
        height, width = self.size
        thin, ground = 1e-3, numbers[:, 5:8].mean(dim=0)
        bare = torch.cat([torch.ones_like(ground[:1]), ground])[:, None] * thin
        laid = bare.expand(4, height * width)
        load = math.ceil(self.number / self.LOADS)
        for first in range(0, self.number, load):
            place, ink = self._inked(numbers[first : first + load], first)
            laid = laid.index_add(1, place, ink)
        return (laid[1:] / laid[:1]).view(3, height, width)

    def _inked(self, numbers: torch.Tensor, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Where strokes leave ink, `(places,)`, and how much and of what colour, `(4, places)`.

        They are those from number `first` on.
        """
        height, width = self.size
        device, same = numbers.device, slice(first, first + len(numbers))
        y, x = numbers[:, 0] * self.PLACE, numbers[:, 1] * self.PLACE
        long, wide = (at[same].to(device) * numbers[:, k].exp() for k, at in ((3, self.long), (4, self.wide)))
        half = math.ceil(self.LONGER * float(self.long[first]) / 2) + 1  # the first is the longest
        span = torch.arange(-half, half + 1, device=device)
        # Whole pixels around the centre, which itself need not be one.
        rows = y.detach().floor().long()[:, None, None] + span[None, :, None]
        columns = x.detach().floor().long()[:, None, None] + span[None, None, :]
        dy, dx = rows + 0.5 - y[:, None, None], columns + 0.5 - x[:, None, None]
        cos, sin = (f(math.pi * numbers[:, 2])[:, None, None] for f in (torch.cos, torch.sin))
        along, aside = (dx * cos + dy * sin).abs(), dy * cos - dx * sin
        over = (along - (long - wide).clamp_min(0)[:, None, None] / 2).clamp_min(0)  # beyond the straight part
        away = (over.square() + aside.square() + 1e-8).sqrt()
        cover = ((wide[:, None, None] / 2 - away) / self.SOFT).sigmoid() * self.weight[same].to(device)[:, None, None]
        cover = cover * ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))
        bristle = 0.5 + 0.5 * (2 * math.pi / self.BRISTLES * aside).cos()
        colours = torch.lerp(numbers[:, 5:8].T[:, :, None, None], numbers[:, 8:].T[:, :, None, None], bristle)
        place = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
        return place.flatten(), torch.cat([cover[None], cover * colours]).flatten(1)
