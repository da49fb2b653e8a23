"""Attention of the text model on a CPU, where several heads share keys and values.

transformers copies keys and values for each of these heads, in every pass, and holds the scores in float32 beside those
in the model's precision. Here such heads take the place of tokens, nothing is copied, and the softmax, which computes
in float32, reads and writes the model's precision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import dropout as dropped
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

PLAIN = "arttune_plain"  # the name by which transformers knows `plain`


def plain(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention as transformers calls it: from `(batch, heads, tokens, width)` to `(batch, tokens, heads, width)`.

    `attention_mask` `(batch, 1, tokens, all tokens)` is added to the scores. The weights come back too.
    """
    rows, heads, tokens, width = query.shape
    asks = (query * (width**-0.5 if scaling is None else scaling)).reshape(rows, key.shape[1], -1, width)
    scores = (asks @ key.transpose(2, 3)).view(rows, heads, tokens, -1).add_(attention_mask)
    weights = dropped(scores.softmax(dim=-1), dropout, module.training)
    out = weights.view(rows, key.shape[1], -1, key.shape[2]) @ value
    return out.view(query.shape).transpose(1, 2).contiguous(), weights


AttentionInterface.register(PLAIN, plain)
AttentionMaskInterface.register(PLAIN, eager_mask)
