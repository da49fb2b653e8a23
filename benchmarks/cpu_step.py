"""What makes a training step fast on CPU: the precision, of products too, plain attention, batches of similar length.

    ARTTUNE_DATA=FOLDER python benchmarks/cpu_step.py | tee benchmarks/cpu_step.txt

A step is forward and backward of 16 SVAMP problems through `smol` on two threads, as `arttune train` runs it. The first
arm has none of the measures, the next ones add them one at a time, the last ones are the two precisions, and bfloat16
with products in float32, for processors that multiply that faster. Each arm is a process of its own, the arms take
turns, and what counts is the ratio of the median steps, since absolute times drift.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Precision, and whether attention is plain, lengths are grouped and products are float32.
ARMS = {
    "fused attention, random order": ("auto", False, False, False),
    "plain attention": ("auto", True, False, False),
    "both, float32": ("float32", True, True, False),
    "both, bfloat16": ("bfloat16", True, True, False),
    "and products in float32": ("bfloat16", True, True, True),
}
WARM = 1


def steps(dtype: str, plain: bool, grouped: bool, wide: bool, count: int) -> list[float]:
    """Seconds of `count` training steps in this process, after one to warm up."""
    import torch
    from peft import get_peft_model
    from transformers import TrainerCallback
    from trl import SFTTrainer

    from arttune import ArtConfig, machine
    from arttune.models import load_model
    from arttune.objectives import Problems, Studio
    from arttune.objectives.sft import sft
    from arttune.records import Metrics
    from arttune.settings import Settings
    from arttune.tasks import get_task

    torch.set_num_threads(2)
    machine.multiplies_float32_faster = lambda: wide
    loaded = load_model("smol", dtype)
    if not plain:
        loaded.model.set_attn_implementation({"text_config": "sdpa"})
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            self.begun = time.perf_counter()

        def on_step_end(self, *_: object, **__: object) -> None:
            times.append(time.perf_counter() - self.begun)

    settings = Settings(steps=WARM + count, batch_size=16, validation=0, threads=2)
    task = get_task(settings.task)
    config = ArtConfig(start="noise", family=loaded.family.name)
    model = get_peft_model(loaded.model, config)
    with tempfile.TemporaryDirectory() as folder:
        problems, metrics = Problems(task, task.load("train"), [], []), Metrics(Path(folder, "metrics.jsonl"))
        trainer = sft(Studio(settings, loaded, model, config, problems, metrics, Path(folder), print))
        trainer.add_callback(Clock())
        if not grouped:
            trainer._get_train_sampler = lambda rows=None: SFTTrainer._get_train_sampler(trainer, rows)
        trainer.train()
    return times[WARM:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="timed steps an arm and round")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", action="append", choices=list(ARMS), help="only this arm (repeatable)")
    parser.add_argument("--here", action="store_true", help="print the seconds of one arm's steps (used by itself)")
    options = parser.parse_args()
    arms = options.arm or list(ARMS)
    if options.here:
        print(json.dumps(steps(*ARMS[arms[0]], options.steps)))
        return
    from arttune.machine import describe

    times: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(options.rounds):
        for arm in arms:
            command = [sys.executable, __file__, "--here", "--arm", arm, "--steps", str(options.steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            times[arm] += json.loads(done.stdout.splitlines()[-1])
    first = statistics.median(next(iter(times.values())))
    print(f"{describe()}; {options.rounds} rounds of {options.steps} steps")
    for arm, taken in times.items():
        median = statistics.median(taken)
        print(f"{arm:30s} median {median:6.2f} s   {median / first:5.2f} of the first")
    if options.json:
        ratios = {f"{arm}/first": statistics.median(taken) / first for arm, taken in times.items()}
        options.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
