"""What a vision family is to arttune: which sizes it takes unresized, and how its pixels become patches.

The Qwen-VL processors resize a picture to a legal size, normalise it, and cut it into patches ordered by merge
window. On a legal size the resize is the identity, and what is left is a dozen lines of differentiable torch. The
facts of each family (patch side, mean, limits) stand in its own file; this one turns them into the operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from arttune.errors import BadInput

MAX_ASPECT = 200  # transformers' smart_resize refuses anything longer


@dataclass(frozen=True)
class Family:
    """One vision family. Sides are pixels; `min_pixels` and `max_pixels` bound height times width."""

    name: str
    title: str
    patch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    min_pixels: int
    max_pixels: int
    default_side: int
    merge: int = 2
    frames: int = 2
    tower: str = "visual"

    @property
    def unit(self) -> int:
        """Side of the square that becomes one token of the language model; legal sides are its multiples."""
        return self.patch * self.merge

    def size(self, wish: int | tuple[int, int] | list[int] | None) -> tuple[int, int]:
        """A legal (height, width) from a side, a pair or nothing (the default square).

        Raises `BadInput` naming the nearest legal sizes, because an illegal one would be resized by every server and
        would no longer be the picture that was trained.
        """
        if wish is None:
            return self.default_side, self.default_side
        height, width = (wish, wish) if isinstance(wish, int) else (int(wish[0]), int(wish[1]))
        if self._legal(height, width):
            return height, width
        near = " or ".join(f"{h}x{w}" for h, w in self._nearest(height, width))
        raise BadInput(
            f"canvas size {height}x{width} is not legal for {self.title}: sides are multiples of {self.unit} and the "
            f"area is {self.min_pixels} to {self.max_pixels} pixels. Nearest: {near}"
        )

    def _legal(self, height: int, width: int) -> bool:
        if height <= 0 or width <= 0 or height % self.unit or width % self.unit:
            return False
        long, short = max(height, width), min(height, width)
        return self.min_pixels <= height * width <= self.max_pixels and long <= MAX_ASPECT * short

    def _nearest(self, height: int, width: int) -> list[tuple[int, int]]:
        """The two legal sizes nearest to (height, width), squares if a square was asked for."""
        unit, longest = self.unit, int((self.max_pixels * MAX_ASPECT) ** 0.5)
        pairs = []
        for side in range(unit, longest + 1, unit):
            # The other side as wished, or as near as area and proportions let it be beside this one.
            low, high = max(self.min_pixels / side, side / MAX_ASPECT), min(self.max_pixels / side, side * MAX_ASPECT)
            other = side if height == width else min(max(width, low), high)
            pairs += [(side, int(other // unit) * unit), (side, math.ceil(other / unit) * unit)]
        legal = (pair for pair in dict.fromkeys(pairs) if self._legal(*pair))
        return sorted(legal, key=lambda pair: abs(pair[0] - height) + abs(pair[1] - width))[:2]

    def tokens(self, size: tuple[int, int]) -> int:
        """How many tokens of the language model a canvas of (height, width) takes."""
        return (size[0] // self.unit) * (size[1] // self.unit)

    def grid(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """The `image_grid_thw` row of a canvas: frames of patches, patch rows, patch columns."""
        return 1, size[0] // self.patch, size[1] // self.patch

    def patches(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels `(3, H, W)` in [0, 1] to the tower's input `(grid_h * grid_w, 3 * frames * patch * patch)`.

        The same as the family's processor on the uint8 picture: normalise, repeat the frame in time, and order the
        patches by merge window (transformers `Qwen2VLImageProcessor.patchify`). Differentiable.
        """
        mean = pixels.new_tensor(self.mean).view(3, 1, 1)
        std = pixels.new_tensor(self.std).view(3, 1, 1)
        p, m = self.patch, self.merge
        _, height, width = pixels.shape
        rows, columns = height // p, width // p
        x = ((pixels - mean) / std).reshape(3, rows // m, m, p, columns // m, m, p)
        x = x.permute(1, 4, 2, 5, 0, 3, 6)  # rows/m, columns/m, m, m, channel, p, p
        x = x.unsqueeze(5).expand(-1, -1, -1, -1, -1, self.frames, -1, -1)
        return x.reshape(rows * columns, 3 * self.frames * p * p)
