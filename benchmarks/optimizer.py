"""Which optimiser and rate paint best? The measurement behind `arttune train`'s defaults.

    ARTTUNE_DATA=FOLDER python benchmarks/optimizer.py --steps 60 | tee benchmarks/optimizer.txt

Every arm paints the same canvas on the same SVAMP problems in the same order, from the same start, with a cosine
schedule (one arm apart) over the same number of steps; 140 training problems are kept out for a loss and a score at the
end, and for `p`, the mean probability of a problem's whole supervised answer. Arms: Muon on the matrix of picture
tokens (what arttune uses) over rates and momenta, Adam likewise, the sign of the momentum, the momentum normalised to
unit root mean square, and Adam preconditioned in the space of the tower's linear patch embedding. One rate is one unit
of [0, 1] pixel range a step. Printed first are the singular values of the first gradient as a matrix of picture tokens:
what Muon is for.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from transformers import PrinterCallback
from trl import SFTConfig

from arttune import ArtConfig, prepare
from arttune.evaluate import evaluate
from arttune.machine import describe
from arttune.models import load_model
from arttune.objectives.sft import Grouped, rows
from arttune.optimizer import CanvasMuon, to_tokens
from arttune.tasks import get_task, hold_out
from arttune.tuner import art_layer


class Momentum(torch.optim.Optimizer):
    """Momentum whose step is `shape(momentum)`."""

    def __init__(
        self, params: Iterable[torch.Tensor], lr: float, shape: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__(params, {"lr": lr})
        self.shape = shape

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.mul_(0.9).add_(p.grad, alpha=0.1)
                p.sub_(self.shape(m), alpha=group["lr"])


class PatchAdam(torch.optim.Optimizer):
    """Adam whose gradient is first multiplied by the inverse of the patch embedding's Gram matrix (damped).

    A tower's first layer is linear in each patch, so the loss sees pixels only through `W x`; dividing by `W^T W`
    takes equal steps in what the tower sees instead of in what the eye sees.
    """

    def __init__(self, params: Iterable[torch.Tensor], lr: float, weight: torch.Tensor, patch: int) -> None:
        super().__init__(params, {"lr": lr})
        gram = weight.T @ weight
        damped = gram + 0.1 * gram.diagonal().mean() * torch.eye(len(gram))
        values, vectors = torch.linalg.eigh(damped)
        self.root = vectors @ torch.diag(values.rsqrt()) @ vectors.T
        self.patch = patch

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                side, (_, h, w) = self.patch, p.shape
                g = p.grad.view(3, h // side, side, w // side, side).permute(1, 3, 0, 2, 4).reshape(-1, 3 * side * side)
                g = g @ self.root
                m = state.setdefault("m", torch.zeros_like(g))
                v = state.setdefault("v", torch.zeros_like(g))
                state["t"] = state.get("t", 0) + 1
                m.mul_(0.9).add_(g, alpha=0.1)
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                move = (m / (1 - 0.9 ** state["t"])) / ((v / (1 - 0.999 ** state["t"])).sqrt() + 1e-12)
                move = move @ self.root
                move = move / move.square().mean().sqrt()
                move = move.view(h // side, w // side, 3, side, side).permute(2, 0, 3, 1, 4).reshape(p.shape)
                p.sub_(move, alpha=group["lr"])


def adam(lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> Callable[..., torch.optim.Optimizer]:
    return lambda params, _: torch.optim.Adam(params, lr=lr, betas=betas)


def muon(lr: float, momentum: float = 0.9, damping: float = 0.1) -> Callable[..., torch.optim.Optimizer]:
    return lambda params, model: CanvasMuon(
        params, lr, unit=art_layer(model).family.unit, momentum=momentum, damping=damping
    )


def unit(m: torch.Tensor) -> torch.Tensor:
    return m / (m.square().mean().sqrt() + 1e-12)


def patch_adam(lr: float) -> Callable[..., torch.optim.Optimizer]:
    def make(params: Any, model: Any) -> torch.optim.Optimizer:
        kernel = art_layer(model).base_layer.proj.weight.float()
        side = kernel.shape[-1]
        return PatchAdam(params, lr, kernel.sum(dim=2).reshape(len(kernel), -1), side)

    return make


# Each arm: start of the canvas, schedule, optimiser.
ARMS: dict[str, tuple[str, str, Callable[..., torch.optim.Optimizer]]] = {
    "muon 0.01": ("grey", "cosine", muon(0.01)),
    "muon 0.02": ("grey", "cosine", muon(0.02)),
    "muon 0.04": ("grey", "cosine", muon(0.04)),
    "muon 0.08": ("grey", "cosine", muon(0.08)),
    "muon 0.02, momentum 0.95": ("grey", "cosine", muon(0.02, 0.95)),
    "muon 0.02, not damped": ("grey", "cosine", muon(0.02, damping=0.0)),
    "muon 0.02 from noise": ("noise", "cosine", muon(0.02)),
    "adam 0.01": ("grey", "cosine", adam(0.01)),
    "adam 0.02": ("grey", "cosine", adam(0.02)),
    "adam 0.04": ("grey", "cosine", adam(0.04)),
    "adam 0.08": ("grey", "cosine", adam(0.08)),
    "adam 0.02, betas 0.9 0.99": ("grey", "cosine", adam(0.02, (0.9, 0.99))),
    "adam 0.02, constant": ("grey", "constant_with_warmup", adam(0.02)),
    "adam 0.02 from noise": ("noise", "cosine", adam(0.02)),
    "sign 0.01": ("grey", "cosine", lambda p, _: Momentum(p, 0.01, torch.sign)),
    "normalised 0.02": ("grey", "cosine", lambda p, _: Momentum(p, 0.02, unit)),
    "patch-space adam 0.02": ("grey", "cosine", patch_adam(0.02)),
}


def spectrum(trainer: Grouped) -> list[float]:
    """Singular values of one batch's gradient at the start, as shares of the largest: smallest, median, top two."""
    layer = art_layer(trainer.model)
    pixels = layer.canvas().weight
    trainer.model(**trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))).loss.backward()
    values = torch.linalg.svdvals(to_tokens(pixels.grad, layer.family.unit)).sort().values
    pixels.grad = None
    return [float(values[i] / values[-1]) for i in (0, len(values) // 2, -2, -1)]


@torch.no_grad()
def kept_out(trainer: Grouped) -> tuple[list[float], int]:
    """The log-probability of each kept-out problem's whole answer, and how many tokens all have."""
    found, tokens = [], 0
    for batch in trainer.get_eval_dataloader():
        outputs = trainer.model(**trainer._prepare_inputs(batch), fused_lm_head=True)
        found += outputs.log_probs.sum(dim=1).tolist()
        tokens += int(outputs.label_mask.sum())
    return found, tokens


def run(arm: str, steps: int, batch: int, seed: int, size: int | None, loss: str) -> dict[str, Any]:
    start, schedule, make = ARMS[arm]
    loaded = load_model("smol")
    task = get_task("svamp")
    rest, kept = hold_out(task.load("train"), 140, seed)
    model = get_peft_model(loaded.model, ArtConfig(start=start, seed=seed, size=size))
    config = model.peft_config["default"]
    arguments = SFTConfig(
        output_dir="runs/bench",
        max_steps=steps,
        per_device_train_batch_size=batch,
        lr_scheduler_type=schedule,
        warmup_steps=5,
        max_grad_norm=0,
        gradient_checkpointing=False,
        per_device_eval_batch_size=batch,
        bf16=False,
        max_length=None,
        completion_only_loss=True,
        loss_type=loss,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=True,
        seed=seed,
        dataloader_pin_memory=False,
    )
    optimizer = make([art_layer(model).canvas().weight], model)
    trainer = Grouped(
        model=model,
        args=arguments,
        train_dataset=prepare(rows(rest), loaded.tokenizer, config),
        eval_dataset=prepare(rows(kept), loaded.tokenizer, config),
        processing_class=loaded.tokenizer,
        optimizers=(optimizer, None),
    )
    trainer.remove_callback(PrinterCallback)
    first = spectrum(trainer)
    begun = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    logps, tokens = kept_out(trainer)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    score, _ = evaluate(
        model,
        loaded.tokenizer,
        task,
        kept,
        split="validation",
        model_name="smol",
        adapter="art",
        seed=seed,
        picture_tokens=config.tokens,
    )
    last = losses[-20:]
    found = {
        "arm": arm,
        "spectrum": first,
        "loss": sum(last) / len(last),
        "kept_loss": -sum(logps) / tokens,
        "kept_p": sum(math.exp(logp) for logp in logps) / len(logps),
        "train_seconds": seconds,
    }
    return found | score.as_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, help="side of the canvas in pixels; 224 by default")
    parser.add_argument("--loss", default="nll", help="TRL's loss_type: nll or dft")
    parser.add_argument("--arm", action="append", choices=list(ARMS), help="only this arm (repeatable)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    results = []
    for arm in options.arm or ARMS:
        found = run(arm, options.steps, options.batch, options.seed, options.size, options.loss)
        if not results:
            shown = ", ".join(f"{share:.3f}" for share in found["spectrum"])
            print(f"singular values of the first gradient, smallest, median, top two: {shown}", flush=True)
        results.append(found)
        low, high = found["ci95"]
        print(
            f"{arm:28s} loss of last 20 steps {found['loss']:.3f}   kept-out loss {found['kept_loss']:.3f}   "
            f"p {found['kept_p']:.3f}   strict {found['accuracy']:6.1%} [{low:.1%}, {high:.1%}] of {found['n']}   "
            f"{found['train_seconds']:.0f} s",
            flush=True,
        )
    if options.json:
        best = min(r["kept_loss"] for r in results)
        ratios = {f"{r['arm']}/best kept-out loss": r["kept_loss"] / best for r in results}
        options.json.write_text(json.dumps({"ratios": ratios, "machine": describe(), "arms": results}, indent=2))


if __name__ == "__main__":
    main()
