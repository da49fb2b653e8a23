"""`dpo`: direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290), through TRL's DPOTrainer.

The reference is the canvas as it started, shown by the same model.
"""

from __future__ import annotations

from datasets import Dataset
from transformers import Trainer
from trl import DPOConfig, DPOTrainer

from arttune.objectives.studio import Studio
from arttune.tasks import Problem


def dpo(studio: Studio) -> Trainer:
    """The trainer of a run on preferences; every training problem has a chosen and a rejected reply."""
    beta = {} if studio.settings.beta is None else {"beta": studio.settings.beta}
    args = studio.configured(DPOConfig, beta | {"max_length": None})
    return studio.trainer(DPOTrainer, args, rows)


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
