"""Qwen2-VL: 14-pixel patches merged two by two, CLIP's mean and deviation, attention-only text model.

Facts from transformers' `Qwen2VLImageProcessor`; Qwen2.5-VL shares all of them and differs only in its tower.
"""

from arttune.families.family import Family

QWEN2_VL = Family(
    name="qwen2_vl",
    title="Qwen2-VL",
    patch=14,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    min_pixels=56 * 56,
    max_pixels=28 * 28 * 1280,
    default_side=224,
)
