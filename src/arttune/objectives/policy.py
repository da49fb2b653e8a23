"""TRL's GRPOTrainer, resumable in any epoch, with nothing run that the gradient does not need.

A completion that is as good as the others of its group has no gradient and is left out of the pass. Where completions
come from servers, the importance correction for the gap between a server's log-probabilities and the trainer's takes
the latter from the pass that is made for the gradient anyway. TRL runs another one beforehand.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from arttune.rollouts import Rollouts
from arttune.tuner import art_layer

# Losses that are sums over tokens: what is left out does not change what the rest is divided by.
SUMS = ("dapo", "cispo")
# An advantage that is less, beside the largest, came of rounding, when a mean was taken of equal rewards.
NOTHING = 1e-3


class ByEpoch(RepeatSampler):
    """TRL's sampler, whose order is known from seed and epoch alone.

    TRL's own goes on from one epoch to the next, so that a run resumed in its second would see the first one's order.
    """

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each epoch, counted from 0."""
        if self.shuffle:
            self.generator.manual_seed(self.seed + epoch)


class Grouped(GRPOTrainer):
    """A GRPOTrainer that can be resumed in any epoch, and passes over what has no advantage.

    `passed` is what the last pass was made for, before anything was left out.
    """

    passed: dict[str, Any]

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler:
        return ByEpoch(
            self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
        )

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self.passed = inputs
        return super()._compute_loss(model, self._with_advantage(inputs))

    def _with_advantage(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The rows of `inputs` that have an advantage (one of them at least), or all where others matter too."""
        others = self.beta or self._entropy_bonus_enabled or self.aux_loss_enabled or self.top_entropy_quantile < 1
        if self.loss_type not in SUMS or others:
            return inputs
        rows = inputs["advantages"].abs()
        # TRL makes them about 1 where it scales them, by a spread of equal rewards too.
        most = rows.max() if self.scale_rewards == "none" else rows.max().clamp(min=1.0)
        kept = (rows >= NOTHING * most).index_fill(0, rows.argmax(), True)
        return {
            name: value[kept] if isinstance(value, torch.Tensor) and value.dim() else value
            for name, value in inputs.items()
        }


class Served(Grouped):
    """A trainer whose rollouts come from servers; the importance correction of TRL's vLLM mode is on."""

    def __init__(self, *args: Any, rollout_func: Rollouts, **kwargs: Any) -> None:
        super().__init__(*args, rollout_func=rollout_func, **kwargs)
        self._scored: dict[str, Any] | None = None  # what a loss is being computed of
        rollout_func.check(self)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self.use_vllm = True  # now TRL's loss takes the importance ratios; earlier it would have run its own pass
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self.use_vllm, self._scored = False, None

    def _with_advantage(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self._scored = dict(super()._with_advantage(inputs))
        return self._scored

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if self._scored is not None:
            ours = found[0].detach()
            layer = art_layer(self.model)
            if layer.canvas(layer.current).robust is not None:  # but a server was shown the picture unshaken
                with torch.no_grad():
                    ours = super()._get_per_token_logps_and_entropies(*args, **kwargs)[0]
            self._correct(ours, self._scored)
        return found

    def _correct(self, ours: torch.Tensor, inputs: dict[str, Any]) -> None:
        """Put the importance ratios into `inputs`, by the formulas of TRL's vLLM mode, and log the gap."""
        ours = inputs.get("old_per_token_logps", ours)
        mask = inputs["completion_mask"].bool()
        gap = (ours - inputs["sampling_per_token_logps"]).masked_fill(~mask, 0.0)
        kind, _, action = self.vllm_importance_sampling_mode.partition("_")
        whole = kind == "sequence"
        ratio = (gap.sum(dim=1, keepdim=True) if whole else gap).exp()
        low, high = self.vllm_importance_sampling_clip_min, self.vllm_importance_sampling_clip_max
        within = ratio.clamp(min=low, max=high) if (low, high) != (None, None) else ratio
        inputs["importance_sampling_ratio"] = within if action == "truncate" else ratio.where(within == ratio, 0.0)
        used = inputs["importance_sampling_ratio"]
        used = used.flatten() if whole else used[mask]
        away = gap.abs()[mask]
        if not len(away):  # every completion was cut off, and such are masked (mask_truncated_completions)
            used = away = gap.new_zeros(1)
        logged = self._metrics["train" if self.model.training else "eval"]
        for name, value in (
            ("sampling_logp_difference/mean", away.mean()),
            ("sampling_logp_difference/max", away.max()),
            ("importance_sampling_ratio/min", used.min()),
            ("importance_sampling_ratio/mean", used.mean()),
            ("importance_sampling_ratio/max", used.max()),
        ):
            every = self.accelerator.gather(value)
            reduced = getattr(every, name.rpartition("/")[2])()
            logged[f"sampling/{name}"].append(reduced.item())
