"""What several runs of `grpo` learned: a table over all of them and one plot. For example:

    for seed in 0 1 2; do arttune train --config recipes/svamp_grpo.yaml --seed $seed --out runs/$seed; done
    python benchmarks/grpo_seeds.py runs/0 runs/1 runs/2 --plot docs/svamp_grpo.png

Reads what each run wrote (`metrics.jsonl`, `results.json`). In the plot thin lines are the rewards of single runs, each
the mean of its last ten steps, and dots the kept-out problems right after them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

from arttune.records import read_metrics
from arttune.report.plots import ACCENT, INK, running_mean

COLUMNS = {
    "mean reward": "reward",
    "tokens a completion": "completions/mean_length",
    "entropy": "entropy",
    "agreement": "trust/agreement",
    "change a step": "trust/change",
    "gap to the server": "sampling/sampling_logp_difference/mean",
    "seconds a step": "step_time",
    "of them rollout": "rollout/seconds",
}


def table(runs: list[list[dict[str, Any]]], every: int) -> str:
    """Means over the runs for each stretch of `every` steps, and the kept-out accuracy of each run at its end."""
    there = {name: key for name, key in COLUMNS.items() if all(any(key in line for line in run) for run in runs)}
    lines = ["steps    " + "   ".join(there) + "   kept-out problems right"]
    for first in range(1, max(run[-1]["step"] for run in runs) + 1, every):
        within = [[line for line in run if first <= line["step"] < first + every] for run in runs]
        means = [fmean(line[key] for run in within for line in run if key in line) for key in there.values()]
        judged = [f"{line['eval_accuracy']:.0%}" for run in within for line in run if "eval_accuracy" in line]
        cells = [f"{mean:{len(name)}.3g}" for name, mean in zip(there, means, strict=True)]
        lines.append(f"{first:3}-{first + every - 1:<5}" + "   ".join(cells) + "   " + ", ".join(judged))
    return "\n".join(lines)


def plot(runs: list[list[dict[str, Any]]], path: Path) -> None:
    figure, (top, low) = plt.subplots(2, 1, sharex=True, figsize=(7, 5))
    for run in runs:
        rewarded = [line for line in run if "reward" in line]
        smooth = running_mean([line["reward"] for line in rewarded])
        top.plot([line["step"] for line in rewarded], smooth, color=INK, linewidth=1, alpha=0.8)
        judged = [line for line in run if "eval_accuracy" in line]
        at, right = [line["step"] for line in judged], [line["eval_accuracy"] for line in judged]
        low.plot(at, right, color=ACCENT, marker="o", markersize=4, linewidth=1, alpha=0.8)
    top.set_ylabel("mean reward")
    low.set_ylabel("kept-out, strict")
    low.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    low.set_xlabel("optimiser step")
    for axis in (top, low):
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.15)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=50, help="steps in a row of the table")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    runs = [read_metrics(folder / "metrics.jsonl") for folder in args.runs]
    print(table(runs, args.every))
    for folder in args.runs:
        if (folder / "results.json").exists():
            shown = json.loads((folder / "results.json").read_text())["scores"]
            told = [
                f"{one['correct']}/{one['n']} = {one['accuracy']:.1%} [{one['ci95'][0]:.1%}, {one['ci95'][1]:.1%}]"
                for one in (shown[0], shown[-1])
            ]
            print(f"{folder.name}: test {' -> '.join(told)}, {shown[-1]['format_rate']:.0%} in form")
    if args.plot:
        plot(runs, args.plot)


if __name__ == "__main__":
    main()
