"""`dpo`: direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290), through TRL's DPOTrainer.

The reference is the canvas as it started, shown by the same model.
"""

from __future__ import annotations

from datasets import Dataset
from transformers import Trainer
from trl import DPOConfig, DPOTrainer

from arttune.objectives.studio import Studio, judged
from arttune.prompts import prepare
from arttune.tasks import Problem


def dpo(studio: Studio) -> Trainer:
    """The trainer of a run on preferences; every training problem has a chosen and a rejected reply."""
    s = studio.settings
    beta = {} if s.beta is None else {"beta": s.beta}
    return judged(DPOTrainer, studio)(
        model=studio.model,
        args=studio.configured(DPOConfig, beta | {"max_length": None}),
        train_dataset=prepare(rows(studio.train), studio.loaded.tokenizer, studio.config),
        processing_class=studio.loaded.tokenizer,
        optimizers=(studio.optimizer(), None),
        callbacks=studio.callbacks,
    )


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
