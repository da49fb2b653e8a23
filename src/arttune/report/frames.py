"""Pictures of a canvas while it is painted: what a gallery's slider and a film are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arttune.canvas import Painting

FOLDER = "frames"
COUNT = 24  # after the start


def moments(steps: int) -> list[int]:
    """The steps of a run that are kept: the start, the end, and `COUNT` - 1 between them, denser at the beginning.

    Most of what is to be seen happens early, so they lie as squares do.
    """
    return sorted({round(steps * (k / COUNT) ** 2) for k in range(COUNT + 1)})


def file(folder: Path, step: int) -> Path:
    """Where the picture of a step is in a run's folder."""
    return folder / FOLDER / f"{step:06d}.png"


def kept(folder: Path) -> dict[int, Path]:
    """The pictures there are in a run's folder, by step."""
    there = sorted((folder / FOLDER).glob("*.png"))
    return {int(path.stem): path for path in there if path.stem.isdecimal()}


class Frames(TrainerCallback):
    """Saves what `painting` shows at the moments of a run."""

    def __init__(self, folder: Path, painting: Callable[[], Painting]) -> None:
        self.folder, self.painting = folder, painting
        self.due: set[int] = set()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Plans the moments; the first is now."""
        self.due = set(moments(state.max_steps))
        (self.folder / FOLDER).mkdir(exist_ok=True)
        self._take(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A picture, if it is due."""
        self._take(state.global_step)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What was judged may become the painting, so that is kept too, unless it is judged more often than that."""
        if state.max_steps <= COUNT * state.eval_steps:
            self.due.add(state.global_step)
            self._take(state.global_step)

    def _take(self, step: int) -> None:
        if step in self.due:
            Painting(self.painting().pixels).save(file(self.folder, step))
