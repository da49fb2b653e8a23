"""A step of `grpo` changes the policy by no more than it is trusted with, measured here with whole logits."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from arttune.canvas import dither_
from arttune.objectives.grpo import grpo
from arttune.objectives.trust import ENOUGH, ROWS, Trust
from arttune.tuner import art_layer
from objectives.test_policy import VARIED
from objectives.test_sft import studio


class Watched(Trust):
    """Keeps what a step was: the canvas before, as the optimiser left it, and in the end, and how much it shortened."""

    def on_optimizer_step(self, *args: Any, optimizer: Any, **named: Any) -> None:
        self.optimised = self.canvas.weight.detach().clamp(0, 1)
        super().on_optimizer_step(*args, optimizer=optimizer, **named)
        (group,) = optimizer.param_groups
        self.shorter = optimizer.state[self.canvas.weight]["agreement"] * group["lr"] / group["initial_lr"]
        self.kept = self.canvas.weight.detach().clone()


def one_step(tmp_path, limit: float, **changes) -> tuple[Watched, dict[str, float]]:
    """A step of grpo from a picture, and what it logged."""
    sizes = {"batch_size": 32, "generations": 8, "steps": 1, "learning_rate": 0.1}
    made = studio(tmp_path, task=VARIED, objective="grpo", trust=0.0, **(sizes | changes))
    trainer = grpo(made)
    canvas = art_layer(made.model).canvas()
    dither_(canvas.weight, 0)
    watched = Watched(trainer, canvas, limit)
    trainer.add_callback(watched)
    trainer.train()
    return watched, next(line for line in trainer.state.log_history if "trust/change" in line)


def divergence(watched: Watched, canvas: torch.Tensor, temperature: float) -> float:
    """From the policy before the step to that of `canvas`, on the sampled tokens, by plain passes of each row."""
    trainer, inputs = watched.trainer, watched.trainer.passed
    apart = []
    for row in range(0, len(inputs["completion_ids"]), len(inputs["completion_ids"]) // ROWS):
        asked = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()]
        said = inputs["completion_ids"][row][inputs["completion_mask"][row].bool()]
        both = []
        for shown in (watched.before, canvas):
            watched.canvas.weight.data.copy_(shown)
            with torch.no_grad():
                logits = trainer.model(input_ids=torch.cat([asked, said])[None]).logits[0, len(asked) - 1 : -1]
            both.append((logits / temperature).log_softmax(-1).gather(1, said[:, None])[:, 0])
        apart.append(both[1] - both[0])
    change = torch.cat(apart)
    return float((change.exp() - 1 - change).mean())


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_long_step_is_taken_back_in_part(tmp_path, temperature):
    """A single gradient is its own first momentum's fifth: the step is a fifth of the one that the limit is for."""
    limit = 0.02
    watched, logged = one_step(tmp_path, limit, temperature=temperature)
    assert (watched.shorter, logged["trust/agreement"]) == pytest.approx((0.19, 0.19))
    step, kept = watched.optimised - watched.before, logged["trust/kept"]
    assert divergence(watched, watched.before + step / watched.shorter, temperature) > 2 * limit
    assert kept < 1
    assert torch.allclose(watched.kept - watched.before, kept * step, atol=1e-6)
    found = divergence(watched, watched.before + kept * step / watched.shorter, temperature)
    assert 0.2 * limit < found <= ENOUGH * limit
    assert logged["trust/change"] == pytest.approx(found * watched.shorter**2, rel=1e-2)


def test_a_step_at_half_the_rate_is_half_as_long(tmp_path):
    """The limit cuts it like the whole one."""
    watched, logged = one_step(tmp_path, 0.02)
    step = watched.optimised - watched.before
    watched.canvas.weight.data.copy_(watched.before + step / 2)
    state = {watched.canvas.weight: {"agreement": logged["trust/agreement"]}}
    watched.on_optimizer_step(optimizer=SimpleNamespace(param_groups=[{"lr": 0.01, "initial_lr": 0.02}], state=state))
    assert torch.allclose(watched.kept - watched.before, logged["trust/kept"] * step / 2, atol=1e-6)


def test_a_short_step_is_left_alone(tmp_path):
    watched, logged = one_step(tmp_path, 1.0)
    assert 0 < logged["trust/change"] < 1
    assert logged["trust/kept"] == 1
    assert torch.equal(watched.kept, watched.optimised)


@pytest.mark.parametrize("wrong", [math.inf, math.nan, 1e9])
def test_of_a_step_that_will_not_do_however_short_nothing_is_kept(tmp_path, monkeypatch, wrong):
    watched, logged = one_step(tmp_path, 0.02)
    state = {watched.canvas.weight: {"agreement": logged["trust/agreement"]}}
    monkeypatch.setattr(watched, "_change", lambda made, share: wrong)
    watched.on_optimizer_step(optimizer=SimpleNamespace(param_groups=[{"lr": 0.02, "initial_lr": 0.02}], state=state))
    assert torch.equal(watched.kept, watched.before)
    assert state[watched.canvas.weight]["kept"] > 0, "the next one is tried all the same"


def test_a_step_whose_completions_are_all_masked_is_no_failure(tmp_path):
    _, logged = one_step(tmp_path, 1e-4, trl="mask_truncated_completions=true")
    assert logged["trust/change"] == 0
    assert logged["trust/kept"] == 1


def test_runs_have_it_by_default(tmp_path):
    trainer = grpo(studio(tmp_path, task=VARIED, objective="grpo", batch_size=8, generations=4, learning_rate=0.5))
    trainer.train()
    lines = [line for line in trainer.state.log_history if "trust/kept" in line]
    assert len(lines) == 2
    assert min(line["trust/kept"] for line in lines) < 1
