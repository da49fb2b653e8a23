"""Style losses: how far a picture is from looking as it should. None needs downloaded weights.

Each takes a float picture `(3, H, W)` in [0, 1] and a number that says which step it is, and returns a scalar.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import avg_pool2d, conv2d, pad
from torchmetrics.functional.image import total_variation

TINY = torch.finfo(torch.float32).tiny  # what a norm is divided by instead of nothing


def sloped(loss: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> tuple[float, torch.Tensor]:
    """A loss at a picture or its features, and its gradient there."""
    with torch.enable_grad():
        seen = at.detach().requires_grad_()
        value = loss(seen)
        (slope,) = torch.autograd.grad(value, seen)
    return float(value.detach()), slope


def variation(picture: torch.Tensor, step: int = 0) -> torch.Tensor:
    """Total variation (Rudin, Osher and Fatemi 1992): the mean difference of neighbouring pixels' channels."""
    found: torch.Tensor = total_variation(picture[None]) / picture.numel()
    return found


def pyramid(picture: torch.Tensor, levels: int, least: int) -> list[torch.Tensor]:
    """A picture and its halvings, `levels` at most, none with a side below `least`."""
    found = [picture]
    while len(found) < levels and min(found[-1].shape[1:]) >= 2 * least:
        found.append(avg_pool2d(found[-1][None], 2)[0])
    return found


def mirrored(picture: torch.Tensor, side: int) -> torch.Tensor:
    """A picture and what a mirror at its edges would show, so that a window of an odd `side` is around every pixel.

    Else those at the edge were in few windows, and a bright fringe would cost nothing.
    """
    return pad(picture[None], [side // 2] * 4, mode="reflect")[0]


def gram(features: torch.Tensor) -> torch.Tensor:
    """How often features `(channels, places)` go together: `(channels, channels)`, a mean over places."""
    return features @ features.T / features.shape[1]


class Texture:
    """Gram matrices of fixed random convolutions at several scales.

    Gatys et al. 2015 (arXiv 1505.07376) compared those of a trained network; random filters of several sizes describe
    a texture about as well (Ustyuzhaninov et al. 2016, arXiv 1606.00021). Here the filters stay, and the picture is
    halved.
    """

    def __init__(self, style: torch.Tensor, filters: int = 48, side: int = 7, levels: int = 5) -> None:
        chance = torch.Generator().manual_seed(0)
        drawn = torch.randn(filters, 3, side, side, generator=chance)
        drawn -= drawn.mean(dim=(2, 3), keepdim=True)  # the colours themselves are the last three channels
        self.filters = drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None]
        self.side, self.levels = side, levels
        with torch.no_grad():
            self.wanted = [gram(f) for f in self._features(style)]
        self.size = [float(one.square().mean()) for one in self.wanted]

    def __call__(self, picture: torch.Tensor, step: int = 0) -> torch.Tensor:
        """The mean over scales of the squared difference, in units of the style's own."""
        found = [gram(f) for f in self._features(picture)]
        each = zip(found, self.wanted, self.size, strict=True)
        return torch.stack([(ours - theirs.to(ours)).square().mean() / size for ours, theirs, size in each]).mean()

    def _features(self, picture: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for level in pyramid(picture, self.levels, 2 * self.side):
            answers = conv2d(mirrored(level, self.side)[None], self.filters.to(level))[0].relu()
            found.append(torch.cat([answers, level]).flatten(1))
        return found


class Patches:
    """Sliced Wasserstein distance between the patches of two pictures of the same size.

    Patches are compared by their distributions along random directions, which is a sort (Heitz et al. 2021, arXiv
    2006.07229, on features; Elnekave and Weiss 2022, arXiv 2203.11862, on the patches themselves, as here). Each step
    draws its own directions, and one of the pyramid's scales in turn.
    """

    def __init__(self, style: torch.Tensor, directions: int = 32, side: int = 7, levels: int = 4) -> None:
        self.levels = pyramid(style, levels, 2 * side)
        self.directions, self.side = directions, side

    def __call__(self, picture: torch.Tensor, step: int = 0) -> torch.Tensor:
        """The mean distance between the sorted projections of the patches."""
        chance = torch.Generator().manual_seed(step)
        at = step % len(self.levels)
        drawn = torch.randn(self.directions, 3, self.side, self.side, generator=chance).to(picture)
        drawn = drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None]
        ours, theirs = pyramid(picture, at + 1, self.side)[-1], self.levels[at].to(picture)
        stride = 2 if at == 0 else 1  # of the finest there are enough
        shift = step // len(self.levels) % stride
        ours, theirs = (
            conv2d(mirrored(one, self.side)[None, :, shift:, shift:], drawn, stride=stride)[0].flatten(1).sort(1).values
            for one in (ours, theirs)
        )
        return (ours - theirs).abs().mean()
