"""Qwen3.5: the pixels of Qwen3-VL in front of a text model whose layers are mostly linear attention.

Its recurrent layers update their convolution state in place, which autograd does not forgive, so its prefix is not
shared: every row of a batch runs whole.
"""

from dataclasses import replace

from arttune.families.qwen3_vl import QWEN3_VL

QWEN3_5 = replace(QWEN3_VL, name="qwen3_5", title="Qwen3.5", shares_prefix=False)
