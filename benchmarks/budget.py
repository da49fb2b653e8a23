"""What a given training time buys: canvases of 64, 256 and 1,024 tokens and LoRA, against the same clock.

    ARTTUNE_DATA=FOLDER python benchmarks/budget.py --minutes 6 --seeds 0 1 2 --json budget.json --plot budget.png

Each arm trains alone for the same wall-clock time, its rate falling to zero over it along a cosine, and is scored at
each quarter with the clock stopped: strict accuracy on the first test problems, and the mean loss of their worked
answers, in nats a token, which is less of a lottery. LoRA's weights are float32, as PEFT has it, and, since that takes
longer, bfloat16 too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import matplotlib.pyplot as plt
import torch

from arttune.evaluate import evaluate
from arttune.machine import describe, keep_freed_memory
from arttune.report.plots import ACCENT, INK
from arttune.tasks import Problem, get_task
from steps import Arm, batches, parser

WARMUP = 10  # steps
QUARTERS = 4


@dataclass(frozen=True)
class Plan:
    """An arm, the tokens of its canvas, and its peak learning rate."""

    title: str
    kind: str
    tokens: int
    rate: float


PLANS = (
    Plan("64 tokens", "art", 64, 0.02),
    Plan("256 tokens", "art", 256, 0.02),
    Plan("1,024 tokens", "art", 1024, 0.02),
    Plan("LoRA, 3e-4", "float32 lora", 0, 3e-4),
    Plan("LoRA, 1e-3", "float32 lora", 0, 1e-3),
    Plan("LoRA, 1e-3, bfloat16", "lora", 0, 1e-3),
)


@dataclass(frozen=True)
class Point:
    """How an arm did after some seconds of training."""

    seconds: float
    steps: int
    correct: int
    accuracy: float
    ci95: tuple[float, float]
    loss: float


@torch.no_grad()
def loss(arm: Arm, problems: list[Problem], size: int = 50) -> float:
    """Mean over the answers' tokens, in nats."""
    arm.model.eval()
    total, count = 0.0, 0
    for begin in range(0, len(problems), size):
        batch = arm.batch(problems[begin : begin + size])
        labels = int((batch["labels"][:, 1:] != -100).sum())
        total += float(arm.model(**batch, use_cache=False, fused_lm_head=True).loss) * labels
        count += labels
    arm.model.train()
    return total / count


def trained(
    plan: Plan, seed: int, args: argparse.Namespace, work: Iterator[list[Problem]], test: list[Problem]
) -> list[Point]:
    """The points of one arm."""
    torch.manual_seed(seed)
    arm = Arm(plan.kind, args.model, plan.tokens, args.dtype)
    task, points, clock, steps = get_task(args.task), [], 0.0, 0
    while len(points) < QUARTERS:
        done = clock / (60 * args.minutes)
        for group in arm.optimizer.param_groups:
            group["lr"] = plan.rate * min(1, (steps + 1) / WARMUP) * (1 + math.cos(math.pi * min(1, done))) / 2
        clock += arm.step(arm.batch(next(work)))
        steps += 1
        if clock < 60 * args.minutes * (len(points) + 1) / QUARTERS:
            continue
        score, _ = evaluate(
            arm.model,
            arm.loaded.tokenizer,
            task,
            test,
            split="test",
            model_name=args.model,
            adapter=plan.kind.split()[-1],
            seed=seed,
            picture_tokens=plan.tokens,
        )
        points.append(Point(clock, steps, score.correct, score.accuracy, score.ci95, loss(arm, test)))
        print(
            f"  {plan.title:20} {seed:4} {clock:8.0f} {steps:8} {score.correct:6} of {score.n} {score.accuracy:9.1%} "
            f"[{score.ci95[0]:5.1%}, {score.ci95[1]:5.1%}] {points[-1].loss:8.3f}",
            flush=True,
        )
    return points


def plot(found: dict[Plan, list[list[Point]]], args: argparse.Namespace) -> None:
    """Accuracy and loss against the clock: a line an arm, the mean over its seeds, and a dot a seed."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.6))
    lines = {kind: itertools.cycle(["-", "--", ":"]) for kind in (True, False)}
    for plan, seeds in found.items():
        art = plan.kind == "art"
        colour, line = ACCENT if art else INK, next(lines[art])
        minutes = [statistics.mean(point.seconds / 60 for point in points) for points in zip(*seeds, strict=True)]
        for axis, value in ((left, lambda point: 100 * point.accuracy), (right, lambda point: point.loss)):
            means = [statistics.mean(map(value, points)) for points in zip(*seeds, strict=True)]
            axis.plot(minutes, means, color=colour, linestyle=line, label=f"{plan.title}; seeds: {len(seeds)}")
            for points in seeds:
                axis.plot(minutes, list(map(value, points)), ".", color=colour, alpha=0.4)
    left.set_ylabel(f"{args.task}, first {args.test} test problems right, %")
    left.set_ylim(bottom=0)
    right.set_ylabel("loss of the worked answers, nats a token")
    right.set_yscale("log")
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if round(10 * value) in (5, 6, 7, 8, 20, 30) else "")
    right.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for axis in (left, right):
        axis.set_xlabel("minutes of training")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.15)
    figure.tight_layout()
    figure.savefig(args.plot, dpi=140)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=6)
    options.add_argument("--batch-size", type=int, default=8)
    options.add_argument("--test", type=int, default=300, help="problems to score")
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--arm", action="append", choices=[plan.title for plan in PLANS], help="only this, repeatable")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    test = get_task(args.task).load("test")[: args.test]
    print(f"{args.model}, {args.task} in batches of {args.batch_size}, {args.dtype}; {describe()}")
    print("  arm                  seed  seconds    steps       correct  accuracy                   loss")
    chosen = [plan for plan in PLANS if args.arm is None or plan.title in args.arm]
    found: dict[Plan, list[list[Point]]] = {plan: [] for plan in chosen}
    for seed, plan in itertools.product(args.seeds, chosen):
        found[plan].append(trained(plan, seed, args, batches(args.task, args.batch_size, seed=seed), test))
    if args.plot:
        plot(found, args)
    if args.json:
        last = {plan: statistics.mean(points[-1].loss for points in seeds) for plan, seeds in found.items()}
        ratios = {f"loss {plan.title}/{chosen[0].title}": loss / last[chosen[0]] for plan, loss in last.items()}
        arms = {
            plan.title: {seed: list(map(asdict, points)) for seed, points in zip(args.seeds, seeds, strict=True)}
            for plan, seeds in found.items()
        }
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe(), "arms": arms}, indent=2) + "\n")


if __name__ == "__main__":
    main()
