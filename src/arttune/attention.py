"""Attention on a CPU: plain matrix products, which are faster there than torch's fused kernel, above all backwards.

Faster than transformers' own plain attention, too. That copies keys and values for each of the heads that share them,
and holds the scores in float32 beside those in the model's precision. Here such heads take the place of tokens, nothing
is copied, and the softmax, which computes in float32, reads and writes the model's precision. Scores of many tokens are
made in blocks: larger ones would leave the processor's cache, and the C library would hand out fresh pages for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import dropout as dropped
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from arttune.states import Attention, taken

PLAIN = "arttune_plain"  # the name by which transformers knows `plain`
BLOCK = 16 * 2**20  # bytes of scores


@dataclass(frozen=True)
class Part:
    """Rows of a tree, which lie end to end, and what their tokens see: what is before them, and their own past."""

    rows: int
    width: int
    on: tuple[int, ...]  # the parts whose rows they go on from,
    to: torch.Tensor  # (rows,): which of these, counted through
    mask: torch.Tensor  # (rows or 1, 1, width, last keys): what is added to their scores of so many of the last keys


def plain(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Sequence[Part] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: from `(batch, heads, tokens, width)` to `(batch, tokens, heads, width)`.

    `attention_mask` `(batch, 1, tokens, all tokens)` is added to the scores; without one, all tokens see all. With
    `tree` the batch is a single row that holds all of its parts.
    """
    query = query * (query.shape[3] ** -0.5 if scaling is None else scaling)
    dropout *= module.training
    if tree is None:
        return _attended(query, key, value, attention_mask, dropout), None
    sizes = [part.rows * part.width for part in tree]
    grown: list[tuple[torch.Tensor, torch.Tensor]] = []
    outs = []
    for part, *own in zip(tree, *(states.split(sizes, dim=2) for states in (query, key, value)), strict=True):
        ask, *held = (states.unflatten(2, (part.rows, part.width))[0].transpose(0, 1) for states in own)
        if part.on:
            before = taken(Attention.joined([grown[number] for number in part.on]), part.to)
            held = [torch.cat(pair, dim=2) for pair in zip(before, held, strict=True)]
        seen = held[0], held[1]
        grown.append(seen)
        outs.append(_attended(ask, *seen, part.mask, dropout).flatten(0, 1))
    return torch.cat(outs)[None], None


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    rows, heads, width = *query.shape[:2], query.shape[3]
    lines = max(1, BLOCK // (rows * heads * key.shape[2] * query.element_size()))
    blocks, outs = query.split(lines, dim=2), []
    masks = [None] * len(blocks) if mask is None else mask.split(lines, dim=2)
    for asks, some in zip(blocks, masks, strict=True):
        scores = asks.reshape(rows, key.shape[1], -1, width) @ key.transpose(2, 3)
        if some is not None:
            scores.view(rows, heads, -1, key.shape[2])[..., key.shape[2] - some.shape[3] :].add_(some)
        weights = dropped(scores.softmax(dim=-1), dropout)
        outs.append((weights @ value).view(asks.shape).transpose(1, 2))
    return torch.cat(outs, dim=1)


AttentionInterface.register(PLAIN, plain)
AttentionMaskInterface.register(PLAIN, eager_mask)
