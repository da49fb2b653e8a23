"""The gamut: the pictures a canvas may be, given its limits, and bringing it back among them.

Applied before each forward pass, so that a limit holds on what is seen, validated and saved, whatever an optimiser did.
"""

from __future__ import annotations

import torch
from torch import nn

from arttune.canvas import LEVELS, quantize
from arttune.style.likeness import share
from arttune.style.palette import snapped


class Gamut(nn.Module):
    """Limits a pixel (`low` and `high`, uint8 `(3, H, W)`), a palette (uint8 `(K, 3)`), a least likeness to `start`."""

    low: torch.Tensor | None
    high: torch.Tensor | None
    palette: torch.Tensor | None

    def __init__(
        self,
        bounds: tuple[torch.Tensor, torch.Tensor] | None = None,
        palette: torch.Tensor | None = None,
        least: float | None = None,
    ) -> None:
        super().__init__()
        low, high = bounds or (None, None)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("palette", palette, persistent=False)  # the config has it
        self.least = least

    def within(self, picture: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """The float `picture` `(3, H, W)` within its limits a pixel; what is no number becomes the uint8 `start`."""
        picture = torch.where(picture.isfinite(), picture, start.to(picture) / LEVELS)
        if self.low is None or self.high is None:
            return picture.clamp(0, 1)
        return picture.clamp(self.low.to(picture) / LEVELS, self.high.to(picture) / LEVELS)

    def inside(self, picture: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """The float `picture` `(3, H, W)` brought within its limits a pixel and its likeness to the uint8 `start`."""
        picture = self.within(picture, start)
        if self.least is None:
            return picture
        artwork = start.to(picture) / LEVELS
        kept = share(picture.detach(), artwork, self.least, self.shown)
        return picture if kept == 1.0 else artwork + kept * (picture - artwork)

    def shown(self, picture: torch.Tensor) -> torch.Tensor:
        """A float picture at uint8 levels, or at the palette's colours, with the gradient passed straight through."""
        if self.palette is None:
            return quantize(picture)
        return snapped(picture, self.palette, self.low, self.high)
