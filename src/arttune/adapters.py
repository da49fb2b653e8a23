"""What can be trained: a canvas, or what it is compared with, LoRA and a soft prompt, which are PEFT's.

Those read the text without a picture; all else of a run is the same. They get what is known to serve them well: LoRA
(Hu et al. 2021, arXiv 2106.09685) on all linear layers of the text model with alpha twice the rank, a soft prompt
(Lester et al. 2021, arXiv 2104.08691) of as many tokens as the canvas that starts from words of the vocabulary.
"""

from __future__ import annotations

import math
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PromptTuningConfig, PromptTuningInit
from safetensors import safe_open

from arttune.filling import Filling, generated
from arttune.loading import load
from arttune.optimizer import CanvasMuon, finite
from arttune.records import PICTURE, WEIGHTS
from arttune.tree import stand_in
from arttune.tuner import ArtConfig, art_layer
from arttune.tuner.model import labelled, of_labels, spread

ART, LORA, SOFT_PROMPT = "art", "lora", "soft-prompt"
CANVAS = ".art_canvas."  # in the names of its weights, of which only one is trained
LINEAR = (
    r".*language_model.*\.((q|k|v|o|gate|up|down|out)_proj|in_proj_\w+)"  # Qwen3.5's recurrent layers have the last
)


def configured(name: str, canvas: ArtConfig, rank: int) -> PeftConfig:
    """PEFT's config of the adapter `name`; `canvas` says how many tokens a picture has here."""
    if name == LORA:
        return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LINEAR, task_type="CAUSAL_LM")
    if name == SOFT_PROMPT:
        return PromptTuningConfig(
            num_virtual_tokens=canvas.tokens,
            prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
            task_type="CAUSAL_LM",
        )
    return canvas


def optimizer(model: PeftModel, rate: float, memory: float) -> torch.optim.Optimizer:
    """The adapter's optimiser; the trainer schedules its rate. `memory` is `CanvasMuon`'s."""
    if named(model) == ART:
        layer = art_layer(model)
        return CanvasMuon([layer.canvas().weight], rate, unit=layer.family.unit, memory=memory)
    adam = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), rate, weight_decay=0.0)
    adam.register_step_pre_hook(_finite)
    return adam


def _finite(adam: torch.optim.Optimizer, *_: Any) -> None:
    """As `CanvasMuon` does, so that weights which are no numbers are never saved."""
    if not finite(weight for group in adam.param_groups for weight in group["params"]):
        raise FloatingPointError(
            "the gradient is not finite, so the adapter was left as it is; use a lower learning_rate"
        )


def named(model: PeftModel) -> str:
    """What the active adapter of a model is."""
    kind = str(getattr(model.active_peft_config.peft_type, "value", model.active_peft_config.peft_type))
    return {"ART": ART, "LORA": LORA, "PROMPT_TUNING": SOFT_PROMPT}.get(kind, kind.lower())


def without(model: PeftModel) -> Any:
    """The model itself, with no adapter on it."""
    return model.get_base_model() if named(model) == SOFT_PROMPT else model.unload()


def reloaded(base: Any, name: str, folder: Path) -> PeftModel:
    """`base` with the adapter `name` as the run in `folder` saved it: a painting is its PNG."""
    return load(base, folder / PICTURE) if name == ART else PeftModel.from_pretrained(base, str(folder))


def project_labels_alone(model: PeftModel) -> None:
    """In training, have the model that carries the adapter project only positions with a label onto the vocabulary.

    The tuner of a canvas does; without it TRL's head on a CPU goes through the vocabulary at every position, which
    takes as long again as the rest of a LoRA step.
    """
    base = model.get_base_model()
    plain = base.forward

    @wraps(plain)  # `generate` asks for its arguments
    def labels_alone(**kwargs: Any) -> Any:
        labels = kwargs.get("labels")
        if labels is None or not (base.training and torch.is_grad_enabled()):
            return plain(**kwargs)
        mask = labels[:, 1:] != -100
        wanted = labelled(mask)
        if wanted is None:
            return plain(**kwargs)
        with stand_in(base.base_model, wanted):
            output = plain(**kwargs | of_labels(labels, mask, kwargs))
        return spread(output, mask) if kwargs.get("fused_lm_head") else output

    base.forward = labels_alone


def share_prompts(model: PeftModel) -> None:
    """Have the model that carries the adapter run what prompts share once in `generate`, as that of a canvas does."""
    base = model.get_base_model()
    plain = base.generate

    @wraps(plain)
    def generate(inputs: torch.Tensor | None = None, **kwargs: Any) -> Any:
        given = kwargs if inputs is None else kwargs | {"input_ids": inputs}
        filled = Filling()(base, given) if given.get("input_ids") is not None else {}
        return generated(base, given, filled) if filled else plain(**given)

    base.generate = generate


def trained_parameters(out: Path) -> int:
    """How many numbers were trained in the run in `out`."""
    with safe_open(str(out / WEIGHTS), "pt") as held:
        # What safe_open gives is no mapping: it has keys, but cannot be iterated.
        names = [name for name in held.keys() if CANVAS not in name or name.endswith(f"{CANVAS}weight")]  # noqa: SIM118
        return sum(math.prod(held.get_slice(name).get_shape()) for name in names)
