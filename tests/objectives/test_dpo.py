"""`dpo` through TRL: what is preferred becomes likelier than what is not."""

from __future__ import annotations

from arttune.objectives.dpo import dpo
from arttune.tasks import Problem
from arttune.tuner import art_layer
from objectives.test_sft import studio

PROBLEMS = [
    Problem([{"role": "user", "content": f"say {w}"}], columns={"chosen": f"yes, {w}", "rejected": f"no! {w}"})
    for w in ("red", "green", "blue", "ultramarine")
]


def test_lora_learns_it_too(tmp_path):
    made = studio(tmp_path, problems=PROBLEMS, objective="dpo", adapter="lora", steps=12, learning_rate=0.01, beta=0.5)
    trainer = dpo(made)
    trainer.train()
    margins = [line["rewards/margins"] for line in trainer.state.log_history if "rewards/margins" in line]
    assert margins[0] == 0
    assert margins[-1] > 0.1


def test_the_margin_grows_and_the_start_is_the_reference(tmp_path):
    made = studio(tmp_path, problems=PROBLEMS, objective="dpo", steps=12, learning_rate=0.05, beta=0.5)
    before = art_layer(made.model).painting().pixels.float()
    trainer = dpo(made)
    trainer.train()
    margins = [line["rewards/margins"] for line in trainer.state.log_history if "rewards/margins" in line]
    assert margins[0] == 0, "at the first step the canvas is its own reference"
    assert margins[-1] > 0.1
    assert (art_layer(made.model).painting().pixels.float() - before).abs().mean() > 5
