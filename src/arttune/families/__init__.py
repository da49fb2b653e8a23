"""The vision families arttune can paint for, found from a model's own config."""

from typing import Any

from arttune.errors import BadInput
from arttune.families.family import Family
from arttune.families.qwen2_5_vl import QWEN2_5_VL
from arttune.families.qwen2_vl import QWEN2_VL
from arttune.families.qwen3_5 import QWEN3_5
from arttune.families.qwen3_vl import QWEN3_VL

FAMILIES: dict[str, Family] = {f.name: f for f in (QWEN2_VL, QWEN2_5_VL, QWEN3_VL, QWEN3_5)}

__all__ = ["FAMILIES", "Family", "by_name", "detect"]


def by_name(name: str) -> Family:
    """The family called `name` (transformers' `model_type`). Raises `BadInput` listing the known ones."""
    if name not in FAMILIES:
        raise BadInput(f"unknown model family {name!r}; arttune paints for: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def detect(config: Any) -> Family:
    """The family of a transformers config (object or dict), checked against the config's own patch sizes."""
    get = config.get if isinstance(config, dict) else lambda key, default=None: getattr(config, key, default)
    family = by_name(str(get("model_type", "")))
    vision = get("vision_config") or {}
    read = vision.get if isinstance(vision, dict) else lambda key, default: getattr(vision, key, default)
    found = (read("patch_size", family.patch), read("spatial_merge_size", family.merge))
    if found != (family.patch, family.merge):
        raise BadInput(
            f"{family.title} cuts {family.patch}-pixel patches merged by {family.merge}, but this model's config says "
            f"{found[0]} and {found[1]}; its pictures would be read differently"
        )
    return family
