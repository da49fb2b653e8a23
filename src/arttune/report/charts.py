"""Charts as inline SVG, for a page that needs nothing from anywhere: points and lines, drawn in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 560, 258
LEFT, RIGHT, TOP, BOTTOM = 76, 28, 26, 46


@dataclass(frozen=True)
class Series:
    """Points `(x, y)` with a CSS class: `line` joins them, others do not; `spans` are the ends of intervals of y.

    `titles` are what is said of each point, `marks` what is written beside it.
    """

    points: Sequence[tuple[float, float]]
    look: str = "line"
    spans: Sequence[tuple[float, float]] = ()
    titles: Sequence[str] = ()
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high` with ticks at round numbers."""

    label: str
    low: float
    high: float
    percent: bool = False
    ticks: list[float] = field(default_factory=list)

    @classmethod
    def over(cls, label: str, values: Sequence[float], percent: bool = False, floor: float | None = None) -> Axis:
        """That holds all `values`, from `floor` or from a round number below the least."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        low = low if floor is None else min(floor, low)
        high = high if high > low else low + (abs(low) or 1.0) * 0.1
        step = _round((high - low) / 4)
        first, last = math.floor(low / step), math.ceil(high / step)
        return cls(label, first * step, last * step, percent, [k * step for k in range(first, last + 1)])

    def place(self, value: float) -> float:
        """Where a value is, as a share of the axis."""
        return (value - self.low) / (self.high - self.low)

    def said(self, value: float) -> str:
        """A tick in words, with as many digits as tell it from its neighbours."""
        shown, step = (100 * one if self.percent else one for one in (value, self.ticks[1] - self.ticks[0]))
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return f"{shown:.{digits}f}{' %' if self.percent else ''}"


def _round(step: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= step * (1 - 1e-9))


def chart(name: str, x: Axis, y: Axis, series: Sequence[Series], marker: bool = False) -> str:
    """The SVG. With a `marker` a script can show a value of x.

    `name`, and what is said of its points, is what those have who do not see it.
    """

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across = LEFT + x.place(point[0]) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - y.place(point[1]) * (HEIGHT - TOP - BOTTOM)

    points = [title for one in series for title in one.titles if title]
    told = f"{name}. {'; '.join(points)}" if points else name
    drawn = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(told)}"'
        f' data-left="{LEFT}" data-right="{WIDTH - RIGHT}" data-low="{x.low:g}" data-high="{x.high:g}">'
    ]
    for tick in y.ticks:
        _, down = at((x.low, tick))
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down:.1f}" y2="{down:.1f}"/>')
        drawn.append(f'<text class="tick" x="{LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{y.said(tick)}</text>')
    for tick in x.ticks:
        across, _ = at((tick, y.low))
        drawn.append(
            f'<text class="tick" x="{across:.1f}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle">{x.said(tick)}</text>'
        )
    drawn.append(f'<text class="label" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x.label)}</text>')
    drawn.append(f'<text class="label" x="{LEFT}" y="{TOP - 11}">{escape(y.label)}</text>')
    for one in series:
        placed = [at(point) for point in one.points]
        for (across, _), (low, high) in zip(placed, one.spans, strict=False):
            top, foot = (f"{at((x.low, edge))[1]:.1f}" for edge in (high, low))
            drawn.append(f'<line class="span {one.look}" x1="{across:.1f}" x2="{across:.1f}" y1="{top}" y2="{foot}"/>')
        if "line" in one.look.split() and placed:
            path = " ".join(f"{across:.1f},{down:.1f}" for across, down in placed)
            drawn.append(f'<polyline class="{one.look}" points="{path}"/>')
        else:
            titles = [*one.titles, *[""] * (len(placed) - len(one.titles))]
            for (across, down), title in zip(placed, titles, strict=True):
                shown = f"<title>{escape(title)}</title>" if title else ""
                drawn.append(f'<circle class="{one.look}" cx="{across:.1f}" cy="{down:.1f}" r="4">{shown}</circle>')
            for (across, down), mark in zip(placed, one.marks, strict=False):
                left = across > WIDTH - RIGHT - 12
                place = f'x="{across - 8 if left else across + 8:.1f}" y="{down - 6:.1f}"'
                drawn.append(
                    f'<text class="mark" {place} text-anchor="{"end" if left else "start"}">{escape(mark)}</text>'
                )
    if marker:
        drawn.append(f'<line class="marker" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    return "".join([*drawn, "</svg>"])
