"""A training run's folder and its steps: what is logged, and what a killed run goes on from."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from arttune.errors import BadInput
from arttune.records import read_metrics, write_lines, write_whole


class Run:
    """A training run's folder: what is logged, and what a killed run goes on from.

    `settings` are those that decide what is learned. Raises `BadInput` for the folder of a run of others.
    """

    def __init__(self, folder: Path, every: float, settings: dict[str, Any]) -> None:
        self.folder, self.every = folder, every
        folder.mkdir(parents=True, exist_ok=True)
        told, kept = json.dumps(settings, indent=1, sort_keys=True, default=str), folder / "settings.json"
        if kept.is_file() and kept.read_text(encoding="utf-8") != told:
            raise BadInput(f"{folder} is a run of other settings, see {kept}; choose another folder")
        write_whole(kept, told)
        self.saved = self.began = time.monotonic()
        self.tally: dict[str, list[float]] = {}

    def count(self, values: dict[str, list[float]]) -> None:
        """Add measured values to those since the last line of the log."""
        for name, found in values.items():
            self.tally.setdefault(name, []).extend(found)

    def report(self, stage: str, step: int, every: int) -> None:
        """After every `every` steps, log the means of what was counted."""
        if step % every == every - 1:
            means = {name: sum(found) / len(found) for name, found in sorted(self.tally.items())}
            self.tally.clear()
            self.log(stage=stage, step=step + 1, seconds=time.monotonic() - self.began, **means)

    def log(self, **line: Any) -> None:
        text = json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()})
        print(text, flush=True)
        with (self.folder / "log.jsonl").open("a") as handle:
            handle.write(text + "\n")

    def _forget(self, stage: str, after: int) -> None:
        """Drop what was logged of steps that a kill undid."""
        path = self.folder / "log.jsonl"
        kept = [line for line in read_metrics(path) if line["stage"] != stage or line["step"] <= after]
        write_lines(path, kept)

    def steps(self, stage: str, total: int, part: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[int]:
        """The steps of a stage that are still to do, with a checkpoint now and then and one at the end.

        `part` takes up what the stage had reached, or ended with.
        """
        done, path = self.folder / f"{stage}.done", self.folder / f"{stage}.pt"
        first = 0
        if path.is_file():
            state = torch.load(path, map_location="cpu", weights_only=True)
            part.load_state_dict(state["weights"])
            if done.is_file():
                return
            first = state["step"]
            optimizer.load_state_dict(state["optimizer"])
        self._forget(stage, first)
        self.tally.clear()
        self.began = time.monotonic()
        for step in range(first, total):
            yield step
            if step + 1 == total or time.monotonic() - self.saved > self.every:
                state = {"step": step + 1, "weights": part.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(state, path.with_suffix(".new"))
                os.replace(path.with_suffix(".new"), path)
                self.saved = time.monotonic()
        done.touch()


def optimizer_of(module: nn.Module, rate: float) -> torch.optim.Optimizer:
    free = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(free, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)


def advance(loss: torch.Tensor, module: nn.Module, optimizer: torch.optim.Optimizer, rate: float, done: float) -> None:
    """One step; the rate warms up over 2 % of the stage and then falls to zero as a cosine."""
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, done / 0.02) * 0.5 * (1 + math.cos(math.pi * done))
    optimizer.step()
    optimizer.zero_grad()
