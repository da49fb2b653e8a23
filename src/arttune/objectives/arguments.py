"""A trainer's arguments: what every objective has in common, what is the objective's own, and what the user adds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from arttune import adapters
from arttune.errors import BadInput
from arttune.given import named_values
from arttune.objectives.studio import Problems
from arttune.settings import Settings

# Arguments of TRL that are settings of a run, by those; and those of its own optimiser, which does not run here.
OURS = {
    "output_dir": "out",
    "max_steps": "steps",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulate",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warmup",
    "eval_steps": "eval_every",
    "seed": "seed",
    "report_to": "report_to",
    "num_generations": "generations",
    "max_completion_length": "max_new_tokens",
    "temperature": "temperature",
    "beta": "beta",
}
IDLE = dict.fromkeys(
    ("optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"), "the optimiser is arttune's"
) | {"train_sampling_strategy": "batches are of rows of like length"}


def configured(
    kind: Callable[..., Any],
    settings: Settings,
    problems: Problems,
    folder: Path,
    device: torch.device,
    own: dict[str, Any],
) -> Any:
    """TRL's config `kind` of a run in `folder`: what all have, then its `own`, then the user's. Raises `BadInput`."""
    common = _common(settings, folder, device, bool(problems.validation))
    further = named_values("trl", settings.trl)
    for name in further:
        if name in OURS:
            raise BadInput(f"trl: {name} is a setting of the run; use --{OURS[name].replace('_', '-')}")
        if name in IDLE:
            raise BadInput(f"trl: {name} would do nothing, for {IDLE[name]}")
    try:
        args = kind(**(common | own | further))
    except (TypeError, ValueError) as error:
        if not further:
            raise
        raise BadInput(f"trl: {' '.join(str(error).split())}") from error
    if args.n_gpu > 1:
        args._n_gpu = 1  # or transformers copies the model to every GPU in sight and multiplies the batch
    return args


def _common(settings: Settings, folder: Path, device: torch.device, validates: bool) -> dict[str, Any]:
    paints = settings.adapter == adapters.ART
    return {
        "output_dir": str(folder / "checkpoints"),
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulate,
        "learning_rate": settings.rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": settings.warmup,
        "max_grad_norm": 0.0 if paints else 1.0,  # a canvas's optimiser is indifferent to the scale
        "seed": settings.seed,
        "use_cpu": device.type == "cpu",
        "bf16": False,  # the frozen model is in its precision already, and the canvas must stay float32
        "gradient_checkpointing": False,  # slower; who lacks the memory asks for it with `trl`
        "dataloader_pin_memory": device.type != "cpu",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # else a loss that is not finite is logged as 0
        "eval_strategy": "steps" if validates else "no",
        "eval_steps": settings.eval_every,
        "save_steps": settings.eval_every,
        "save_total_limit": 2,
        "load_best_model_at_end": validates,
        "metric_for_best_model": "eval_rank" if validates else None,
        "greater_is_better": True if validates else None,
        "report_to": settings.report_to,
    }
