"""Qwen3.5: the pixels of Qwen3-VL in front of a text model whose layers are mostly linear attention."""

from dataclasses import replace

from arttune.families.qwen3_vl import QWEN3_VL

QWEN3_5 = replace(QWEN3_VL, name="qwen3_5", title="Qwen3.5")
