"""What staying near an artwork costs: accuracy against likeness, from unconstrained to tightly held.

    ARTTUNE_DATA=FOLDER python benchmarks/likeness.py --artworks A.png B.png C.png --plot likeness.png --json FILE
        [--authors PAINTING.png=START.png ...] [--hold none 0.8@0.01 ... 0.98@0.005 0.9+32@0.01] [--seeds 0 1 2]

Each run is `arttune train --task svamp --start ARTWORK --likeness LEAST --limit LEVELS --learning-rate RATE` (of
`LEAST+LEVELS@RATE`, each of which may be left out; tightly held, smaller rates learn more: likeness.txt) and stays in
its folder under `--out`, so that the same command goes on where it was interrupted. What is measured of a finished run
is in a JSON file beside it, which alone is enough to go on elsewhere. What is printed and drawn is the likeness
(MS-SSIM) of the saved PNG to its start, the mean change in levels (likeness forgives grain), the strict accuracy on the
test problems and the loss of the last steps. The last columns are what a hold leaves of the gain that the free painting
has over the text alone, and over always giving the commonest answer, which is no model: their intervals are from
problems and runs drawn again with replacement, but for draws in which the free one gains nothing. The last rows are all
artworks together. `--authors` puts others' paintings under the same ruler: the start is laid on mid-grey, as theirs
were.
"""

from __future__ import annotations

import argparse
import hashlib
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

Shares = dict[tuple[str, "Hold"], list[tuple[float, float, float] | None]]


@dataclass(frozen=True)
class Hold:
    """What a painting is held to: a least likeness, at most so many levels a pixel, both, or neither; and its rate."""

    least: float | None = None
    limit: int | None = None
    rate: float | None = None

    @classmethod
    def of(cls, text: str) -> Hold:
        """From `none`, `0.9`, `+32`, `0.9+32` or `0.9+32@0.01`."""
        held, _, rate = text.removeprefix("none").partition("@")
        least, _, limit = held.partition("+")
        return cls(*(kind(one) if one else None for kind, one in ((float, least), (int, limit), (float, rate))))

    def __str__(self) -> str:
        least = "" if self.least is None else f"{self.least:g}"
        held = least + ("" if self.limit is None else f"+{self.limit}") or "free"
        return held + ("" if self.rate is None else f"@{self.rate:g}")


FREE = Hold()


@dataclass(frozen=True)
class Run:
    """What is measured of a run that was made as `made` says."""

    made: dict[str, str | float | None]
    machine: str
    alike: float
    change: float
    loss: float
    answered: Answered
    before: list[bool]  # whether the text alone gets a problem right


@dataclass(frozen=True)
class Point:
    """All runs of an artwork, or of several, and a hold together."""

    artwork: str
    hold: Hold
    alike: float
    change: float
    loss: float
    answered: list[Answered]  # a run each
    before: np.ndarray  # `(problems,)`: whether the text alone gets it right

    @property
    def right(self) -> np.ndarray:
        """`(runs, problems)`."""
        return np.array([one.right for one in self.answered], dtype=float)


def run(artwork: Path, hold: Hold, seed: int, args: argparse.Namespace) -> Run:
    """One run, which is made, gone on with, or there already. Raises `BadInput` for one that was made otherwise."""
    folder = Path(args.out) / f"{artwork.stem}-{hold}-{seed}"
    file = folder.with_name(f"{folder.name}.json")
    chosen = {"task": args.task, "steps": args.steps, "likeness": hold.least, "limit": hold.limit}
    settings = Settings(start=str(artwork), seed=seed, learning_rate=hold.rate, validation=0, **chosen)
    made = chosen | {"rate": settings.rate, "artwork": hashlib.sha256(artwork.read_bytes()).hexdigest()[:12]}
    if not file.is_file():
        training.complete(settings, folder, print, Exam.beside(folder))
        write_whole(file, json.dumps(asdict(of(Exhibit.read(folder), made))) + "\n")
    held = json.loads(file.read_text(encoding="utf-8"))
    for name, asked in made.items():
        if held["made"].get(name) != asked:
            raise BadInput(
                f"{file} is of a run whose {name} is {held['made'].get(name)}, not {asked}; choose another --out"
            )
    return Run(**held | {"answered": Answered(**held["answered"])})


def of(exhibit: Exhibit, made: dict[str, str | float | None]) -> Run:
    """What a finished run comes to."""
    return Run(
        made,
        describe(),
        exhibit.likeness or 0.0,
        (exhibit.painting.pixels.int() - exhibit.start.int()).abs().float().mean().item(),
        float(np.mean(course(exhibit.lines, "loss")[1][LAST])),
        Answered.of_run(exhibit.folder),
        [sample["text_only"]["correct"] for sample in exhibit.samples],
    )


def point(artwork: str, hold: Hold, runs: list[Run]) -> Point:
    """The runs of an artwork, or of all of them, that were held alike."""
    means = [float(np.mean([getattr(one, name) for one in runs])) for name in ("alike", "change", "loss")]
    before = np.array(runs[0].before, dtype=float)
    return Point(artwork, hold, *means, [one.answered for one in runs], before)


def kept(held: Point, free: Point, over: np.ndarray) -> tuple[float, float, float] | None:
    """The share of the free gain over what `over` `(problems,)` has right that a hold leaves, and its 95 % interval.

    None where there is no such gain.
    """
    chance, (runs, n) = np.random.default_rng(0), held.right.shape
    gains = [one.right - over for one in (held, free)]
    if gains[1].mean() <= 0:
        return None
    means = np.empty((DRAWS, 2))
    for at in range(DRAWS):  # a seed's runs have the same problems in the same order, so they are drawn together
        seeds, problems = chance.integers(0, runs, runs), chance.integers(0, n, n)
        means[at] = [gain[seeds][:, problems].mean() for gain in gains]
    low, high = np.nanquantile(means[:, 0] / np.where(means[:, 1] > 0, means[:, 1], np.nan), (0.025, 0.975))
    return float(gains[0].mean() / gains[1].mean()), float(low), float(high)


def authors(pair: str) -> tuple[str, float, float]:
    """Name, likeness and mean change of somebody's painting and the picture it started from."""
    painted, start = pair.split("=")
    pixels = Painting.load(painted).pixels
    begun = start_pixels(start, (pixels.shape[1], pixels.shape[2]))
    change = (pixels.int() - begun.int()).abs().float().mean().item()
    return Path(painted).parent.name, alike(pixels, begun) or 0.0, change


def left(points: list[Point], commonest: np.ndarray) -> Shares:
    """Of each held point what is kept of the gain over the text alone, and over the commonest answer."""
    free = {one.artwork: one for one in points if one.hold == FREE}
    return {
        (one.artwork, one.hold): [kept(one, free[one.artwork], over) for over in (one.before, commonest)]
        for one in points
        if one.hold != FREE and one.artwork in free
    }


def table(points: list[Point], others: list[tuple[str, float, float]], shares: Shares) -> str:
    lines = [
        "  artwork                        asked   likeness   change    loss   accuracy                 "
        "of the free gain     above the commonest"
    ]
    for one in points:
        share, (low, high) = pooled(one.answered)
        told = [
            "{:.0%} [{:.0%}, {:.0%}]".format(*some) if some else "" for some in shares.get((one.artwork, one.hold), ())
        ]
        lines.append(
            f"  {one.artwork:22s}{one.hold!s:>14} {one.alike:10.3f} {one.change:8.1f} {one.loss:7.3f}"
            f"   {f'{share:.1%} [{low:.1%}, {high:.1%}]':24} {''.join(f'{some:21}' for some in told)}".rstrip()
        )
    lines += [f"  {name:36s} {alike:10.3f} {change:8.1f}" for name, alike, change in others]
    return "\n".join(lines)


def plot(points: list[Point], others: list[tuple[str, float, float]], guess: float, path: Path, task: str) -> None:
    figure, axis = plt.subplots(figsize=(7.5, 4.5))
    for colour, artwork in zip(cycle(FURTHER), dict.fromkeys(one.artwork for one in points), strict=False):
        mine = sorted((one for one in points if one.artwork == artwork), key=lambda one: one.alike)
        line = []
        for one in mine:
            share, interval = pooled(one.answered)
            axis.plot([one.alike] * 2, [100 * edge for edge in interval], color=colour, alpha=0.3, linewidth=5)
            if one.hold.limit is None:
                line.append((one.alike, 100 * share))
            else:
                axis.plot(one.alike, 100 * share, "s", color=colour, markersize=5)
            where = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": 7}
            axis.annotate(f"{one.change:.0f}", (one.alike, 100 * share), color=colour, **where)
        axis.plot([at for at, _ in line], [share for _, share in line], "o-", color=colour, label=artwork, markersize=5)
    axis.axhline(100 * guess, color=INK, linestyle="--", linewidth=1, label="the commonest answer to all")
    for (name, near, change), side in zip(
        sorted(others, key=lambda one: one[1]), cycle(("right", "left")), strict=False
    ):
        axis.axvline(near, color=INK, linestyle=":", linewidth=1)
        axis.annotate(
            f" the authors' {name.split('_')[-1]}, {change:.0f} ",
            (near, 0.98),
            xycoords=("data", "axes fraction"),
            va="top",
            ha=side,
            fontsize=8,
            color=INK,
        )
    axis.set_xlabel(
        "likeness to the artwork (MS-SSIM)\nnumbers: mean change in levels of 255; squares: with a limit too"
    )
    axis.set_ylabel(f"test problems of {task} right, %")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.15)
    axis.legend(frameon=False, loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    reads = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reads.add_argument("--artworks", nargs="+", type=Path, required=True)
    reads.add_argument("--task", default="svamp")
    usual = ("none", "0.8@0.01", "0.9@0.01", "0.95@0.01", "0.98@0.005", "0.9+32@0.01")
    reads.add_argument("--hold", nargs="+", type=Hold.of, default=[Hold.of(one) for one in usual])
    reads.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    reads.add_argument("--steps", type=int, default=450)
    reads.add_argument("--authors", nargs="*", default=[])
    reads.add_argument("--out", default="runs/likeness")
    reads.add_argument("--plot", type=Path)
    reads.add_argument("--json", type=Path)
    args = reads.parse_args()
    others = [authors(pair) for pair in args.authors]  # what is wrong with any file is wrong before hours of training
    for artwork in args.artworks:
        start_pixels(str(artwork), (224, 224))
    if len({artwork.stem for artwork in args.artworks}) < len(args.artworks):
        raise BadInput("two artworks have the same name, which their runs' folders have; rename one")
    for path in (args.plot, args.json):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    made = {
        (artwork, hold): [run(artwork, hold, seed, args) for seed in args.seeds]
        for artwork in args.artworks
        for hold in args.hold
    }
    points = [point(artwork.stem, hold, runs) for (artwork, hold), runs in made.items()]
    answers = [problem.answer for problem in get_task(args.task).load("test")[: Settings().test_limit]]
    common = Counter(answers).most_common(1)[0][0]
    commonest = np.array([answer == common for answer in answers], dtype=float)
    machines = Counter(one.machine for runs in made.values() for one in runs)
    print(f"smol, {args.task}, {args.steps} steps of 8, seeds {args.seeds}; runs made on:")
    print("\n".join(f"  {n} x {machine}" for machine, n in machines.items()))
    every = points + [
        point(ALL, hold, [one for artwork in args.artworks for one in made[artwork, hold]]) for hold in args.hold
    ]
    shares = left(every, commonest)
    print(table(every, others, shares))
    print(f"  always the commonest answer: {commonest.mean():.1%}")
    if args.plot:
        plot(points, others, commonest.mean(), args.plot, args.task)
    if args.json:
        ratios = {f"{artwork} at {hold}/free": some[0][0] for (artwork, hold), some in shares.items() if some[0]}
        told = [
            {"artwork": one.artwork, "hold": str(one.hold), "likeness": one.alike, "change": one.change}
            | {"loss": one.loss, **dict(zip(("accuracy", "ci95"), pooled(one.answered), strict=True))}
            for one in every
        ]
        found = {"ratios": ratios, "machine": "; ".join(machines), "points": told}
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
