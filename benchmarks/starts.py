"""Does a start that shows what the task asks learn faster? Plain grounds, pictures and posters, the same steps each.

    ARTTUNE_DATA=FOLDER python benchmarks/starts.py --seeds 0 1 2 --picture A.png --plot starts.png --json starts.json

Each run is `arttune train --task svamp --start START` and stays in its folder under `--out`, so that the same command
goes on where it was interrupted. Losses are printed and drawn, and strict accuracies on
problems kept out printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch

from arttune import training
from arttune.compare.cells import Answered
from arttune.compare.summary import pooled
from arttune.finishing import Exam
from arttune.machine import describe
from arttune.records import METRICS, read_metrics
from arttune.report import learning_curves
from arttune.report.plots import Lines, course
from arttune.settings import Settings

FIRST, LAST = slice(30), slice(-30, None)
INSTRUCTION = "SVAMP\nWrite the calculation, then Answer: and the number."


def run(name: str, start: str, seed: int, args: argparse.Namespace) -> tuple[Lines, Answered]:
    """What a run logged, and how it answered problems kept out."""
    folder = Path(args.out) / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
    chosen = {"steps": args.steps, "eval_every": args.steps, "validation": 100, "max_new_tokens": 64}
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
    runs = {name: [run(name, start, seed, args) for seed in args.seeds] for name, start in starts.items()}
    print(f"smol, svamp, {args.steps} steps of 8, seeds {args.seeds}; {describe()}, torch {torch.__version__}")
    print("                         losses: first 30   last 30   right of those kept out")
    last = {}
    for name, each in runs.items():
        losses = [course(lines, "loss")[1] for lines, _ in each]
        first, last[name] = (statistics.mean(x for one in losses for x in one[at]) for at in (FIRST, LAST))
        share, (low, high) = pooled([answered for _, answered in each])
        right = f"{share:5.1%} [{low:5.1%}, {high:5.1%}]"
        print(f"  {name:24} {first:15.3f} {last[name]:9.3f}   {right}")
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
