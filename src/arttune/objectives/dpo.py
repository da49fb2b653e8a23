"""`dpo`: direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290), through TRL's DPOTrainer.

The reference is the canvas as it started, shown by the same model.
"""

from __future__ import annotations

from pathlib import Path

import torch
from datasets import Dataset
from transformers import Trainer
from trl import DPOConfig, DPOTrainer

from arttune.objectives.arguments import configured
from arttune.objectives.studio import Problems, Studio
from arttune.settings import Settings
from arttune.tasks import Problem


def arguments(settings: Settings, problems: Problems, folder: Path, device: torch.device) -> DPOConfig:
    """Those of the trainer. Raises `BadInput`."""
    beta = {} if settings.beta is None else {"beta": settings.beta}
    return configured(DPOConfig, settings, problems, folder, device, beta | {"max_length": None})


def dpo(studio: Studio) -> Trainer:
    """The trainer of a run on preferences; every training problem has a chosen and a rejected reply."""
    return studio.trainer(DPOTrainer, studio.arguments(arguments), rows)


def rows(problems: list[Problem]) -> Dataset:
    """Problems as TRL's conversational preferences."""

    def turn(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    return Dataset.from_list(
        [
            {"prompt": p.prompt, "chosen": turn(p.columns["chosen"]), "rejected": turn(p.columns["rejected"])}
            for p in problems
        ]
    )
