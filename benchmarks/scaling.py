"""How a training step grows with the canvas, the batch and the prompt.

    ARTTUNE_DATA=FOLDER python benchmarks/scaling.py --model smol --json scaling.json --plot scaling.png

Each measurement changes one thing of the first: ART on SVAMP in batches of 16 with 64 tokens. All take turns in one
process; what counts is the ratio to the first.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from arttune.machine import describe, keep_freed_memory
from arttune.report.plots import ACCENT
from steps import Arm, batches, parser


@dataclass(frozen=True)
class Size:
    """What a step is made of: tokens of the canvas, problems, and words in front of each question."""

    canvas: int = 64
    batch: int = 16
    words: int = 0


SERIES = {
    "canvas": ("tokens of the canvas", (64, 256, 1024)),
    "batch": ("problems in a step", (4, 16, 64)),
    "words": ("words in front of each question", (0, 100, 300)),
}


def plot(found: dict[Size, float], series: dict[str, tuple[str, tuple[int, ...]]], path: Path) -> None:
    """A panel for each thing that grows."""
    figure, panels = plt.subplots(1, len(series), figsize=(1 + 3 * len(series), 3), sharey=True, squeeze=False)
    axes = panels[0]
    for axis, (name, (label, values)) in zip(axes, series.items(), strict=True):
        axis.plot(values, [found[replace(Size(), **{name: value})] / found[Size()] for value in values], "o-", c=ACCENT)
        axis.set_xlabel(label)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.15)
    axes[0].set_ylabel("time of a step, of the first's")
    axes[0].set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--series", action="append", choices=list(SERIES), help="only this one (repeatable)")
    args = options.parse_args()
    series = {name: SERIES[name] for name in args.series or SERIES}
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    sizes = dict.fromkeys(replace(Size(), **{name: value}) for name, (_, values) in series.items() for value in values)
    arms = {tokens: Arm("art", args.model, tokens, args.dtype) for tokens in {size.canvas for size in sizes}}
    work = {size: batches(args.task, size.batch, size.words) for size in sizes}
    seconds: dict[Size, list[float]] = {size: [] for size in sizes}
    for turn in range(args.rounds + 1):
        for size, taken in seconds.items():
            arm = arms[size.canvas]
            found = arm.step(arm.batch(next(work[size])))
            if turn:
                taken.append(found)
    middle = {size: statistics.median(taken) for size, taken in seconds.items()}
    print(f"{args.model}, {args.task}, {args.dtype}; {describe()}")
    print("  canvas   batch   words   seconds a step   of the first")
    for size, taken in middle.items():
        print(f"  {size.canvas:6} {size.batch:7} {size.words:7} {taken:16.3f} {taken / middle[Size()]:14.2f}")
    if args.plot:
        plot(middle, series, args.plot)
    if args.json:
        ratios = {
            f"{name} {value}/{getattr(Size(), name)}": middle[replace(Size(), **{name: value})] / middle[Size()]
            for name, (_, values) in series.items()
            for value in values
            if value != getattr(Size(), name)
        }
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
