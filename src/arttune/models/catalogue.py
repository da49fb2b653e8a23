"""From a model's name to a model: `smol`, a local folder or a hub id of a known family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from arttune.errors import BadInput
from arttune.families import Family, detect
from arttune.machine import device, fast_attention, fast_products, precision
from arttune.models.smol import REVISION, smol_folder


@dataclass(frozen=True)
class Embedded:
    """A model arttune brings itself: what it is, and how its checkpoint folder is made."""

    title: str
    revision: str
    folder: Callable[[], Path]


EMBEDDED = {"smol": Embedded("SmolLM2-135M-Instruct on a small vision tower (Apache-2.0)", REVISION, smol_folder)}


@dataclass
class Loaded:
    """A frozen base model, ready for an adapter."""

    revision: str | None
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    family: Family


def source_of(name: str) -> str:
    """The folder of an embedded model, which is made if need be; a local folder or a hub id as it is.

    Raises `BadInput` for what can be neither.
    """
    if name in EMBEDDED:
        return str(EMBEDDED[name].folder())
    if Path(name).is_dir():
        if not Path(name, "config.json").is_file():
            raise BadInput(f"{name} has no config.json; give a model folder as transformers saves it")
    elif name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise BadInput(
            f"unknown model {name!r}: no such folder, and no hub id (owner/name). Embedded: {', '.join(EMBEDDED)}"
        )
    return name


def load_model(name: str, dtype: str = "auto", weightless: bool = False) -> Loaded:
    """Load `name` with its tokenizer, on the device that suits this machine.

    `dtype` is as in the settings: bfloat16, float32, or auto for the faster here. A `weightless` model has its shapes
    alone (torch's meta device): what a dry run needs. Raises `BadInput` for an unknown name or family.
    """
    source = source_of(name)
    try:
        config = AutoConfig.from_pretrained(source)
        family = detect(config)
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")
        if weightless:
            with torch.device("meta"):
                model = AutoModelForImageTextToText.from_config(config, dtype=precision(dtype))
        else:
            model = AutoModelForImageTextToText.from_pretrained(source, dtype=precision(dtype))
    except BadInput:
        raise
    except (OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise BadInput(f"model {name!r} cannot be loaded: {line}") from None
    revision = EMBEDDED[name].revision if name in EMBEDDED else getattr(config, "_commit_hash", None)
    model = model.requires_grad_(False).eval()
    if not weightless:
        fast_attention(model.to(device()))
        fast_products(model)
    return Loaded(revision, model, tokenizer, family)
