"""What a training step costs: ART, beside LoRA, a soft prompt, ART without sharing, and a picture in every row.

    ARTTUNE_DATA=FOLDER python benchmarks/step_time.py --model smol --json step_time.json --plot step_time.png

All arms train on the same batches in one process and take turns; what counts is the ratio of their median steps, since
absolute times drift. `floor` is how long the arithmetic of ART's own step takes at the rate of large matrix products.
Peak memory is that of a process for each arm, the model included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from arttune.machine import describe, keep_freed_memory
from arttune.report.plots import ACCENT, INK
from steps import Arm, batches, interleaved, parser, peak, rate

ARMS = ("art", "unshared", "naive", "lora", "trl lora", "soft prompt")
TITLES = {"art": "ART", "unshared": "ART, every row whole", "naive": "ART, a picture in every row"}
TITLES |= {"lora": "LoRA", "trl lora": "LoRA as TRL has it"}


def memory(args: argparse.Namespace, name: str) -> int:
    """Peak bytes of a few steps of an arm, in a process of its own."""
    same = ["--model", args.model, "--task", args.task, "--batch-size", str(args.batch_size), "--dtype", args.dtype]
    more = ["--tokens", str(args.tokens), "--threads", str(args.threads), "--arm", name, "--here"]
    done = subprocess.run([sys.executable, __file__, *same, *more], stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def plot(seconds: dict[str, float], floor: float, path: Path) -> None:
    """A bar for each arm, and the floor under ART's."""
    figure, axis = plt.subplots(figsize=(7, 0.55 * len(seconds) + 1.2))
    names = list(seconds)[::-1]
    axis.barh(
        [TITLES.get(name, name) for name in names],
        [seconds[name] for name in names],
        color=[ACCENT if name == "art" else INK for name in names],
    )
    axis.axvline(floor, color=ACCENT, linestyle=":", label="ART's arithmetic at the rate of large matrix products")
    axis.set_xlabel("seconds a step")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--batch-size", type=int, default=16)
    options.add_argument("--tokens", type=int, default=64, help="of the canvas, a square, and of the soft prompt")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--arm", action="append", choices=ARMS, help="only this arm (repeatable)")
    options.add_argument("--here", action="store_true", help="print one arm's peak memory (used by itself)")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    names, work = args.arm or list(ARMS), batches(args.task, args.batch_size)
    if args.here:
        arm = Arm(names[0], args.model, args.tokens, args.dtype)
        steps = [arm.batch(next(work)) for _ in range(3)]
        print(peak(lambda: [arm.step(batch) for batch in steps], arm.loaded.model.device))
        return
    arms = [Arm(name, args.model, args.tokens, args.dtype) for name in names]
    model = arms[0].loaded.model
    seconds = interleaved({arm.name: arm for arm in arms}, args.rounds, work)
    counted = next(batches(args.task, args.batch_size))
    flops = {arm.name: arm.flops(arm.batch(counted)) for arm in arms}
    best = rate(model.dtype, model.device)
    floor = flops[names[0]] / best
    del arms, model
    used = {name: memory(args, name) for name in names}
    print(
        f"{args.model}, {args.task} in batches of {args.batch_size}, {args.tokens} tokens, {args.dtype}; {describe()}"
    )
    print("                seconds a step   of the first   TFLOP a step   share of the best rate   peak memory")
    for name in names:
        share = flops[name] / seconds[name] / best
        print(
            f"  {name:12} {seconds[name]:14.3f} {seconds[name] / seconds[names[0]]:14.2f} {flops[name] / 1e12:14.3f} "
            f"{share:24.0%} {used[name] / 2**30:9.2f} GiB"
        )
    print(f"  floor: {floor:.3f} s, the arithmetic of {names[0]} at {best / 1e12:.3f} TFLOP/s")
    if args.plot:
        plot(seconds, floor, args.plot)
    if args.json:
        first, others = names[0], names[1:]
        ratios = {f"{first}/{name}".replace(" ", "-"): seconds[first] / seconds[name] for name in others}
        ratios |= {f"{first}/{name} memory".replace(" ", "-"): used[first] / used[name] for name in others}
        ratios[f"{first}/floor"] = seconds[first] / floor
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
