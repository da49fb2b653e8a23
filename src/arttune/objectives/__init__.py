"""Objectives by name. Each is one thin file: a TRL trainer, its arguments, nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import Trainer

from arttune.objectives import dpo, grpo, sft
from arttune.objectives.studio import Problems, Studio
from arttune.settings import Settings


class Objective(NamedTuple):
    """What makes a run's trainer. Both raise `BadInput` for what cannot work, the first before there is a run."""

    check: Callable[[Settings, Problems, Path, torch.device], Any]
    trainer: Callable[[Studio], Trainer]


OBJECTIVES = {
    "sft": Objective(sft.arguments, sft.sft),
    "grpo": Objective(grpo.check, grpo.grpo),
    "dpo": Objective(dpo.arguments, dpo.dpo),
}

__all__ = ["OBJECTIVES", "Problems", "Studio"]
