"""What is left out of a step of grpo changes neither its gradient nor the correction for a server's gap."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from arttune.objectives.arguments import configured
from arttune.objectives.grpo import rows
from arttune.objectives.policy import Grouped, Served
from arttune.objectives.rewards import rewards
from arttune.tuner import art_layer
from objectives.test_sft import TASK, studio
from test_tree import count_backbone_tokens

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
VARIED = replace(TASK, reward=lambda problem, text: sum(text.encode()) % 97 / 97)
LOSSES = ["dapo", "grpo"]


class Sampled:
    """Completions of fixed tokens, with log-probabilities such as a server would give that differs a little."""

    def check(self, trainer: Any) -> None:
        pass

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        chance = torch.Generator().manual_seed(0)
        read = trainer.processing_class.apply_chat_template(
            prompts, add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
        written = [torch.randint(60, 120, (3 + i % 4,), generator=chance).tolist() for i in range(len(prompts))]
        logprobs = [(-5 - torch.rand(len(ids), generator=chance)).tolist() for ids in written]
        return {"prompt_ids": read, "completion_ids": written, "logprobs": logprobs}


class Stock(GRPOTrainer):
    """TRL as it is where it runs vLLM: a forward pass beforehand, all completions in the other."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.use_vllm, self._last_loaded_step = True, 0


def one_step(
    tmp_path, kind: type, trl: str, task=VARIED, robust: int | None = None, **changes
) -> tuple[torch.Tensor, dict, list[int]]:
    """The canvas' gradient in the first step of a trainer of `kind`, what is logged, and the tokens of each pass."""
    small = {"batch_size": 16, "generations": 4, "steps": 1, "learning_rate": 1e-6}
    made = studio(tmp_path, task=task, objective="grpo", trl=trl, **(small | changes))
    gradients: list[torch.Tensor] = []
    canvas = art_layer(made.model).canvas()
    canvas.robust = robust
    canvas.weight.register_hook(lambda found: gradients.append(found.clone()))
    runs = count_backbone_tokens(made.model)
    functions, _ = rewards("task", task, made.problems.train)
    own = {"num_generations": 4, "max_completion_length": 8}
    args = made.arguments(partial(configured, GRPOConfig, own=own))
    trainer = made.trainer(kind, args, rows, reward_funcs=functions, rollout_func=Sampled())
    trainer.train()
    return sum(gradients), trainer.state.log_history[0], runs


@pytest.mark.parametrize("mode", ["sequence_mask", "sequence_truncate", "token_mask", "token_truncate"])
def test_the_correction_is_trls_without_its_pass(tmp_path, mode):
    trl = f"vllm_importance_sampling_mode={mode},vllm_importance_sampling_clip_max=1.1"
    stock, told, runs = one_step(tmp_path / "stock", Stock, trl, VARIED)
    ours, said, fewer = one_step(tmp_path / "ours", Served, trl, VARIED)
    assert stock.norm() > 0
    assert (ours - stock).norm() <= 1e-4 * stock.norm()
    names = [name for name in told if name.startswith("sampling/")]
    assert len(names) >= 5
    for name in names:
        assert said[name] == pytest.approx(told[name], rel=1e-4), name
    assert sum(fewer) < 0.7 * sum(runs)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_completions_without_advantage_are_left_out(tmp_path, loss, accumulate):
    """Of four problems, the completions of two are all rewarded alike."""
    alike = ("Answer: blue", "Answer: green")
    task = replace(TASK, reward=lambda p, text: 0.3 if p.completion in alike else VARIED.reward(p, text))
    shape = {"batch_size": 16 // accumulate, "accumulate": accumulate}
    whole, told, runs = one_step(tmp_path / "all", Whole, f"loss_type={loss}", task, **shape)
    part, said, fewer = one_step(tmp_path / "part", Grouped, f"loss_type={loss}", task, **shape)
    assert told["frac_reward_zero_std"] > 0
    assert whole.norm() > 0
    assert (part - whole).norm() <= 1e-4 * whole.norm()
    assert said["loss"] == pytest.approx(told["loss"], abs=1e-5)
    assert (sum(fewer) < sum(runs)) == (loss == "dapo")


def test_nothing_is_left_out_where_the_surest_tokens_are(tmp_path):
    """TRL takes the quantile of the entropies of all completions."""
    task = replace(TASK, reward=lambda p, text: 0.3 if "blue" in p.completion else VARIED.reward(p, text))
    trl = "top_entropy_quantile=0.3"
    whole, *_ = one_step(tmp_path / "all", Whole, trl, task)
    part, *_ = one_step(tmp_path / "part", Grouped, trl, task)
    assert whole.norm() > 0
    assert (part - whole).norm() <= 1e-4 * whole.norm()


def test_a_servers_gap_is_not_what_robust_training_does_to_the_picture(tmp_path):
    """The server was shown the picture as it is; the first step of seed 1 is trained through a resize."""
    trl = "vllm_importance_sampling_mode=token_truncate"
    calm, told, _ = one_step(tmp_path / "calm", Served, trl)
    shaken, said, _ = one_step(tmp_path / "shaken", Served, trl, robust=1)
    assert (shaken - calm).norm() > 0.1 * calm.norm()
    names = [name for name in told if name.startswith("sampling/")]
    assert len(names) >= 5
    for name in names:
        assert said[name] == pytest.approx(told[name], rel=1e-4), name


class Whole(Grouped):
    """Nothing is left out."""

    def _with_advantage(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs


@pytest.mark.parametrize("mode", ["sequence_mask", "token_mask"])
def test_a_step_whose_completions_were_all_cut_off_is_no_failure(tmp_path, mode):
    trl = f"mask_truncated_completions=true,vllm_importance_sampling_mode={mode}"
    gradient, said, _ = one_step(tmp_path, Served, trl)
    assert said["completions/clipped_ratio"] == 1
    assert said["sampling/sampling_logp_difference/max"] == 0
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("more", ["", "loss_type=grpo"])
def test_nothing_to_learn_is_no_failure(tmp_path, more):
    gradient, said, _ = one_step(tmp_path, Served, more, TASK)
    assert said["frac_reward_zero_std"] == 1
    assert gradient.abs().max() <= 1e-6
