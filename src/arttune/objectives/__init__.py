"""Objectives by name. Each is one thin file: a TRL trainer, its arguments, nothing else."""

from arttune.objectives.sft import sft
from arttune.objectives.studio import Studio

OBJECTIVES = {"sft": sft}

__all__ = ["OBJECTIVES", "Studio"]
