"""`grpo`: policy gradients from rewards (Shao et al. 2024, arXiv 2402.03300), through TRL's GRPOTrainer.

Completions are sampled by the model itself, or by servers that are shown the current painting.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import Trainer
from trl import GRPOConfig

from arttune.canvas import dither_
from arttune.errors import BadInput
from arttune.given import named_values
from arttune.objectives.arguments import configured
from arttune.objectives.policy import Grouped, Served
from arttune.objectives.rewards import rewards, try_out
from arttune.objectives.studio import Problems, Studio
from arttune.objectives.trust import Trust
from arttune.records import Listener
from arttune.rollouts import Pool, Rollouts, Server
from arttune.rollouts.rollouts import urls
from arttune.settings import Settings
from arttune.tasks import Problem
from arttune.tuner import art_layer

MODEL = "model"  # rollouts by the model itself


class Unmoved(Listener):
    """Says once when the first steps had nothing to learn from: every completion of a problem had the same reward."""

    STEPS = 5

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.alike = 0

    def heard(self, step: int, values: dict[str, float]) -> None:
        """`frac_reward_zero_std` is TRL's share of problems whose completions were all rewarded alike."""
        if "frac_reward_zero_std" not in values or step > self.STEPS:
            return
        self.alike += values["frac_reward_zero_std"] == 1
        if self.alike == self.STEPS:
            self.say(
                f"in the first {self.STEPS} steps all completions of a problem had the same reward, and without "
                "differences the picture does not move; try rewards that tell more of them apart (--rewards), a higher "
                "temperature, or a painting that can do a little already (--start)"
            )


def arguments(settings: Settings, problems: Problems, folder: Path, device: torch.device) -> GRPOConfig:
    """Those of the trainer. Raises `BadInput`, also for too few problems."""
    _, weights = rewards(settings.rewards, problems.task, problems.train)
    own = {
        "num_generations": settings.generations,
        "per_device_eval_batch_size": settings.generations,
        "max_completion_length": settings.max_new_tokens or problems.task.max_new_tokens,
        "temperature": settings.temperature,
        "beta": settings.beta or 0.0,
        "reward_weights": weights,
    }
    args = configured(GRPOConfig, settings, problems, folder, device, own)
    groups = args.generation_batch_size // args.num_generations
    if len(problems.train) < groups:  # TRL would leave out what it cannot sample at once, and end with nothing done
        raise BadInput(
            f"a step takes {groups} problems (batch_size times accumulate over generations, if trl does not say "
            f"otherwise), but there are only {len(problems.train)} to train on; use a smaller batch_size"
        )
    return args


def check(settings: Settings, problems: Problems, folder: Path, device: torch.device) -> None:
    """Make the arguments and try each reward once, which may cost something. Raises `BadInput`."""
    arguments(settings, problems, folder, device)
    try_out(rewards(settings.rewards, problems.task, problems.train)[0], problems.train[0])


def grpo(studio: Studio) -> Trainer:
    """The trainer of a reinforcement run; the training problems need no completion."""
    s = studio.settings
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # a warning of TRL's that rollout_func may change
    kind: type[Trainer] = Grouped
    rollouts: dict[str, Any] = {}
    if s.rollouts != MODEL:
        # A server that does not answer is given up in time for a second try.
        servers = [Server(url, timeout=s.patience / 2) for url in urls(s.rollouts)]
        pool = Pool(servers, patience=s.patience, warn=studio.say)
        kind = Served
        rollouts["rollout_func"] = Rollouts(pool, studio.folder, s.seed, named_values("template", s.template))
    functions, _ = rewards(s.rewards, studio.problems.task, studio.problems.train)
    trainer = studio.trainer(kind, studio.arguments(arguments), rows, reward_funcs=functions, **rollouts)
    trainer.add_callback(Unmoved(studio.say))
    if s.trust and studio.paints:
        canvas = art_layer(studio.model).canvas()
        if canvas.brush is None:
            dither_(canvas.weight, s.seed)  # its steps are short
        trainer.add_callback(Trust(trainer, canvas, s.trust))
    return trainer


def rows(problems: list[Problem]) -> Dataset:
    """Problems as TRL's conversational prompts; `problem` is the place of each in the list."""
    return Dataset.from_list([{"prompt": p.prompt, "problem": i} for i, p in enumerate(problems)])
