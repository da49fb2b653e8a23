"""`ArtConfig`: what a canvas is, before there is a model."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from peft.config import PeftConfig

from arttune.families import Family, by_name
from arttune.given import checked
from arttune.style.looks import Looks

if TYPE_CHECKING:
    from collections.abc import Callable

    from arttune.canvas import Painting

PEFT_TYPE = "ART"


@dataclass
class ArtConfig(Looks, PeftConfig):
    """Configuration of a canvas, used like a `LoraConfig`: `get_peft_model(model, ArtConfig())`.

    `Looks` has what it starts from and is to look like: `ArtConfig(start="orchard.png", likeness=0.9)`.

    The family is read from the model; give it yourself (`family="qwen2_5_vl"`) where a dataset must be prepared
    before the model is loaded.
    """

    size: int | tuple[int, int] | None = field(
        default=None,
        metadata={
            "help": "Side, or (height, width), in pixels. Must be a legal size of the family. Default: 64 tokens."
        },
    )
    seed: int = field(default=0, metadata={"help": "Seed of what is random in a start, a brush or a style."})
    family: str | None = field(
        default=None,
        metadata={"help": "The vision family (transformers' model_type). Default: read from the model."},
    )
    target_modules: str | None = field(
        default=None,
        metadata={"help": "Regex of the tower's patch embedding. Default: known from the family."},
    )
    start_saved: bool = field(
        default=False,
        metadata={"help": "Set when saved: the start pixels are then in the weights, and `start` is only a note."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PEFT_TYPE
        # With no task type PEFT would call the base model and go round the tuner.
        self.task_type: str = self.task_type or "CAUSAL_LM"
        for name, hint in get_type_hints(Looks).items():
            value = getattr(self, name)
            setattr(self, name, checked(name, os.fspath(value) if isinstance(value, os.PathLike) else value, hint))
        if isinstance(self.size, list):
            self.size = (self.size[0], self.size[1])
        if self.family is not None:
            self.resolve(by_name(self.family))

    def resolve(self, family: Family) -> None:
        """Settle family, size and target for a model of `family`. Raises `BadInput` for an illegal size."""
        self.family = family.name
        self.size = family.size(self.size)
        self.target_modules = self.target_modules or rf"(.*\.)?{family.tower}\.patch_embed"

    @property
    def canvas_size(self) -> tuple[int, int]:
        """(height, width) once the family is known."""
        if self.family is None or not isinstance(self.size, tuple):
            raise ValueError("ArtConfig has no family yet: call get_peft_model first, or pass family='qwen2_5_vl'")
        return self.size

    @property
    def unit(self) -> int:
        """Side in pixels of the square that becomes one token; what `CanvasMuon` wants to know."""
        return by_name(str(self.family)).unit

    @property
    def tokens(self) -> int:
        """Tokens of the language model that the canvas takes."""
        size = self.canvas_size
        return by_name(str(self.family)).tokens(size)

    def bind(self, painting: Callable[[str], Painting], adapter_name: str) -> None:
        """Tie the config to the canvas it describes (a method of its layer), so that saving also saves the picture."""
        self._painting, self._adapter_name = painting, adapter_name

    def bound_to(self, painting: Callable[[str], Painting]) -> str | None:
        """The canvas that this config, or what it is a copy of, is tied to, if `painting` is that of its layer."""
        return self._adapter_name if getattr(self, "_painting", None) == painting else None

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write `adapter_config.json`, and `art.png` beside it if the config belongs to a canvas."""
        painting = getattr(self, "_painting", None)
        if painting is None:
            super().save_pretrained(str(save_directory), **kwargs)
            return
        before, self.start_saved = self.start_saved, True
        try:
            super().save_pretrained(str(save_directory), **kwargs)
        finally:
            self.start_saved = before
        painting(self._adapter_name).save(Path(save_directory) / "art.png")
