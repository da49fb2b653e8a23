"""From a painting alone back to a model that sees it."""

from __future__ import annotations

import os

from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel

from arttune.canvas import Painting
from arttune.errors import BadInput
from arttune.families import detect
from arttune.tuner import ArtConfig, art_layer


def load(model: PreTrainedModel | PeftModel, path: str | os.PathLike[str], adapter_name: str = "default") -> PeftModel:
    """Show the painting at `path` to `model`, as the active adapter `adapter_name`, frozen.

    `model` is the base model, or a PeftModel that already holds other paintings. Raises `BadInput` if the picture
    cannot be read, was changed since it was painted, or is of another family or an illegal size for this model.
    """
    painting = Painting.load(path)
    family = detect(model.config)
    made = painting.provenance
    if made is not None and made.family not in (None, family.name):
        raise BadInput(f"{path} was painted for {made.family}; this model is {family.name}. Paint one for this family")
    if made is not None and made.size not in (None, painting.size):
        was, now = ("x".join(map(str, size)) for size in (made.size, painting.size))
        raise BadInput(f"{path} was painted at {was} pixels and is now {now}; something resized it. Fetch the original")
    if made is not None and not painting.intact():
        raise BadInput(
            f"{path}: the pixels are not the ones that were painted (sha256 differs); something re-encoded or edited "
            "the file. Fetch the original, or strip its provenance to use the picture as it is"
        )
    try:
        family.size(painting.size)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return shown(model, painting, adapter_name)


def shown(model: PreTrainedModel | PeftModel, painting: Painting, adapter_name: str = "default") -> PeftModel:
    """`model` as it sees `painting`, whatever made it; see `load`. Raises `BadInput` for an illegal size."""
    config = ArtConfig(size=painting.size, family=detect(model.config).name, inference_mode=True)
    if isinstance(model, PeftModel):
        model.add_adapter(adapter_name, config)
        model.set_adapter(adapter_name, inference_mode=True)
        seeing = model
    else:
        seeing = get_peft_model(model, config, adapter_name=adapter_name)
    art_layer(seeing).show(adapter_name, painting)
    return seeing
