"""Attention on a CPU: plain matrix products, which are faster there than torch's fused kernel, above all backwards.

Faster than transformers' own plain attention, too. That copies keys and values for each of the heads that share them,
and holds the scores in float32 beside those in the model's precision. Here such heads take the place of tokens, nothing
is copied, and the softmax, which computes in float32, reads and writes the model's precision. Scores of many tokens are
made in blocks: larger ones would leave the processor's cache, and the C library would hand out fresh pages for each.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import dropout as dropped
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

PLAIN = "arttune_plain"  # the name by which transformers knows `plain`
BLOCK = 16 * 2**20  # bytes of scores


def plain(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: from `(batch, heads, tokens, width)` to `(batch, tokens, heads, width)`.

    `attention_mask` `(batch, 1, tokens, all tokens)` is added to the scores; without one, all tokens see all.
    """
    rows, heads, width = *query.shape[:2], query.shape[3]
    query = query * (width**-0.5 if scaling is None else scaling)
    lines = max(1, BLOCK // (rows * heads * key.shape[2] * query.element_size()))
    blocks, outs = query.split(lines, dim=2), []
    masks = [None] * len(blocks) if attention_mask is None else attention_mask.split(lines, dim=2)
    for asks, mask in zip(blocks, masks, strict=True):
        scores = asks.reshape(rows, key.shape[1], -1, width) @ key.transpose(2, 3)
        if mask is not None:
            scores.view(rows, heads, -1, key.shape[2]).add_(mask)
        weights = dropped(scores.softmax(dim=-1), dropout, module.training)
        outs.append((weights @ value).view(asks.shape).transpose(1, 2))
    return torch.cat(outs, dim=1), None


AttentionInterface.register(PLAIN, plain)
AttentionMaskInterface.register(PLAIN, eager_mask)
