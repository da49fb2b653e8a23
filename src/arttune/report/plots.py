"""Pictures of a run, how it learned and how the canvas changed, and of several: how they learned beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from arttune.canvas import LEVELS

INK, ACCENT = "#30343c", "#c8553d"
COLOURS = {"art": ACCENT, "lora": INK, "soft-prompt": "#4f8a8b"}
LABELS = {"loss": "loss", "reward": "mean reward"}
WINDOW = 20  # steps of a curve beside others
FURTHER = ("#b08968", "#7d5ba6", "#6a994e", "#3d78c8", "#d98c2b", "#c05a8e", "#2a9d8f", "#8a8f98", "#9c4a3c")

Lines = list[dict[str, Any]]  # of a metrics.jsonl


def learning_curve(lines: Lines, path: Path, title: str) -> None:
    """Reward or else loss of every step (and its running mean) over the validation accuracy with its interval.

    Where there are rewards, the loss is made of advantages, whose mean is about zero: it says nothing.
    """
    shown = learned_by(lines)
    steps, values = course(lines, shown)
    judged = [line for line in lines if "eval_accuracy" in line]
    figure, axes = plt.subplots(2 if judged else 1, 1, sharex=True, figsize=(7, 5 if judged else 3), squeeze=False)
    top = axes[0][0]
    top.plot(steps, values, color=INK, alpha=0.25, linewidth=1)
    top.plot(steps, running_mean(values), color=INK, linewidth=1.8)
    top.set_ylabel(LABELS[shown])
    if judged:
        low = axes[1][0]
        at = [line["step"] for line in judged]
        mean = [line["eval_accuracy"] for line in judged]
        low.fill_between(
            at,
            [line["eval_accuracy_low"] for line in judged],
            [line["eval_accuracy_high"] for line in judged],
            color=ACCENT,
            alpha=0.18,
            linewidth=0,
            label="95 % interval",
        )
        low.plot(at, mean, color=ACCENT, marker="o", markersize=4, linewidth=1.8, label="validation, strict")
        low.set_ylabel("accuracy")
        low.set_ylim(bottom=0)
        low.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        low.legend(frameon=False, loc="upper left")
    axes[-1][0].set_xlabel("optimiser step")
    axes[-1][0].set_xlim(left=0)
    axes[-1][0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for row in axes:
        row[0].spines[["top", "right"]].set_visible(False)
        row[0].grid(alpha=0.15)
    figure.suptitle(title, fontsize=11, parse_math=False)  # names may have dollar signs
    figure.tight_layout()
    figure.savefig(path, dpi=140)
    plt.close(figure)


def learning_curves(runs: Mapping[str, Sequence[Lines]], path: Path, title: str) -> None:
    """Running means of loss or reward, a faint line a run, a strong one for the mean of those of the same name."""
    shown = learned_by([line for each in runs.values() for lines in each for line in lines])
    further = iter(FURTHER * len(runs))
    figure, axis = plt.subplots(figsize=(7, 4))
    for name, each in runs.items():
        colour = COLOURS.get(name) or next(further)
        courses = [course(lines, shown) for lines in each]
        for steps, values in courses:
            axis.plot(steps, running_mean(values, WINDOW), color=colour, linewidth=0.8, alpha=0.3)
        most = min(len(values) for _, values in courses)
        mean = np.mean([values[:most] for _, values in courses], axis=0).tolist()
        axis.plot(courses[0][0][:most], running_mean(mean, WINDOW), color=colour, linewidth=1.8, label=name)
    if shown == "loss":  # of which halves count, not differences
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter("{:g}".format))
        axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylabel(f"{LABELS[shown]}, mean of {WINDOW} steps")
    axis.set_xlabel("optimiser step")
    axis.set_xlim(left=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.15)
    axis.legend(frameon=False)
    figure.suptitle(title, fontsize=11, parse_math=False)  # names may have dollar signs
    figure.tight_layout()
    figure.savefig(path, dpi=140)
    plt.close(figure)


def learned_by(lines: Lines) -> str:
    """What shows how these runs learned: the reward where there is one, else the loss."""
    return "reward" if any("reward" in line for line in lines) else "loss"


def course(lines: Lines, shown: str) -> tuple[list[int], list[float]]:
    """The steps that have a figure of that name which is a number, and the figures."""
    there = [line for line in lines if math.isfinite(line.get(shown, math.nan))]
    return [line["step"] for line in there], [line[shown] for line in there]


def start_and_end(start: torch.Tensor, end: torch.Tensor, path: Path) -> None:
    """The canvas before and after, and the change between them, stretched. uint8 `(3, H, W)`."""
    shown, times = stretched(start, end)
    mean = float((end.float() - start.float()).abs().mean())
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.5))
    panels = (
        (np.asarray(start.permute(1, 2, 0)), "start"),
        (np.asarray(end.permute(1, 2, 0)), "end"),
        (shown.permute(1, 2, 0).numpy(), f"change, x{times:.1f} (mean {mean:.0f} of 255)"),
    )
    for axis, (picture, title) in zip(axes, panels, strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=10, color=INK)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=140)
    plt.close(figure)


def stretched(start: torch.Tensor, end: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The change between uint8 pictures, as a float one in [0, 1] that is grey where there is none, and its scale.

    It is stretched to its 98th percentile: a few extreme pixels would otherwise leave the rest grey.
    """
    change = end.float() - start.float()
    reach = max(float(np.quantile(change.abs().numpy(), 0.98)), 1.0)
    return (change / (2 * reach) + 0.5).clamp(0, 1), LEVELS / 2 / reach


def running_mean(values: list[float], window: int = 10) -> list[float]:
    """The mean of each value and those before it, `window` in all or as many as there are; as long as `values`."""
    return [sum(values[max(0, i - window + 1) : i + 1]) / min(i + 1, window) for i in range(len(values))]
