"""Taste: what a canvas is to look like, as a pull on the gradient that arrives at it.

The objective's gradient comes from TRL's trainer and knows nothing of looks. On its way to the canvas it is bent: the
gradient of each style loss is added, as is that of the likeness, as strongly as its price says. So every objective,
and every trainer that calls `backward`, paints with taste.

The price is the dual variable of a limit on likeness: while less than a margin of the room that the limit leaves is
left, it rises, and the canvas is pulled back more strongly; with more left it falls, and the task has its way. Weights
are shares of the objective's gradient: a style loss of weight 1 pulls as strongly as the objective where its own
gradient is as long as it ever was. Those of textures grow shorter the nearer the picture comes to the style; those of
patches and of variation, which are absolute differences, keep most of their length to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from arttune.canvas import LEVELS
from arttune.style.likeness import likeness
from arttune.style.losses import TINY, sloped

Loss = Callable[..., torch.Tensor]  # of a picture and a `step`

PACE, MARGIN = 0.1, 0.1  # of the price, and of the room that a limit leaves


class Taste(nn.Module):
    """Style losses with their weights, and a least likeness to the artwork.

    `figures` are those of the last step: each loss by its name, `likeness` and its `price`. What must outlive an
    interruption is in buffers: the price, the largest norm of each style's gradient so far, and the steps taken.
    """

    slope: torch.Tensor  # the pull of this step, the sum of gradients that it has met, and the norm of that
    sum: torch.Tensor
    force: float
    price: torch.Tensor
    largest: torch.Tensor
    steps: torch.Tensor

    def __init__(self, losses: Mapping[str, tuple[float, Loss]], least: float | None = None) -> None:
        super().__init__()
        self.losses, self.least = dict(losses), least
        self.figures: dict[str, float] = {}
        self.register_buffer("price", torch.zeros(()))
        self.register_buffer("largest", torch.zeros(len(self.losses)))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def bend(self, picture: torch.Tensor, artwork: torch.Tensor, master: torch.Tensor) -> None:
        """Have the gradient that arrives at `picture` bent on its way to the `master` that it comes from."""
        held = picture.detach()

        def bent(grad: torch.Tensor) -> torch.Tensor:
            return grad + self.pull(held, artwork, grad, anew=master.grad is None or not bool(master.grad.any()))

        picture.register_hook(bent)

    def pull(self, picture: torch.Tensor, artwork: torch.Tensor, grad: torch.Tensor, anew: bool = True) -> torch.Tensor:
        """What is added to the gradient `grad` at the float `picture`, whose artwork is the uint8 `artwork`.

        Where gradients are accumulated, only the first pass is `anew`. All that is added up to then is in proportion to
        the sum of the gradients, as if they had come at once.
        """
        if anew:
            self.slope = self._slope(picture, artwork)
            self.sum, self.force = torch.zeros_like(grad), 0.0
        self.sum, before = self.sum + grad, self.force
        self.force = float(self.sum.norm())
        return (self.force - before) * self.slope

    def _slope(self, picture: torch.Tensor, artwork: torch.Tensor) -> torch.Tensor:
        """The pull at a picture, in units of the objective's gradient."""
        total = torch.zeros_like(picture)
        for at, (name, (weight, loss)) in enumerate(self.losses.items()):
            value, slope = sloped(partial(loss, step=int(self.steps)), picture)
            self.largest[at] = torch.maximum(self.largest[at], slope.norm())
            self.figures[name] = value
            total += weight * (slope / self.largest[at].clamp_min(TINY))
        if self.least is not None:
            value, slope = sloped(lambda seen: 1 - likeness(seen, artwork.to(seen) / LEVELS), picture)
            self.price.add_(PACE * (value / (1 - self.least) - 1 + MARGIN)).clamp_(min=0)
            total += self.price * (slope / slope.norm().clamp_min(TINY))
            self.figures |= {"likeness": 1 - value, "price": float(self.price)}
        self.steps += 1
        return total
