"""`sft`: next-token loss on the supervised answers, through TRL's SFTTrainer.

The data set is text, the processing class a plain tokenizer, and the loss falls on the completion alone.
"""

from __future__ import annotations

from datasets import Dataset
from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from arttune.objectives.studio import Studio, judged
from arttune.prompts import prepare
from arttune.tasks import Problem


def sft(studio: Studio) -> Trainer:
    """The trainer of a supervised run; every training problem has its completion."""
    dataset = prepare(rows(studio.train), studio.loaded.tokenizer, studio.config)
    held = rows(studio.validation) if studio.validation else None
    return judged(SFTTrainer, studio)(
        model=studio.model,
        args=SFTConfig(**studio.arguments(), completion_only_loss=True, max_length=None),
        train_dataset=dataset,
        eval_dataset=prepare(held, studio.loaded.tokenizer, studio.config) if held else None,
        processing_class=studio.loaded.tokenizer,
        callbacks=studio.callbacks,
    )


def rows(problems: list[Problem]) -> Dataset:
    """Problems as TRL's conversational prompt-completion data set."""
    turns = [{"role": "assistant", "content": p.completion} for p in problems]
    return Dataset.from_list(
        [{"prompt": p.prompt, "completion": [turn]} for p, turn in zip(problems, turns, strict=True)]
    )
