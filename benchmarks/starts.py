"""Does a start that shows what the task asks learn faster? Plain grounds, pictures and posters, the same steps each.

    ARTTUNE_DATA=FOLDER python benchmarks/starts.py --seeds 0 1 2 --picture A.png --plot starts.png --json starts.json

Each run is `arttune train --task svamp --start START` and stays in its folder under `--out`, so that the same command
goes on where it was interrupted. Of each poster there is one with its letters in another order: as much ink, nothing
said. Grey is there at twice the rate as well, since a plain ground takes a larger one. Losses are drawn, and printed as
means over seeds; then what each is less than grey's, and what a poster's are less than those of its scrambled letters,
with intervals (of differences in pairs, a seed each, by Student's t), beside the differences in problems kept out that
were right. Those are other ones for each seed, the same for all starts.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from pathlib import Path

import numpy as np
from scipy.stats import t

from arttune.compare.result import Answered
from arttune.compare.summary import paired
from arttune.evaluate import wilson
from arttune.finishing import Exam
from arttune.machine import describe
from arttune.records import METRICS, read_metrics
from arttune.report import learning_curves
from arttune.report.plots import Lines, course
from arttune.settings import RATES, Settings
from arttune.style.starts import start_pixels
from arttune.training import complete, opened

FIRST, LAST = slice(30), slice(-30, None)
KEPT_OUT = 100
SCRAMBLED = "scrambled"  # the letters of the very poster that a seed's problems make
GREY, POSTER, SIGN = "grey", "poster, two problems", "poster, an instruction"
MIXED = {POSTER: "its letters scrambled", SIGN: "those letters scrambled"}
INSTRUCTION = "SVAMP\nWrite the calculation, then Answer: and the number."


def scrambled(text: str) -> str:
    """The same letters, each line's in another order; spaces stay where they are."""
    lines = []
    for line in text.splitlines():
        letters = [letter for letter in line if letter != " "]
        random.Random(0).shuffle(letters)
        mixed = iter(letters)
        lines.append("".join(letter if letter == " " else next(mixed) for letter in line))
    return "\n".join(lines)


def less(losses: list[float], than: list[float]) -> str:
    """How much less the losses of seeds are than others', with its 95 % interval where there are several."""
    apart = [b - a for a, b in zip(losses, than, strict=True)]
    mean = statistics.mean(apart)
    if len(apart) == 1 or not any(apart):
        return f"{mean:+.3f}"
    reach = t.ppf(0.975, len(apart) - 1) * statistics.stdev(apart) / math.sqrt(len(apart))
    return f"{mean:+.3f} [{mean - reach:+.3f}, {mean + reach:+.3f}]"


def answered(runs: list[tuple[Lines, Answered]]) -> np.ndarray:
    """`(seeds * problems,)`: what each run had right."""
    return np.concatenate([np.array(one.right, dtype=float) for _, one in runs])


def run(name: str, start: str, rate: float, seed: int, args: argparse.Namespace) -> tuple[Lines, Answered]:
    """What a run logged, and how it answered problems kept out."""
    folder = Path(args.out) / f"seed-{seed}" / name.replace(" ", "-").replace(",", "")
    chosen = {"steps": args.steps, "eval_every": args.steps, "validation": KEPT_OUT, "max_new_tokens": 64}
    chosen |= {"learning_rate": rate}
    if start == SCRAMBLED:
        start = f"poster:{scrambled(opened(Settings(seed=seed, **chosen), weightless=True)[0].poster())}"
    # The folders of other seeds are no neighbours: their problems kept out, and what the text alone says, are others.
    complete(Settings(start=start, seed=seed, **chosen), folder, print, Exam.beside(folder, "validation"))
    return read_metrics(folder / METRICS), Answered.of_run(folder)


def main() -> None:
    reads = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reads.add_argument("--picture", required=True)
    reads.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    reads.add_argument("--steps", type=int, default=150)
    reads.add_argument("--rate", type=float, default=RATES["art"])
    reads.add_argument("--out", default="runs/starts")
    reads.add_argument("--plot", type=Path)
    reads.add_argument("--json", type=Path)
    args = reads.parse_args()
    starts = {
        GREY: (GREY, 1),
        "grey, twice the rate": (GREY, 2),
        "noise": ("noise", 1),
        "clouds": ("clouds", 1),
        "a picture": (args.picture, 1),
        POSTER: ("poster", 1),
        MIXED[POSTER]: (SCRAMBLED, 1),
        SIGN: (f"poster:{INSTRUCTION}", 1),
        MIXED[SIGN]: (f"poster:{scrambled(INSTRUCTION)}", 1),
    }
    start_pixels(args.picture, (224, 224))  # what is wrong with it is wrong before hours of training
    for path in (args.plot, args.json):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    runs = {
        name: [run(name, start, times * args.rate, seed, args) for seed in args.seeds]
        for name, (start, times) in starts.items()
    }
    print(f"smol, svamp, {args.steps} steps of 8 at a rate of {args.rate:g}, seeds {args.seeds}; {describe()}")
    print("  loss of the first and last 30 steps, and right of those kept out")
    means = {}
    for name, each in runs.items():
        losses = [course(lines, "loss")[1] for lines, _ in each]
        means[name] = [[statistics.mean(one[at]) for one in losses] for at in (FIRST, LAST)]
        right = [one for _, found in each for one in found.right]
        low, high = wilson(sum(right), len(right))
        told = " ".join(f"{statistics.mean(one):.3f}" for one in means[name])
        print(f"  {name:24} {told}   {sum(right)} of {len(right)}, {100 * low:.1f} to {100 * high:.1f} %")
    print("  how much less than another's losses are, first and last, and how many points more are right")
    pairs = [(name, GREY) for name in runs if name != GREY] + list(MIXED.items())
    for name, other in pairs:
        lower = " ".join(f"{less(*some):24}" for some in zip(means[name], means[other], strict=True))
        mean, (low, high), p = paired(*(answered(runs[one]) for one in (name, other)))
        more = f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], p {p:.2g}"
        print(f"  {name:24} than {other:24} {lower} {more}")
    if args.plot:
        learning_curves(
            {name: [lines for lines, _ in each] for name, each in runs.items()},
            args.plot,
            f"svamp · smol · {args.steps} steps of 8, by start",
        )
    if args.json:
        last = {name: statistics.mean(both[1]) for name, both in means.items()}
        ratios = {f"{name}/{other}".replace(" ", "-"): last[name] / last[other] for name, other in pairs}
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
