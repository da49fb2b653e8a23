"""Draws how a training run learned, a panel for each stage, from its `log.jsonl`.

python training/vision_tower/curve.py runs/tower
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

STAGES = ("spell", "codes", "see", "write", "read")
# What is no share of something right.
OTHER = ("stage", "step", "seconds", "loss", "named", "off", "harm")


def curve(lines: list[dict[str, Any]], path: Path) -> None:
    """Shares of right answers over the steps of each stage that has lines in the log, as a PNG.

    Each point is the mean of as many lines of the log as make a twelfth of the stage, up to it.
    """
    stages = [stage for stage in STAGES if any(line["stage"] == stage for line in lines)]
    figure, axes = plt.subplots(len(stages), 1, figsize=(8, 2.8 * len(stages)), squeeze=False)
    for axis, stage in zip(axes.flat, stages, strict=True):
        mine = [line for line in lines if line["stage"] == stage]
        axis.set_prop_cycle(color=plt.get_cmap("tab20").colors)
        for name in sorted({key for line in mine for key in line} - set(OTHER)):
            points = [(line["step"], line[name]) for line in mine if name in line]
            window = max(1, len(points) // 12)
            means = [
                (points[i][0], sum(value for _, value in points[max(0, i + 1 - window) : i + 1]) / min(i + 1, window))
                for i in range(len(points))
            ]
            axis.plot(*zip(*means, strict=True), linewidth=1.4, label=name)
        axis.set_title(f"{stage}: {mine[-1]['seconds'] / 60:.0f} min since its last start", fontsize=10)
        axis.set_ylim(0, 1)
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.15)
        axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[-1][0].set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run of train.py; curve.png goes there")
    run = parser.parse_args().run
    if not (run / "log.jsonl").is_file():
        parser.error(f"{run}/log.jsonl is not there; give the --out folder of train.py")
    curve([json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()], run / "curve.png")
    print(run / "curve.png")


if __name__ == "__main__":
    main()
