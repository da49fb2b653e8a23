"""The optimiser of the canvas: Muon, damped, on the matrix of picture tokens. (A brush's numbers get Adam.)

A frozen model sees a picture as tokens, and a few directions in which all tokens move together dominate the gradient:
read as a matrix with a row for each token and a column for each of its pixels, its median singular value is a
twentieth of the largest or less. An optimiser that works pixel by pixel (Adam) follows those few directions, and what
tells the tokens apart comes late. Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces the momentum
matrix by its nearest orthogonal one, so that every direction moves equally fast. All the way is too far: the smallest
directions are noise. So singular values are levelled only down to a tenth of the largest.
`benchmarks/optimizer.txt` has the measurement. Gradients made from rewards are noise for the most part; there a step
may be as long as the last ones agree (`benchmarks/grpo.txt`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


def to_tokens(pixels: torch.Tensor, unit: int) -> torch.Tensor:
    """Pixels `(3, H, W)` as the matrix `(H / unit * W / unit, 3 * unit * unit)`, one token a row."""
    _, height, width = pixels.shape
    cut = pixels.reshape(3, height // unit, unit, width // unit, unit)
    return cut.permute(1, 3, 0, 2, 4).reshape(-1, 3 * unit * unit)


def to_pixels(tokens: torch.Tensor, size: tuple[int, int], unit: int) -> torch.Tensor:
    """The inverse of `to_tokens`; `size` is (height, width)."""
    height, width = size
    cut = tokens.reshape(height // unit, width // unit, 3, unit, unit)
    return cut.permute(2, 0, 3, 1, 4).reshape(3, height, width)


def level(matrix: torch.Tensor, damping: float) -> torch.Tensor:
    """`matrix` = `U S V^T` with its singular values levelled, same shape: each `s` becomes `s / sqrt(s^2 + d^2)`.

    `d` is `damping` times the largest singular value: at 0 the result is the orthogonal polar factor `U V^T`, and as
    it grows, a multiple of `matrix`. Zero stays zero. Computed in float64 from the smaller Gram matrix.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return level(matrix.T, damping).T
    wide = matrix.double()
    values, vectors = torch.linalg.eigh(wide @ wide.T)
    # Eigenvalues are squares; below a 1e-12 of the largest they are rounding noise.
    raised = values.clamp_min(0) + values[-1] * max(damping**2, 1e-12) + torch.finfo(torch.float64).tiny
    return (vectors * raised.rsqrt() @ vectors.T @ wide).to(matrix.dtype)


class CanvasMuon(torch.optim.Optimizer):
    """Damped Muon with Nesterov momentum for canvases `(3, H, W)`; Adam for the numbers of a brush, which are a matrix.

    `lr` is the root mean square change of a pixel in one step, in units of the pixel range [0, 1], and of a brush's
    numbers about the most that they change. `unit` is the side in pixels of one token (`ArtConfig.unit`: 28 or 32);
    `damping` is explained at `level`. With a `memory` above 0 the step is shorter than `lr` by how far the gradients
    disagree: by the length of their momentum over the root mean square length of the gradients themselves, of which the
    last `1 / (1 - memory)` count. Gradients that agree give 1, unrelated ones 0.27 (at a momentum of 0.9). Momentum
    begins at zero, so the first step gets 0.19 and those that agree have their full length after some twenty: a
    warm-up, for a single gradient agrees with itself whatever it is. Adam (Kingma and Ba 2015, arXiv 1412.6980) does
    that number by number, as it does for a brush; here it is one number for the canvas, which `state` keeps as
    `agreement`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        *,
        unit: int,
        momentum: float = 0.9,
        damping: float = 0.1,
        memory: float = 0.0,
    ) -> None:
        own = {"lr": lr, "unit": unit, "momentum": momentum, "damping": damping, "memory": memory}
        super().__init__(params, own)

    # torch types `step` by two overloads; one signature that serves both is beyond the type checker.
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every canvas that has a gradient. Raises `FloatingPointError` if that is not finite, moving nothing."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        everything = [(group, canvas) for group in self.param_groups for canvas in group["params"]]
        moved = [(group, canvas) for group, canvas in everything if canvas.grad is not None]
        if not finite(canvas for _, canvas in moved):
            raise FloatingPointError(
                "the gradient at the picture is not finite, so the picture was left as it is; float32 may help, or "
                "torch.autograd.set_detect_anomaly(True) say where it comes from"
            )
        for group, canvas in moved:
            speed = self.state[canvas].setdefault("momentum", torch.zeros_like(canvas))
            speed.lerp_(canvas.grad, 1 - group["momentum"])
            ahead = canvas.grad.lerp(speed, group["momentum"])
            if canvas.dim() == 3:
                flat = level(to_tokens(ahead, group["unit"]), group["damping"])
                flat /= flat.square().mean().sqrt().clamp_min(torch.finfo(flat.dtype).tiny)
                move = to_pixels(flat, canvas.shape[1:], group["unit"])
            else:
                move = _adam(self.state[canvas], canvas.grad, group["momentum"])
            length = group["lr"]
            if group["memory"]:
                if canvas.dim() == 3:
                    length *= _agreement(self.state[canvas], canvas.grad, ahead, group["memory"])
                else:  # Adam's own steps are as short as the gradients of a number disagree
                    self.state[canvas]["agreement"] = 1.0
            canvas.sub_(move, alpha=length)
        return loss


def finite(weights: Iterable[torch.Tensor]) -> bool:
    """Whether all gradients that there are consist of numbers."""
    return all(weight.grad is None or bool(weight.grad.isfinite().all()) for weight in weights)


def _adam(state: dict[str, Any], grad: torch.Tensor, momentum: float, memory: float = 0.999) -> torch.Tensor:
    """The direction of Adam (Kingma and Ba 2015, arXiv 1412.6980), whose first moment is in `state` as `momentum`.

    Numbers of a brush are of several kinds, and none of them belongs to a token.
    """
    state["count"] = state.get("count", 0) + 1
    squares = state.setdefault("squares", torch.zeros_like(grad))
    squares.lerp_(grad.square(), 1 - memory)
    mean = state["momentum"] / (1 - momentum ** state["count"])
    return mean / ((squares / (1 - memory ** state["count"])).sqrt() + 1e-8)


def _agreement(state: dict[str, Any], grad: torch.Tensor, ahead: torch.Tensor, memory: float) -> float:
    """How far the gradients that made `ahead` agree, from 0 to 1; kept in `state`, as is their mean square length."""
    state["seen"] = state.get("seen", 0) + 1
    state["power"] = memory * state.get("power", 0.0) + (1 - memory) * grad.square().sum().item()
    power = state["power"] / (1 - memory ** state["seen"])
    state["agreement"] = min(1.0, (ahead.square().sum().item() / power) ** 0.5) if power else 0.0
    return float(state["agreement"])
