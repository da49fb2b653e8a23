"""`sft`: next-token loss on the supervised answers, through TRL's SFTTrainer.

The data set is text, the processing class a plain tokenizer, and the loss falls on the completion alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTConfig, SFTTrainer

from arttune.objectives.arguments import configured
from arttune.objectives.studio import Problems, Studio
from arttune.settings import Settings
from arttune.tasks import Problem


class ByLength(Sampler[int]):
    """Batches of similar length in random order, a new one each epoch that is known from seed and epoch alone.

    transformers' own `LengthGroupedSampler` draws from the global generator, so that a run resumed within an epoch
    would see other batches than an uninterrupted one; and it sorts within each stretch of batches, so that the loss
    swings from long problems to short ones and back.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        chance = torch.Generator().manual_seed(self.seed + self.epoch)
        rows = get_length_grouped_indices(self.lengths, self.batch_size, generator=chance)
        batches = [rows[k : k + self.batch_size] for k in range(0, len(rows), self.batch_size)]
        full = len(rows) // self.batch_size  # a smaller batch stays last, or it would shift the ones behind it
        order = [*torch.randperm(full, generator=chance).tolist(), *range(full, len(batches))]
        return iter([row for k in order for row in batches[k]])

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each epoch, counted from 0."""
        self.epoch = epoch


class Grouped(SFTTrainer):
    """An SFTTrainer whose batches hold rows of similar length: every row is padded to the longest of its batch."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in rows["input_ids"]]
        return ByLength(lengths, self.args.train_batch_size, self.args.seed)


def arguments(settings: Settings, problems: Problems, folder: Path, device: torch.device) -> SFTConfig:
    """Those of the trainer. Raises `BadInput`."""
    own = {"completion_only_loss": True, "max_length": None}
    return configured(SFTConfig, settings, problems, folder, device, own)


def sft(studio: Studio) -> Trainer:
    """The trainer of a supervised run; every training problem has its completion."""
    return studio.trainer(Grouped, studio.arguments(arguments), rows)


def rows(problems: list[Problem]) -> Dataset:
    """Problems as TRL's conversational prompt-completion data set."""
    turns = [{"role": "assistant", "content": p.completion} for p in problems]
    return Dataset.from_list(
        [{"prompt": p.prompt, "completion": [turn]} for p, turn in zip(problems, turns, strict=True)]
    )
