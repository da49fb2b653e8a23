"""Does a start that shows what the task asks learn faster? Plain grounds, pictures and posters, the same steps each.

    ARTTUNE_DATA=FOLDER python benchmarks/starts.py --seeds 0 1 2 --picture A.png --plot starts.png --json starts.json

Each run is `arttune train --task svamp --start START` and stays in its folder under `--out`, so that the same command
goes on where it was interrupted. Losses are drawn, and printed as the mean over seeds and, in brackets, the least and
largest of them; so is how many of the problems kept out, which are other ones for each seed, were right.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch

from arttune import training
from arttune.compare.cells import Answered
from arttune.evaluate import wilson
from arttune.finishing import Exam
from arttune.machine import describe
from arttune.records import METRICS, read_metrics
from arttune.report import learning_curves
from arttune.report.plots import Lines, course
from arttune.settings import Settings
from arttune.style.starts import start_pixels

FIRST, LAST = slice(30), slice(-30, None)
INSTRUCTION = "SVAMP\nWrite the calculation, then Answer: and the number."


def run(name: str, start: str, seed: int, args: argparse.Namespace) -> tuple[Lines, Answered]:
    """What a run logged, and how it answered problems kept out."""
    folder = Path(args.out) / f"seed-{seed}" / name.replace(" ", "-").replace(",", "")
    chosen = {"steps": args.steps, "eval_every": args.steps, "validation": 100, "max_new_tokens": 64}
    # The folders of other seeds are no neighbours: their problems kept out, and what the text alone says, are others.
    training.complete(Settings(start=start, seed=seed, **chosen), folder, print, Exam.beside(folder, "validation"))
    return read_metrics(folder / METRICS), Answered.of_run(folder)


def main() -> None:
    reads = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reads.add_argument("--picture", required=True)
    reads.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    reads.add_argument("--steps", type=int, default=150)
    reads.add_argument("--out", default="runs/starts")
    reads.add_argument("--plot", type=Path)
    reads.add_argument("--json", type=Path)
    args = reads.parse_args()
    starts = {
        "grey": "grey",
        "noise": "noise",
        "clouds": "clouds",
        "a picture": args.picture,
        "poster, two problems": "poster",
        "poster, an instruction": f"poster:{INSTRUCTION}",
    }
    start_pixels(args.picture, (224, 224))  # what is wrong with it is wrong before hours of training
    for path in (args.plot, args.json):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    runs = {name: [run(name, start, seed, args) for seed in args.seeds] for name, start in starts.items()}
    print(f"smol, svamp, {args.steps} steps of 8, seeds {args.seeds}; {describe()}, torch {torch.__version__}")
    print("                           losses: first 30                last 30   right of those kept out")
    last = {}
    for name, each in runs.items():
        losses = [course(lines, "loss")[1] for lines, _ in each]
        means = [[statistics.mean(one[at]) for one in losses] for at in (FIRST, LAST)]
        last[name] = statistics.mean(means[1])
        first, end = (f"{statistics.mean(one):.3f} [{min(one):.3f}, {max(one):.3f}]" for one in means)
        right = [one for _, answered in each for one in answered.right]
        low, high = wilson(sum(right), len(right))
        print(f"  {name:24} {first} {end}   {sum(right)} of {len(right)}, {100 * low:.1f} to {100 * high:.1f} %")
    if args.plot:
        learning_curves(
            {name: [lines for lines, _ in each] for name, each in runs.items()},
            args.plot,
            f"svamp · smol · {args.steps} steps of 8, by start",
        )
    if args.json:
        ratios = {f"{name}/grey".replace(" ", "-"): value / last["grey"] for name, value in last.items()}
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
