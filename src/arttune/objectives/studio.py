"""What every objective is given, and the trainer behaviour they share: validation is a strict score, not a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from arttune import adapters
from arttune.evaluate import Z95, Decoding, Sample, Score, evaluate
from arttune.machine import make_room
from arttune.models import Loaded
from arttune.objectives.head import suit_cpu
from arttune.prompts import prepare
from arttune.records import Bar, Metrics, Recorder
from arttune.report.frames import Frames
from arttune.settings import Settings
from arttune.style.likeness import alike
from arttune.tasks import Problem, Task
from arttune.tuner import ArtConfig, art_layer

# `CanvasMuon`'s, where gradients are made from rewards.
MEMORY = 0.97


@dataclass
class Problems:
    """The three sets a run works with; the test set is only looked at when the painting is finished."""

    task: Task
    train: list[Problem]
    validation: list[Problem]
    test: list[Problem]

    def poster(self, shown: int = 2) -> str:
        """The task's name, and the shortest of its training problems with their answers."""
        told = [(one.question.strip(), one.completion or one.answer) for one in self.train]
        brief = sorted((len(q) + len(a), f"{q}\n{a}") for q, a in told if a)[:shown]
        return "\n".join([self.task.name.rpartition(":")[2].replace("_", " "), *(text for _, text in brief)])


@dataclass
class Studio:
    """A canvas on its easel: the model that looks at it, the problems to paint from, and how it is judged.

    Or another adapter that is to be compared with it. `config` is the canvas's in any case.
    """

    settings: Settings
    loaded: Loaded
    model: PeftModel
    config: ArtConfig
    problems: Problems
    metrics: Metrics
    folder: Path
    say: Callable[[str], None]

    def score(
        self, model: Any, problems: list[Problem], split: str, progress: Callable[[int], None] = lambda done: None
    ) -> tuple[Score, list[Sample]]:
        """Strict score of a model that sees the canvas, or a painting, or of the text-only one."""
        shown = isinstance(model, PeftModel)
        return evaluate(
            model,
            self.loaded.tokenizer,
            self.problems.task,
            problems,
            split=split,
            model_name=self.settings.model,
            adapter=self.settings.adapter if shown else "none",
            seed=self.settings.seed,
            picture_tokens=self.config.tokens if shown and self.paints else 0,
            decoding=Decoding(
                self.settings.max_new_tokens or self.problems.task.max_new_tokens,
                presence_penalty=self.settings.presence_penalty,
            ),
            progress=progress,
        )

    @property
    def paints(self) -> bool:
        """Whether it is a canvas that is trained."""
        return self.settings.adapter == adapters.ART

    def figures(self) -> dict[str, float]:
        """How the canvas looked in the last step, in the numbers of its taste."""
        canvas = art_layer(self.model).canvas() if self.paints else None
        tasted = [canvas.taste, canvas.tower] if canvas else []
        return {name: value for one in tasted if one is not None for name, value in one.figures.items()}

    def likeness(self) -> dict[str, float]:
        """How like its start the canvas is now, if it is one with room for that."""
        if not self.paints:
            return {}
        layer = art_layer(self.model)
        found = alike(layer.painting().pixels, layer.canvas().start)
        return {} if found is None else {"likeness": found}

    def _frames(self) -> list[Frames]:
        return [Frames(self.folder, art_layer(self.model).painting)] if self.paints else []

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of the adapter, for a trainer's `optimizers`; the trainer schedules its rate."""
        memory = MEMORY if self.settings.objective == "grpo" else 0.0
        return adapters.optimizer(self.model, self.settings.rate, memory)

    def arguments(self, arguments: Callable[..., Any]) -> Any:
        """The objective's `arguments` of this run."""
        return arguments(self.settings, self.problems, self.folder, self.model.device)

    def trainer(self, kind: type[Trainer], args: Any, rows: Callable[[list[Problem]], Dataset], **own: Any) -> Trainer:
        """A trainer of `kind` whose data sets `rows` makes of problems, with the `own` arguments of an objective."""

        def dataset(problems: list[Problem]) -> Dataset:
            made = rows(problems)
            return prepare(made, self.loaded.tokenizer, self.config) if self.paints else made

        if self.model.device.type == "cpu":
            suit_cpu()
        held = self.problems.validation
        trainer = judged(kind, self)(
            model=self.model,
            args=args,
            train_dataset=dataset(self.problems.train),
            eval_dataset=dataset(held) if held else None,
            processing_class=self.loaded.tokenizer,
            optimizers=(self.optimizer(), None),
            callbacks=[Recorder(self.metrics), *self._frames(), Room()],
            **own,
        )
        if not self.paints:
            adapters.project_labels_alone(self.model)
            adapters.share_prompts(self.model)
        trainer.remove_callback(ProgressCallback)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Bar())
        return trainer


class Room(TrainerCallback):
    """Gives freed memory back between steps, where it gets scarce."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After each step."""
        make_room()


def judged(trainer: type[Trainer], studio: Studio) -> type[Trainer]:
    """`trainer` whose `evaluate` scores the current painting strictly on the validation problems."""

    # A base class that is an argument is beyond the type checker.
    class Judged(trainer):  # type: ignore[misc, valid-type]
        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            # Where a checkpoint holds a second adapter too (the reference of grpo and dpo), transformers' own would
            # load that one alone, and the painting would start anew. The reference is the start, and is made again.
            studio.model.load_adapter(resume_from_checkpoint, "default", is_trainable=True)

        def log(self, logs: dict[str, float], *rest: Any) -> None:
            super().log(logs | studio.figures() if "loss" in logs else logs, *rest)

        def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
            score = studio.score(studio.model, studio.problems.validation, "validation")[0]
            low, high = score.ci95
            metrics = {
                f"{metric_key_prefix}_accuracy": score.accuracy,
                f"{metric_key_prefix}_accuracy_low": low,
                f"{metric_key_prefix}_accuracy_high": high,
                f"{metric_key_prefix}_format_rate": score.format_rate,
                f"{metric_key_prefix}_seconds": score.seconds,
            }
            metrics |= {f"{metric_key_prefix}_{name}": value for name, value in studio.likeness().items()}
            self.log(metrics)
            self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            # A painting that has learned longer is kept unless an earlier one leads by more than chance: by a standard
            # error of so few problems over the whole run, by its share of one over a part of it.
            chance = (high - low) / (2 * Z95)
            done = self.state.global_step / studio.settings.steps
            return metrics | {f"{metric_key_prefix}_rank": score.accuracy + chance * done}

    return Judged
