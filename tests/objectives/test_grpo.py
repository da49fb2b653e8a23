"""`grpo` through TRL: rewards reach the pixels, and nothing else could have raised them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from arttune.errors import BadInput
from arttune.objectives.grpo import grpo
from arttune.tasks import Problem
from arttune.tuner import art_layer
from objectives.test_sft import TASK, studio
from test_tree import count_backbone_tokens


def small_letters(problem: Problem, text: str) -> float:
    """The share of lower-case letters in eight bytes: one in ten for a random model, and easily more."""
    return sum("a" <= letter <= "z" for letter in text) / 8


KEEN = replace(TASK, reward=small_letters)


def learn(tmp_path, blind: bool = False, **changes) -> tuple[list[dict[str, float]], torch.Tensor]:
    """What every step logged, and how far each pixel went; `blind` takes the canvas its gradient."""
    few = {"batch_size": 128, "generations": 32, "steps": 30, "learning_rate": 0.05, "trust": 0.5}
    made = studio(tmp_path, task=KEEN, objective="grpo", **(few | changes))
    layer = art_layer(made.model)
    before = layer.painting().pixels.float()
    if blind:
        layer.canvas().weight.register_hook(torch.zeros_like)
    trainer = grpo(made)
    trainer.train()
    moved = (layer.painting().pixels.float() - before).abs()
    return [line for line in trainer.state.log_history if "reward" in line], moved


def rise(lines: list[dict[str, float]]) -> float:
    """Mean reward of the last five steps over that of the first five."""
    found = [line["reward"] for line in lines]
    return sum(found[-5:]) / sum(found[:5])


def test_a_simple_reward_rises_within_thirty_steps(tmp_path):
    lines, moved = learn(tmp_path)
    assert rise(lines) > 1.5
    assert moved.mean() > 5


def test_lora_learns_it_from_the_same_rollouts(tmp_path):
    few = {"batch_size": 128, "generations": 32, "steps": 30, "learning_rate": 0.01}
    trainer = grpo(studio(tmp_path, task=KEEN, objective="grpo", adapter="lora", **few))
    trainer.train()
    lines = [line for line in trainer.state.log_history if "reward" in line]
    assert rise(lines) > 1.5
    assert lines[0]["completions/mean_length"] > 0


def test_it_does_not_without_the_canvas_gradient(tmp_path):
    lines, moved = learn(tmp_path, blind=True)
    assert rise(lines) < 1.3
    assert moved.max() == 0


def test_trls_variants_go_through_and_the_start_is_the_reference(tmp_path):
    lines, _ = learn(tmp_path, steps=3, beta=0.1, trl="loss_type=dr_grpo, scale_rewards=none, num_iterations=2")
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert lines[-1]["kl"] > 0


def test_scoring_and_sampling_run_the_prefix_once(tmp_path):
    made = studio(tmp_path, task=KEEN, objective="grpo", batch_size=16, generations=8, steps=1, trust=0.0)
    runs = count_backbone_tokens(made.model)
    grpo(made).train()
    picture = runs[0]  # the prefix up to the picture's last token, for sampling
    assert 64 < picture < 100
    prefix, questions, completions = runs[-3:]
    assert prefix == picture + len("say ") + 1, "for the gradient too, with what stands after the picture in all rows"
    assert questions + completions < 16 * 40


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"batch_size": 6, "generations": 4}, "6, which is no multiple of generations, 4"),
        ({"batch_size": 32}, "a step takes 8 problems .* there are only 4"),
        ({"trl": "loss_tipe=grpo"}, "trl: .*loss_tipe"),
        ({"rewards": "task=much"}, "'much' is no weight"),
        ({"rewards": "nothing_like_it:at_all"}, "cannot be imported"),
        ({"rollouts": "localhost:8000"}, "http://"),
        ({"rollouts": "http://127.0.0.1:9"}, "cannot take rollouts from http://127.0.0.1:9: no connection"),
    ],
)
def test_what_cannot_work_is_found_before_the_first_step(tmp_path, changes, complaint):
    with pytest.raises(BadInput, match=complaint):
        grpo(studio(tmp_path, **({"objective": "grpo", "batch_size": 8, "generations": 4} | changes)))


def test_a_reward_without_differences_is_spoken_of(tmp_path, capsys):
    few = {"batch_size": 4, "generations": 4, "steps": 6}
    grpo(studio(tmp_path / "dull", objective="grpo", **few)).train()
    assert capsys.readouterr().out.count("picture does not move") == 1
    grpo(studio(tmp_path / "keen", task=KEEN, objective="grpo", **few)).train()
    assert "does not move" not in capsys.readouterr().out
