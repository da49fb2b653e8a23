"""Qwen2.5-VL: the pixels of Qwen2-VL, a tower with windowed attention behind them."""

from dataclasses import replace

from arttune.families.qwen2_vl import QWEN2_VL

QWEN2_5_VL = replace(QWEN2_VL, name="qwen2_5_vl", title="Qwen2.5-VL")
