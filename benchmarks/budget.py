"""What a given training time buys: canvases of 64, 256 and 1,024 tokens and LoRA, against the same clock.

    ARTTUNE_DATA=FOLDER python benchmarks/budget.py --minutes 6 --json budget.json --plot budget.png

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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

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


def trained(plan: Plan, args: argparse.Namespace, work: Iterator[list[Problem]], test: list[Problem]) -> list[Point]:
    """The points of one arm."""
    torch.manual_seed(args.seed)
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
            seed=args.seed,
            picture_tokens=plan.tokens,
        )
        points.append(Point(clock, steps, score.correct, score.accuracy, score.ci95, loss(arm, test)))
        print(
            f"  {plan.title:20} {clock:8.0f} {steps:8} {score.correct:6} of {score.n} {score.accuracy:9.1%} "
            f"[{score.ci95[0]:5.1%}, {score.ci95[1]:5.1%}] {points[-1].loss:8.3f}",
            flush=True,
        )
    return points


def plot(found: dict[Plan, list[Point]], args: argparse.Namespace) -> None:
    """Accuracy and loss against the clock, a line an arm."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    lines = {kind: itertools.cycle(["-", "--", ":"]) for kind in (True, False)}
    for plan, points in found.items():
        art = plan.kind == "art"
        style: dict[str, Any] = {"marker": "o", "color": ACCENT if art else INK, "label": plan.title}
        style["linestyle"] = next(lines[art])
        minutes = [point.seconds / 60 for point in points]
        left.plot(minutes, [100 * point.accuracy for point in points], **style)
        right.plot(minutes, [point.loss for point in points], **style)
    left.set_ylabel(f"{args.task}, first {args.test} test problems right, %")
    left.set_ylim(bottom=0)
    right.set_ylabel("loss of the worked answers, nats a token")
    right.legend(frameon=False)
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
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--arm", action="append", choices=[plan.title for plan in PLANS], help="only this, repeatable")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    test = get_task(args.task).load("test")[: args.test]
    print(f"{args.model}, {args.task} in batches of {args.batch_size}, {args.dtype}; {describe()}")
    print("  arm                   seconds    steps       correct  accuracy                   loss")
    found = {}
    for plan in PLANS:
        if args.arm is None or plan.title in args.arm:
            found[plan] = trained(plan, args, batches(args.task, args.batch_size, seed=args.seed), test)
    if args.plot:
        plot(found, args)
    if args.json:
        first = next(iter(found.values()))[-1].loss
        ratios = {
            f"loss {plan.title}/{next(iter(found)).title}": points[-1].loss / first for plan, points in found.items()
        }
        arms = {plan.title: [asdict(point) for point in points] for plan, points in found.items()}
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe(), "arms": arms}, indent=2) + "\n")


if __name__ == "__main__":
    main()
