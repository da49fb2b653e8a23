"""Qwen3-VL: 16-pixel patches merged two by two, mean and deviation 0.5, features injected into several layers.

Facts from the released `preprocessor_config.json` (shortest edge 65,536 and longest 16,777,216 square pixels), so
256x256 is the smallest square that no processor enlarges. The extra layers' features ("deepstack") come out of the
same pass of the tower.
"""

from arttune.families.family import Family

QWEN3_VL = Family(
    name="qwen3_vl",
    title="Qwen3-VL",
    patch=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    min_pixels=256 * 256,
    max_pixels=4096 * 4096,
    default_side=256,
)
