"""Objectives by name. Each is one thin file: a TRL trainer, its arguments, nothing else."""

from arttune.objectives.dpo import dpo
from arttune.objectives.grpo import grpo
from arttune.objectives.sft import sft
from arttune.objectives.studio import Problems, Studio

OBJECTIVES = {"sft": sft, "grpo": grpo, "dpo": dpo}

__all__ = ["OBJECTIVES", "Problems", "Studio"]
