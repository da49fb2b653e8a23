"""What a comparison is: the adapters to train, the controls that need no training, and the cells that this makes.

A cell is one score: an adapter or a control, and a seed. Each adapter's learning rate is searched for first, by short
runs that are scored on problems kept out of training, never on the test problems.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from arttune.errors import BadInput
from arttune.given import checked, read_yaml
from arttune.settings import ADAPTERS, Settings

# Controls, and what they are in a table.
CONTROLS = {
    "none": "text only",
    "instruction": "the best instruction",
    "few-shot": "worked examples",
    "random-string": "a random string as long as the picture",
    "blank": "a grey picture",
    "noise": "a noise picture",
    "artwork": "an artwork, untrained",
}
SEEDED = ("few-shot", "random-string", "noise")  # those that a seed changes
RATES = {"art": [0.01, 0.02, 0.04], "lora": [3e-4, 1e-3, 3e-3], "soft-prompt": [3e-3, 1e-2, 3e-2]}
GENTLE = {"lora": [3e-5, 1e-4, 3e-4]}  # where gradients come from rewards or preferences


@dataclass(frozen=True)
class Cell:
    """One score of the comparison: an adapter or control by name, and a seed."""

    name: str
    seed: int

    @property
    def folder(self) -> str:
        """Its place in the comparison's folder."""
        return f"{self.name}-{self.seed}"


@dataclass
class Comparison:
    """The settings of `arttune compare`, which are its file's names."""

    run: Settings  # what all trained cells have in common
    adapters: list[str] = field(default_factory=lambda: list(ADAPTERS))
    controls: list[str] = field(default_factory=lambda: ["none", "blank", "noise", "random-string"])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    rates: dict[str, list[float]] = field(default_factory=dict)
    search_steps: int | None = None
    instructions: list[str] = field(default_factory=list)
    shots: int = 4
    also: list[str] = field(default_factory=list)
    artwork: str | None = None

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for name in self.own():
            setattr(self, name, checked(name, getattr(self, name), hints[name]))
        for name, chosen, known in (("adapters", self.adapters, ADAPTERS), ("controls", self.controls, CONTROLS)):
            unknown = [one for one in chosen if one not in known]
            if unknown:
                raise BadInput(f"{name}: there is no {', '.join(unknown)}; use {', '.join(known)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise BadInput(f"seeds is {self.seeds}; name each once, and at least one")
        if "instruction" in self.controls and not self.instructions:
            raise BadInput("controls has an instruction, but none is written; add instructions: [...]")
        if "artwork" in self.controls and not Path(self.artwork or "").is_file():
            raise BadInput(f"controls has an artwork, but artwork is {self.artwork}; name a picture file")
        wrong = [name for name in self.rates if name not in ADAPTERS]
        if wrong:
            raise BadInput(f"rates: there is no {', '.join(map(str, wrong))}; use {', '.join(ADAPTERS)}")
        usual = RATES if self.run.objective == "sft" else RATES | GENTLE
        self.rates = {name: self.rates.get(name, usual[name]) for name in self.adapters}
        for name, values in self.rates.items():
            if not values or min(values) <= 0:
                raise BadInput(f"rates: {name} is {values}; it must be a list of numbers above 0")
        if self.run.validation == 0 and self.chooses:
            raise BadInput(
                "validation is 0, but validation problems choose among rates and instructions; give one each"
            )
        if self.shots < 1:
            raise BadInput(f"shots is {self.shots}; it must be at least 1")
        if self.search_steps is not None and self.search_steps < 1:
            raise BadInput(f"search_steps is {self.search_steps}; it must be at least 1")
        for cell in self.cells():  # what is wrong with any of them is wrong at once
            replace(self.run, seed=cell.seed)
            if cell.name in self.adapters:
                for rate in self.rates[cell.name]:
                    self.settings(cell, rate)

    @classmethod
    def own(cls) -> list[str]:
        """The names of the settings that a training run has not."""
        return [item.name for item in fields(cls) if item.name != "run"]

    @classmethod
    def read(cls, path: Path) -> Comparison:
        """From a YAML file: its own names, and any of a training run's. Raises `BadInput` naming file and setting."""
        values = read_yaml(path)
        own = cls.own()
        shared = {name: value for name, value in values.items() if name not in own}
        fixed = [name for name in ("adapter", "seed", "learning_rate") if name in shared]
        if fixed:
            raise BadInput(f"{path}: {', '.join(fixed)} is what a comparison varies; use adapters, seeds and rates")
        unknown = sorted(set(shared) - {item.name for item in fields(Settings)})
        if unknown:
            raise BadInput(f"{path}: unknown setting {', '.join(unknown)}; `arttune compare --help` lists them")
        try:
            return cls(run=Settings(**shared), **{name: values[name] for name in own if name in values})
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None

    def cells(self) -> list[Cell]:
        """All scores, the text-only one first."""
        names = [*(name for name in CONTROLS if name in {*self.controls, "none"}), *self.adapters]
        once = [name for name in CONTROLS if name not in SEEDED]
        return [Cell(name, seed) for name in names for seed in (self.seeds[:1] if name in once else self.seeds)]

    @property
    def chooses(self) -> bool:
        """Whether anything is chosen by validation problems."""
        instructions = len(self.instructions) if "instruction" in self.controls else 0
        return any(n > 1 for n in (instructions, *map(len, self.rates.values())))

    @property
    def searches(self) -> int:
        """How many short runs the search for rates takes."""
        return sum(len(rates) for rates in self.rates.values() if len(rates) > 1)

    def settings(self, cell: Cell, rate: float) -> Settings:
        """Those of the run that trains a cell."""
        return replace(self.run, adapter=cell.name, seed=cell.seed, learning_rate=rate)

    def search(self, name: str, rate: float) -> Settings:
        """Those of a short run that tries a rate."""
        steps = self.search_steps or max(1, self.run.steps // 3)
        shorter = replace(self.run, steps=steps, eval_every=steps, warmup=min(self.run.warmup, steps // 2))
        return replace(shorter, adapter=name, seed=self.seeds[0], learning_rate=rate)

    def as_yaml(self) -> str:
        """The text that `read` reads."""
        own = {name: getattr(self, name) for name in self.own()}
        shared: dict[str, Any] = {
            item.name: getattr(self.run, item.name)
            for item in fields(Settings)
            if item.name not in ("adapter", "seed", "learning_rate")
        }
        return str(yaml.safe_dump(own | shared, sort_keys=False))
