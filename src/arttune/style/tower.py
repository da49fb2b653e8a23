"""The texture of a picture as the model's own frozen vision tower sees it.

Gatys et al. 2015 (arXiv 1505.07376) compare Gram matrices in a network trained to see. Here that is the tower itself:
its layers run on the canvas in each step anyway, so what is added is a pull on the gradient within them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from arttune.style.losses import TINY, gram, sloped

LAYERS = 3  # that are looked at, spread over the tower's depth


class TowerTexture(nn.Module):
    """A pull of `weight` towards the texture of a float `picture` `(3, H, W)`, in units of the gradient it joins."""

    picture: torch.Tensor
    largest: torch.Tensor

    def __init__(self, weight: float, picture: torch.Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("picture", picture, persistent=False)
        self.register_buffer("largest", torch.zeros(LAYERS))  # norms of the pulls so far
        self.wanted: list[tuple[torch.Tensor, torch.Tensor]] = []  # of each layer, the mean and the Gram matrix
        self.figures: dict[str, float] = {}

    @contextmanager
    def watching(self, tower: Any, see: Callable[[torch.Tensor], Any]) -> Iterator[None]:
        """Within the block, bend the gradients in the `tower`; `see` runs it on a picture."""
        blocks = [*tower.blocks]
        chosen = blocks[:: max(1, len(blocks) // LAYERS)][:LAYERS]
        if not self.wanted:
            kept: list[torch.Tensor] = []
            with torch.no_grad(), _hooked(chosen, lambda at, seen: kept.append(seen.float())):
                see(self.picture)
            for features in kept:
                mean = features.mean(dim=0)
                self.wanted.append((mean, gram((features - mean).T)))
        with _hooked(chosen, self._bend):
            yield

    def _bend(self, at: int, seen: torch.Tensor) -> None:
        if seen.requires_grad:
            held = seen.detach()
            seen.register_hook(lambda grad: grad + self._pull(at, held, grad))

    def _pull(self, at: int, seen: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        mean, wanted = (part.to(seen.device) for part in self.wanted[at])
        size = wanted.square().sum()
        off, slope = sloped(lambda features: (gram((features - mean).T) - wanted).square().sum() / size, seen.float())
        self.figures[f"tower {at + 1}"] = off
        self.largest[at] = torch.maximum(self.largest[at], slope.norm())
        share = self.weight / len(self.wanted) * grad.float().norm()
        return (share * (slope / self.largest[at].clamp_min(TINY))).to(grad)


@contextmanager
def _hooked(blocks: list[Any], told: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Within the block, `told` gets the number and output `(tokens, width)` of each of `blocks` that runs."""

    def hook(at: int) -> Callable[..., None]:
        return lambda module, args, output: told(at, output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(hook(at)) for at, block in enumerate(blocks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
