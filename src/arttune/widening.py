"""Frozen linear layers in bfloat16 whose products are float32: for CPUs that multiply float32 faster.

Processors without instructions for bfloat16 emulate it, and Intel's without AMX have one at half the speed of float32
(`benchmarks/cpu_step.txt`). Weights, inputs and results stay bfloat16, and both ways add up in float32, so nothing
changes but rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

FEW = 64  # rows; the conversion of the weights costs fewer more than it saves
BLOCK = 16 * 2**20  # bytes of float32: more would leave the cache, and the C library maps larger ones anew each time


class Widened(nn.Linear):
    """`nn.Linear` that gradients only pass through."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As `nn.Linear`'s."""
        if input.shape[:-1].numel() < FEW or input.dtype != self.weight.dtype:
            return super().forward(input)
        return _Product.apply(input, self.weight, self.bias)


class _Product(torch.autograd.Function):
    """The layer's product and its gradient by the input alone; the weights are saved as they are, not their copies."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(weight)
        wide, shift = weight.float(), None if bias is None else bias.float()
        return _by_block(input, weight.shape[0], lambda rows: linear(rows, wide, shift))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        wide = weight.float()
        return _by_block(gradients[0], weight.shape[1], lambda rows: rows @ wide), None, None


def _by_block(states: torch.Tensor, width: int, product: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """`product` of the rows of `states`, `(..., width)` wide, in their precision."""
    out = states.new_empty(*states.shape[:-1], width)
    height = max(FEW, BLOCK // (4 * max(width, states.shape[-1])))
    rows = states.reshape(-1, states.shape[-1])
    for some, place in zip(rows.split(height), out.view(-1, width).split(height), strict=True):
        place.copy_(product(some.float()))
    return out


def widen(model: PreTrainedModel) -> None:
    """Have the linear layers of a frozen `model` multiply in float32, but for the head, which sees few rows."""
    head = model.get_output_embeddings()
    for module in model.modules():
        if type(module) is nn.Linear and module is not head:
            module.__class__ = Widened
