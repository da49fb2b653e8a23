"""What a run leaves behind while it goes: a line of metrics a step, a progress bar, and checkpoints to resume from.

Its folder is held by one process at a time.
"""

from __future__ import annotations

import json
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arttune.errors import BadInput

# Files of a run's folder.
RESULTS, METRICS, SAMPLES = "results.json", "metrics.jsonl", "samples.jsonl"
PICTURE, WEIGHTS = "art.png", "adapter_model.safetensors"  # that hold a painting, or another adapter
LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within the block no other process may hold `folder`. Raises `BadInput` if one does; a killed one no longer does.

    Two that go on with the same run would each write over the other's checkpoints.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BadInput(f"another process is at work in {folder}; wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()


class Metrics:
    """`metrics.jsonl`: one JSON line a step, in step order, whatever interruptions there were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = read_metrics(path)
        if self.lines:
            self._write()  # without what a kill cut off, or the next line would be glued to it

    def clear(self) -> None:
        """Start the file anew."""
        self.path.write_text("")
        self.lines = []

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Record `values` at `step`. A later record of the same step joins its line; steps after it are dropped."""
        kept = [line for line in self.lines if line["step"] <= step]
        fits = len(kept) == len(self.lines) and (not kept or kept[-1]["step"] < step)
        if fits:
            self.lines.append({"step": step} | values)
            with self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(self.lines[-1]) + "\n")
            return
        if kept and kept[-1]["step"] == step:
            kept[-1] |= values
        else:
            kept.append({"step": step} | values)
        self.lines = kept
        self._write()

    def _write(self) -> None:
        write_lines(self.path, self.lines)


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """Every answer of a finished run. Raises `BadInput` if they cannot be read."""
    path = folder / SAMPLES
    try:
        with path.open(encoding="utf-8") as lines:  # `splitlines` would cut at more than \n
            return [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """The scores of a finished run, the untrained one first. Raises `BadInput` if they cannot be read."""
    path = folder / RESULTS
    try:
        scores: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["scores"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from None
    return scores


def damaged(path: Path, error: Exception) -> BadInput:
    """What to raise for a file of a run's folder that cannot be read."""
    return BadInput(f"{path} is damaged or cannot be read ({error}); copy it again from where the run was made")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a `metrics.jsonl`; a last line cut off by a kill is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, however the process ends."""
    scratch = path.with_name(f".{path.name}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """`write_whole` of JSON Lines."""
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


class Listener(TrainerCallback, ABC):
    """Hears the figures that the trainer logs, step by step."""

    @abstractmethod
    def heard(self, step: int, values: dict[str, float]) -> None:
        """One log of the trainer."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Passes a log on; the trainer's closing summary is not a step and is left out."""
        if logs and "train_runtime" not in logs:
            self.heard(state.global_step, {k: v for k, v in logs.items() if isinstance(v, (int, float))})


class Recorder(Listener):
    """Writes everything the trainer logs to `metrics.jsonl`."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.since = time.perf_counter()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Starts the clock."""
        self.since = time.perf_counter()

    def heard(self, step: int, values: dict[str, float]) -> None:
        """A line of the file with the seconds since the last, or more of the last one (what validations take is not a
        step's)."""
        now = time.perf_counter()
        took = {} if any(name.startswith("eval_") for name in values) else {"seconds": round(now - self.since, 4)}
        self.since = now
        self.metrics.add(step, values | took)


class Bar(ProgressCallback):
    """transformers' progress bar with the loss and the last validation score beside it, instead of a line a step."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, str] = {}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Refresh the figures at the bar's end."""
        for key, label in (("loss", "loss"), ("eval_accuracy", "validation")):
            if logs and key in logs:
                self.shown[label] = f"{logs[key]:.3f}" if key == "loss" else f"{logs[key]:.0%}"
        if self.training_bar is not None:
            self.training_bar.set_postfix(self.shown)


def resume_command(out: Path) -> str:
    """The arguments to type to go on with the run in `out`."""
    return shlex.join(["train", "--resume", "--out", str(out)])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run. The trainer writes `trainer_state.json` last, so a checkpoint whose
    state does not parse was cut off by a kill and is passed over."""
    complete = []
    for path in (folder / "checkpoints").glob("checkpoint-*"):
        try:
            state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            complete.append((int(state["global_step"]), path))
        except (OSError, ValueError, KeyError):
            continue
    return max(complete)[1] if complete else None
