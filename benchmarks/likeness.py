"""What staying near an artwork costs: accuracy against likeness, from unconstrained to tightly held.

    ARTTUNE_DATA=FOLDER python benchmarks/likeness.py --artworks A.png B.png C.png --plot likeness.png --json FILE
        [--authors PAINTING.png=START.png ...] [--least none 0.8 0.9 0.95 0.98 0.995] [--seeds 0 1 2] [--steps 450]

Each run is `arttune train --task svamp --start ARTWORK --likeness LEAST` and stays in its folder under `--out`, so that
the same command goes on where it was interrupted. What is measured of a finished run is in a JSON file beside it, which
alone is enough to go on elsewhere. What is printed and drawn is the likeness (MS-SSIM) of the saved PNG to its start,
the strict accuracy on the test problems and the loss of the last steps. The last column is what a limit leaves of the
gain over the text alone that the painting without a limit has, its interval from problems and seeds drawn again with
replacement, but for draws in which that painting gains nothing; the last rows are all artworks together.
`--authors` puts others' paintings under the same ruler: the start is laid on mid-grey, as theirs were.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from arttune import Painting, training
from arttune.compare.result import Answered
from arttune.compare.summary import pooled
from arttune.errors import BadInput
from arttune.finishing import Exam
from arttune.machine import describe
from arttune.records import write_whole
from arttune.report.gallery import Exhibit
from arttune.report.plots import FURTHER, INK, course
from arttune.settings import Settings
from arttune.style.likeness import alike
from arttune.style.starts import start_pixels
from arttune.tasks import get_task

DRAWS = 10_000
LAST = slice(-50, None)  # steps
ALL = "all of them"


@dataclass(frozen=True)
class Run:
    """What is measured of a run of so many steps."""

    steps: int
    machine: str
    alike: float
    change: float
    loss: float
    answered: Answered
    before: list[bool]  # whether the text alone gets a problem right


@dataclass(frozen=True)
class Point:
    """All runs of an artwork, or of several, and a limit together."""

    artwork: str
    least: float | None
    alike: float
    change: float
    loss: float
    answered: list[Answered]  # a run each
    before: np.ndarray  # `(problems,)`: whether the text alone gets it right

    @property
    def right(self) -> np.ndarray:
        """`(runs, problems)`."""
        return np.array([one.right for one in self.answered], dtype=float)


def run(artwork: Path, least: float | None, seed: int, args: argparse.Namespace) -> Run:
    """One run, which is made, gone on with, or there already."""
    folder = Path(args.out) / f"{artwork.stem}-{'free' if least is None else least}-{seed}"
    file = folder.with_name(f"{folder.name}.json")
    if not file.is_file():
        chosen = {"steps": args.steps, "validation": 0}
        training.complete(
            Settings(start=str(artwork), likeness=least, seed=seed, **chosen), folder, print, Exam.beside(folder)
        )
        write_whole(file, json.dumps(asdict(of(Exhibit.read(folder), args.steps))) + "\n")
    held = json.loads(file.read_text(encoding="utf-8"))
    if held["steps"] != args.steps:
        raise BadInput(f"{file} is of a run of {held['steps']} steps, not {args.steps}; choose another --out")
    return Run(**held | {"answered": Answered(**held["answered"])})


def of(exhibit: Exhibit, steps: int) -> Run:
    """What a finished run comes to."""
    return Run(
        steps,
        describe(),
        exhibit.likeness or 0.0,
        (exhibit.painting.pixels.int() - exhibit.start.int()).abs().float().mean().item(),
        float(np.mean(course(exhibit.lines, "loss")[1][LAST])),
        Answered.of_run(exhibit.folder),
        [sample["text_only"]["correct"] for sample in exhibit.samples],
    )


def measured(artwork: Path, least: float | None, args: argparse.Namespace) -> Point:
    runs = [run(artwork, least, seed, args) for seed in args.seeds]
    means = [float(np.mean([getattr(one, name) for one in runs])) for name in ("alike", "change", "loss")]
    before = np.array(runs[0].before, dtype=float)
    return Point(artwork.stem, least, *means, [one.answered for one in runs], before)


def together(points: list[Point], least: float | None) -> Point:
    """All artworks at one limit."""
    same = [point for point in points if point.least == least]
    means = [float(np.mean([getattr(one, name) for one in same])) for name in ("alike", "change", "loss")]
    return Point(ALL, least, *means, [run for one in same for run in one.answered], same[0].before)


def kept(held: Point, free: Point) -> tuple[float, float, float]:
    """The share of the free gain that a limit leaves, and its 95 % interval."""
    chance, (runs, n) = np.random.default_rng(0), held.right.shape
    gains = [one.right - one.before for one in (held, free)]
    means = np.empty((DRAWS, 2))
    for at in range(DRAWS):  # a seed's runs have the same problems in the same order, so they are drawn together
        seeds, problems = chance.integers(0, runs, runs), chance.integers(0, n, n)
        means[at] = [gain[seeds][:, problems].mean() for gain in gains]
    low, high = np.nanquantile(means[:, 0] / np.where(means[:, 1] > 0, means[:, 1], np.nan), (0.025, 0.975))
    return float(gains[0].mean() / gains[1].mean()), float(low), float(high)


def _gained(held: Point, free: dict[str, Point]) -> bool:
    """Whether there is a free gain of which a limit could leave a share."""
    there = free.get(held.artwork)
    return held.least is not None and there is not None and bool(there.right.mean() > there.before.mean())


def authors(pair: str) -> tuple[str, float, float]:
    """Name, likeness and mean change of somebody's painting and the picture it started from."""
    painted, start = pair.split("=")
    pixels = Painting.load(painted).pixels
    begun = start_pixels(start, (pixels.shape[1], pixels.shape[2]))
    change = (pixels.int() - begun.int()).abs().float().mean().item()
    return Path(painted).parent.name, alike(pixels, begun) or 0.0, change


def table(points: list[Point], others: list[tuple[str, float, float]]) -> str:
    lines = ["  artwork                  asked   likeness   change    loss   accuracy                 of the free gain"]
    free = {point.artwork: point for point in points if point.least is None}
    for point in points:
        share, (low, high) = pooled(point.answered)
        told = "{:.0%} [{:.0%}, {:.0%}]".format(*kept(point, free[point.artwork])) if _gained(point, free) else ""
        asked = "free" if point.least is None else point.least
        lines.append(
            f"  {point.artwork:22s}{asked:>8} {point.alike:10.3f} {point.change:8.1f}"
            f" {point.loss:7.3f}   {f'{share:.1%} [{low:.1%}, {high:.1%}]':24} {told}"
        )
    lines += [f"  {name:30s} {alike:10.3f} {change:8.1f}" for name, alike, change in others]
    return "\n".join(lines)


def plot(points: list[Point], others: list[tuple[str, float, float]], guess: float, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(7.5, 4.5))
    for colour, artwork in zip(cycle(FURTHER), dict.fromkeys(point.artwork for point in points), strict=False):
        mine = sorted((p for p in points if p.artwork == artwork), key=lambda p: p.alike)
        found = [pooled(p.answered) for p in mine]
        for p, (_, interval) in zip(mine, found, strict=True):
            axis.plot([p.alike] * 2, [100 * edge for edge in interval], color=colour, alpha=0.3, linewidth=5)
        at, shares = [p.alike for p in mine], [100 * share for share, _ in found]
        axis.plot(at, shares, "o-", color=colour, label=artwork, markersize=5)
    axis.axhline(100 * guess, color=INK, linestyle="--", linewidth=1, label="the commonest answer to all")
    for (name, near, _), side in zip(sorted(others, key=lambda one: one[1]), cycle(("right", "left")), strict=False):
        axis.axvline(near, color=INK, linestyle=":", linewidth=1)
        axis.annotate(
            f" the authors' {name.split('_')[-1]} ",
            (near, 0.98),
            xycoords=("data", "axes fraction"),
            va="top",
            ha=side,
            fontsize=8,
            color=INK,
        )
    axis.set_xlabel("likeness to the artwork (MS-SSIM)")
    axis.set_ylabel("SVAMP test problems right, %")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.15)
    axis.legend(frameon=False, loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    reads = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reads.add_argument("--artworks", nargs="+", type=Path, required=True)
    reads.add_argument("--least", nargs="+", default=["none", "0.8", "0.9", "0.95", "0.98", "0.995"])
    reads.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    reads.add_argument("--steps", type=int, default=450)
    reads.add_argument("--authors", nargs="*", default=[])
    reads.add_argument("--out", default="runs/likeness")
    reads.add_argument("--plot", type=Path)
    reads.add_argument("--json", type=Path)
    args = reads.parse_args()
    leasts = [None if one == "none" else float(one) for one in args.least]
    others = [authors(pair) for pair in args.authors]  # what is wrong with any file is wrong before hours of training
    for artwork in args.artworks:
        start_pixels(str(artwork), (224, 224))
    if len({artwork.stem for artwork in args.artworks}) < len(args.artworks):
        raise BadInput("two artworks have the same name, which their runs' folders have; rename one")
    for path in (args.plot, args.json):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    points = [measured(artwork, least, args) for artwork in args.artworks for least in leasts]
    answers = [problem.answer for problem in get_task("svamp").load("test")[: Settings().test_limit]]
    guess = max(Counter(answers).values()) / len(answers)
    print(f"smol, svamp, {args.steps} steps of 8, seeds {args.seeds}; {describe()}")
    every = points + [together(points, least) for least in leasts]
    print(table(every, others))
    print(f"  always the commonest answer: {guess:.1%}")
    if args.plot:
        plot(points, others, guess, args.plot)
    if args.json:
        free = {p.artwork: p for p in every if p.least is None}
        held = [p for p in every if _gained(p, free)]
        ratios = {f"{p.artwork} at {p.least}/free": kept(p, free[p.artwork])[0] for p in held}
        told = [
            {"artwork": p.artwork, "least": p.least, "likeness": p.alike, "change": p.change, "loss": p.loss}
            | dict(zip(("accuracy", "ci95"), pooled(p.answered), strict=True))
            for p in every
        ]
        found = {"ratios": ratios, "machine": describe(), "points": told}
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
