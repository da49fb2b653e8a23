"""The settings of a training run: one dataclass, which is also the command line's flags and `config.yaml`'s names."""

from __future__ import annotations

import math
import typing
from dataclasses import Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from transformers.integrations import get_available_reporting_integrations

from arttune.errors import BadInput
from arttune.given import checked, named_values, read_yaml
from arttune.machine import PRECISIONS
from arttune.records import write_whole
from arttune.style.looks import Looks, setting

ADAPTERS = ("art", "lora", "soft-prompt")
RATES = {"art": 0.02, "lora": 1e-3, "soft-prompt": 1e-2}  # peak learning rates, of CanvasMuon and of AdamW
GENTLE = {"lora": 1e-4}  # where gradients come from rewards or preferences
CONFIG = "config.yaml"  # in the folder of every run
# Those of transformers' schedules that need no arguments of their own.
SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial"),
    *("constant", "constant_with_warmup", "inverse_sqrt"),
)


@dataclass(kw_only=True)
class Settings(Looks):
    """Everything that decides what a run does. `config.yaml` of a run holds all of it, so a run can be repeated."""

    model: str = setting("smol", "Embedded model, local folder or hub id of a known family.")
    task: str = setting("svamp", "One of `arttune tasks`, reasoning_gym:<name>, or your own FILE.jsonl.")
    objective: str = setting("sft", "What is optimised: sft, grpo or dpo.")
    adapter: str = setting("art", "What is trained: art (a picture) or, to compare with it, lora or soft-prompt.")
    rank: int = setting(16, "Rank of lora.")
    data: str | None = setting(None, "Training file that stands in for a built-in task's own, in its upstream format.")
    test_data: str | None = setting(None, "Likewise for the test problems.")
    grader: str | None = setting(None, "Grade of your own task: number, exact or math. Default: by its answers.")
    reward: str | None = setting(None, "Python grade of your own task, module:function; 1.0 or more is correct.")
    rollouts: str = setting("model", "Who samples for grpo: model, or servers with the OpenAI chat API, URL[,URL...].")
    patience: int = setting(300, "Seconds without an answer from any server, after which a run stops, resumable.")
    rewards: str = setting(
        "task", "What grpo maximises: task and/or your own module:function, each with =WEIGHT, comma between."
    )
    generations: int = setting(8, "Completions that grpo samples and compares for each problem.")
    temperature: float = setting(1.0, "Sampling temperature of grpo.")
    beta: float | None = setting(
        None, "Weight of staying near what the starting canvas says. Default: grpo 0, dpo TRL's own."
    )
    trust: float = setting(
        0.02,
        "Nats a token by which a step of grpo may change what the model says, at the peak rate and where gradients "
        "agree; the rest is taken back. A picture's alone, not lora's. 0: no limit, and then a learning_rate of 0.002 "
        "or less.",
    )
    trl: str | None = setting(None, "Further arguments of TRL's config: loss_type=dr_grpo,scale_rewards=none.")
    template: str | None = setting(None, "Arguments of the model's chat template: enable_thinking=false.")
    size: int | None = setting(None, "Side of the canvas in pixels. Default: 64 tokens' worth.")
    steps: int = setting(450, "Optimiser steps.")
    batch_size: int = setting(8, "Problems in one forward pass.")
    accumulate: int = setting(1, "Forward passes in one optimiser step.")
    learning_rate: float | None = setting(
        None,
        "Peak rate: root mean square change of a pixel a step, in [0, 1] units. In grpo see also trust. Default: "
        "0.02; lora 0.001 (grpo and dpo 0.0001), soft-prompt 0.01.",
    )
    schedule: str = setting("cosine", "Learning-rate schedule, by its name in transformers.")
    warmup: int = setting(10, "Steps of linear warm-up; the schedule constant has none.")
    seed: int = setting(0, "Seed of the start, the order of problems and the validation split.")
    validation: int = setting(
        50,
        "Training problems kept out: an earlier checkpoint is taken if it leads on them by more than chance.",
    )
    eval_every: int = setting(150, "Steps between validations; each also writes a checkpoint.")
    max_prompt: int | None = setting(
        None, "Leave out problems whose prompt, without the picture, has more tokens than this."
    )
    test_limit: int = setting(150, "Test problems to score before and after; 0 for all.")
    max_new_tokens: int | None = setting(None, "Longest answer in tokens. Default: the task's own.")
    presence_penalty: float = setting(
        0.0, "Logits that a token loses in scoring once the answer has it. The ART authors score with 1."
    )
    dtype: str = setting(
        "auto",
        "Precision of the frozen model: bfloat16, float32, or auto: the faster here. The canvas is float32.",
    )
    threads: int | None = setting(None, "CPU threads. Default: torch's own choice.")
    report_to: str = setting("none", "Experiment tracker, by its name in transformers (wandb, tensorboard, ...).")

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for item in fields(self):
            setattr(self, item.name, checked(item.name, getattr(self, item.name), hints[item.name]))
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "patience",
            "eval_every",
            "rank",
            "max_prompt",
            "max_new_tokens",
            "threads",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"{name} is {value}; it must be at least 1")
        for name in ("warmup", "validation", "test_limit"):
            if getattr(self, name) < 0:
                raise BadInput(f"{name} is {getattr(self, name)}; it cannot be negative")
        for name in ("learning_rate", "temperature"):
            if not 0 < (1 if getattr(self, name) is None else getattr(self, name)) < math.inf:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be above 0 and finite")
        if not -2 <= self.presence_penalty <= 2:
            raise BadInput(f"presence_penalty is {self.presence_penalty}; it must be between -2 and 2")
        if not 0 <= self.trust < math.inf:
            raise BadInput(f"trust is {self.trust}; it cannot be negative, and must be finite")
        for name in ("trl", "template"):
            named_values(name, getattr(self, name))
        if self.adapter not in ADAPTERS:
            raise BadInput(f"adapter is {self.adapter!r}; use {', '.join(ADAPTERS)}")
        if self.adapter == "soft-prompt" and self.objective != "sft":
            raise BadInput(f"a soft-prompt learns by sft alone here, not by {self.objective}: use art or lora")
        if self.adapter != "art" and self.objective == "grpo" and self.rollouts != "model":
            raise BadInput(f"a server is shown a picture, and has no {self.adapter}: leave rollouts at model")
        if self.generations < 2:
            raise BadInput(f"generations is {self.generations}; grpo compares at least 2 completions of a problem")
        if self.objective == "grpo" and self.rows % self.generations:
            raise BadInput(
                f"batch_size times accumulate is {self.rows}, which is no multiple of generations, {self.generations}: "
                "all completions of a problem belong to one step"
            )
        if not 0 <= self.seed < 2**32:
            raise BadInput(f"seed is {self.seed}; it must be between 0 and 4294967295")
        if self.schedule not in SCHEDULES:
            raise BadInput(f"schedule is {self.schedule!r}; use {', '.join(SCHEDULES)}")
        if self.dtype not in PRECISIONS:
            raise BadInput(f"dtype is {self.dtype!r}; use {', '.join(PRECISIONS)}")

    @property
    def rate(self) -> float:
        """The peak learning rate, its default being the adapter's."""
        return self.learning_rate or (RATES if self.objective == "sft" else RATES | GENTLE)[self.adapter]

    def check_tracker(self) -> None:
        """Raises `BadInput` if the tracker is not installed, which whoever only reads a run does not need."""
        trackers = get_available_reporting_integrations()
        if self.report_to not in ("none", "all", *trackers):
            there = ", ".join(trackers) or "none"
            raise BadInput(f"report_to is {self.report_to!r}, but the trackers installed here are: {there}")

    @property
    def rows(self) -> int:
        """Rows of an optimiser step: problems, or in grpo completions."""
        return self.batch_size * self.accumulate

    @classmethod
    def read(cls, path: Path | None, flags: dict[str, Any]) -> Settings:
        """Settings of a YAML file with `flags` over them. Raises `BadInput` naming file and setting."""
        values = {} if path is None else read_yaml(path)
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise BadInput(f"{path}: unknown setting {', '.join(unknown)}; `arttune train --help` lists them")
        other = flags.get("adapter", values.get("adapter", "art")) != values.get("adapter", "art")
        if other and values.get("learning_rate") is not None and "learning_rate" not in flags:
            raise BadInput(
                f"{path}: its learning_rate is for another adapter than {flags['adapter']}; give one for that"
            )
        try:
            return cls(**(values | flags))
        except BadInput as error:
            blameless = path is None or cls._complaint(flags) == str(error)  # the file is, where flags alone are wrong
            raise BadInput(str(error) if blameless else f"{path}: {error}") from None

    @classmethod
    def _complaint(cls, flags: dict[str, Any]) -> str:
        try:
            cls(**flags)
        except BadInput as error:
            return str(error)
        return ""

    @classmethod
    def listed(cls) -> list[Field[Any]]:
        """All settings in the order to read them in: what a run does, then what the painting looks like."""
        looks = fields(Looks)
        return [*fields(cls)[len(looks) :], *looks]

    def write(self, path: Path) -> None:
        """Write `config.yaml`, each setting with what it means."""
        lines = []
        for item in self.listed():
            lines.append(f"# {item.metadata['help']}")
            lines.append(yaml.safe_dump({item.name: getattr(self, item.name)}, sort_keys=False).strip())
        write_whole(path, "\n".join(lines) + "\n")

    def changed_by(self, flags: dict[str, Any]) -> list[str]:
        """The names among `flags` whose values differ from these settings."""
        mine = asdict(self)
        return [name for name, value in flags.items() if mine[name] != value]
