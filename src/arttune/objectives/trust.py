"""No step of `grpo` changes what the model says by more than so much: the trust region of Schulman et al. (2015).

A reward only tells something of the completions it was given for, and these say little about a model that speaks
otherwise by the next step. How far a picture may move is no matter of pixels: by the same 0.004 a pixel the policy
changes four times as much once it has found its form, and from a picture that makes it babble there is no way back.
So after each step some of its completions are scored again, and if the step was too long, it is taken back in part.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import TrainerCallback

from arttune.objectives.policy import Grouped
from arttune.tuner import Canvas

ROWS = 16  # completions of each process that are scored again: so many or, where they do not divide, up to twice that
TRIES = 8  # a long step changes less than the square of its length says, so what is left of it may still be too long
LEAST = 1e-3  # of a step is tried in the next one, or a single bad step would end all
ENOUGH = 1.25  # times the limit is within what sixteen completions can tell


class Trust(TrainerCallback):
    """Shortens a step of `trainer` on `canvas` to `limit`, in nats a token.

    The change is the Kullback-Leibler divergence of the policy before the step from the one after it, on sampled
    tokens (`k3` of Schulman 2020, joschu.net/blog/kl-approx.html), and for short steps it grows with their square. The
    limit is for a step at the peak of the learning rate, on whose direction the last gradients agree (`CanvasMuon`).
    That step is looked for; the one that is made is shorter by as much as schedule and agreement have it, and may
    change less than could be told from rounding. Logs `trust/change`, which the square gives for the step that was
    made, `trust/kept`, the share that it is of the optimiser's, and `trust/agreement`, from 0 to 1.
    """

    def __init__(self, trainer: Grouped, canvas: Canvas, limit: float) -> None:
        self.trainer = trainer
        self.canvas = canvas
        self.limit = limit

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Remembers the canvas, and what the model says with it."""
        self.before = self.canvas.weight.detach().clone()
        self.said = self._logps()

    @torch.no_grad()
    def on_optimizer_step(self, *_: Any, optimizer: Any, **__: Any) -> None:
        """Takes back what is too much."""
        (group,), state = optimizer.param_groups, optimizer.state[self.canvas.weight]
        shorter = state["agreement"] * group["lr"] / group["initial_lr"]
        kept, change = self._cut(state, shorter) if shorter else (1.0, 0.0)
        logged = self.trainer._metrics["train"]
        for name, value in (("change", change * shorter**2), ("kept", kept), ("agreement", state["agreement"])):
            logged[f"trust/{name}"].append(value)

    def _cut(self, state: dict[str, Any], shorter: float) -> tuple[float, float]:
        """The share of the step that is kept, and what as much of the whole step changes; moves the canvas.

        `shorter` is what the optimiser made of the whole step.
        """
        made = self.canvas.settle().detach().clone()
        if not self.said.numel():  # of completions that were all cut off: nothing tells how far it is
            kept = float(state.get("kept", 1.0))
            self.canvas.weight.copy_(self.before.lerp(made, kept))
            return kept, 0.0
        # What is kept of a step is near what was kept of the last one. That lies with the optimiser's state, so that a
        # resumed run tries the same.
        kept = min(1.0, 2 * state.get("kept", 1.0))
        change = self._change(made, kept / shorter)
        for _try in range(TRIES):
            if change <= ENOUGH * self.limit:
                break
            kept *= (self.limit / change) ** 0.5 if math.isfinite(change) else 0.1
            change = self._change(made, kept / shorter)
        state["kept"] = max(kept, LEAST)
        if not change <= ENOUGH * self.limit:  # nothing of it will do
            kept = change = 0.0
        self.canvas.weight.copy_(self.before.lerp(made, kept))
        return kept, change

    @torch.no_grad()
    def _change(self, made: torch.Tensor, share: float) -> float:
        """Nats a token between the policies before the step and after a `share` of it, over all processes."""
        self.canvas.weight.copy_(self.before.lerp(made, share))
        away = self._logps() - self.said
        mine = (away.exp() - 1 - away).sum() / max(1, len(away))  # completions that were cut off may all be masked
        return float(self.trainer.accelerator.gather(mine).mean())

    @torch.no_grad()
    def _logps(self) -> torch.Tensor:
        """Log-probabilities of the tokens of some completions of the step's last pass, `(tokens,)`."""
        inputs = self.trainer.passed
        chosen = slice(0, None, max(1, len(inputs["completion_ids"]) // ROWS))
        ids, mask = (
            torch.cat([inputs[f"prompt_{kind}"], inputs[f"completion_{kind}"]], dim=1)[chosen]
            for kind in ("ids", "mask")
        )
        written = inputs["completion_mask"][chosen].bool()
        found = self.trainer._get_per_token_logps_and_entropies(self.trainer.model, ids, mask, written.shape[1])[0]
        return found[written]
