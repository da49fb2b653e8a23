"""Which way, and how far, may a picture move on rewards? The measurement behind `grpo`'s `trust`.

    scripts/vllm_cpu.sh serve smol --port 8000 &
    export ARTTUNE_DATA=FOLDER
    python benchmarks/grpo_directions.py --start PAINTING.png --rollouts http://127.0.0.1:8000

Takes the gradients of `--batches` steps of grpo on SVAMP at one picture, without moving it. How much they have in
common is the mean cosine of two of them. Then, in float32, the change of the policy (the divergence that `trust`
limits) is found for moves of several lengths, along the mean gradient and along white noise. Last, the directions that
an optimiser may make of the mean of one half of the gradients (as it is, its sign, levelled as Muon does it, whitened
over pixels) are compared by what they promise to the other half when each goes as far as changes the policy by 0.02
nats a token. A picture lies anywhere within its 8-bit levels here, as a canvas does in training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from arttune import training
from arttune.canvas import dither_
from arttune.machine import describe
from arttune.objectives.trust import Trust
from arttune.optimizer import level, to_pixels, to_tokens
from arttune.settings import Settings
from arttune.tuner import art_layer

CHANGE = 0.02
LENGTHS = (0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.004)


class Taken(TrainerCallback):
    """The gradient of each step."""

    def __init__(self, canvas: torch.nn.Parameter) -> None:
        self.canvas = canvas
        self.gradients: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        assert self.canvas.grad is not None
        self.gradients.append(self.canvas.grad.detach().clone())


def unit_length(move: torch.Tensor) -> torch.Tensor:
    """`move` with a root mean square of 1."""
    return move / move.square().mean().sqrt()


def whitened(gradients: torch.Tensor, damping: float) -> torch.Tensor:
    """The mean of matrices `(batches, tokens, pixels)` times the damped inverse of their pixels' second moments."""
    wide = gradients.double()
    values, vectors = torch.linalg.eigh(torch.einsum("bij,bik->jk", wide, wide))
    inverse = (vectors / (values.clamp_min(0) + damping * values[-1])) @ vectors.T
    return (wide.mean(dim=0) @ inverse).float()


def directions(gradients: torch.Tensor, unit: int) -> Iterator[tuple[str, torch.Tensor]]:
    """What optimisers make of gradients `(batches, 3, H, W)`, each of unit length."""
    mean = gradients.mean(dim=0)
    pixels = partial(to_pixels, size=(mean.shape[1], mean.shape[2]), unit=unit)
    yield "mean", unit_length(mean)
    yield "its sign", mean.sign()
    for damping in (0.01, 0.1, 1.0):
        yield f"levelled, {damping}", unit_length(pixels(level(to_tokens(mean, unit), damping)))
    matrices = torch.stack([to_tokens(one, unit) for one in gradients])
    for damping in (1e-4, 1e-3):
        yield f"whitened, {damping:g}", unit_length(pixels(whitened(matrices, damping)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", default="grey", help="the picture, as `arttune train --start` takes it")
    parser.add_argument("--rollouts", default="model")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    still = {"learning_rate": 1e-12, "warmup": 0, "schedule": "constant", "validation": 0, "trust": 0.0}
    sampled = {"rollouts": args.rollouts, "max_new_tokens": 32, "temperature": 0.7, "trl": "scale_rewards=none"}
    settings = Settings(
        objective="grpo",
        start=args.start,
        steps=args.batches,
        batch_size=args.batch_size,
        dtype="float32",
        **still,
        **sampled,
    )
    with tempfile.TemporaryDirectory() as folder:
        problems, loaded = training.opened(settings)
        config = training.canvas_config(settings, problems, loaded)
        studio, trainer = training._set_up(settings, config, Path(folder), problems, loaded, print)
        canvas = art_layer(studio.model).canvas().weight
        taken = Taken(canvas)
        trainer.add_callback(taken)
        trainer.train()
    rewards = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    gradients = torch.stack(taken.gradients)
    flat = torch.nn.functional.normalize(gradients.flatten(1), dim=1)
    others = ~torch.eye(len(flat), dtype=torch.bool)
    print(f"{args.batches} steps of {args.batch_size} at {args.start}, {describe()}")
    alike = (flat @ flat.T)[others].mean()
    print(f"mean reward {sum(rewards) / len(rewards):.3f}; mean cosine of two gradients {alike:.3f}")

    chance = torch.Generator().manual_seed(0)
    dither_(canvas.data, 0)
    trust = Trust(trainer, art_layer(studio.model).canvas(), CHANGE)
    trust.on_pre_optimizer_step()

    def change(move: torch.Tensor) -> float:
        return trust._change(trust.before - move, 1.0)

    print("\nroot mean square move   change in nats a token, along the mean gradient and along white noise")
    along, noise = unit_length(gradients.mean(dim=0)), torch.randn(canvas.shape, generator=chance)
    for length in LENGTHS:
        print(f"{length:21.4f}   {change(length * along):10.4f}{change(length * noise):10.4f}")

    print(f"\ndirection           root mean square move that changes the policy by {CHANGE}, and what it promises")
    halves = gradients[::2], gradients[1::2]
    found: dict[str, list[tuple[float, float]]] = {}
    for half, other in (halves, halves[::-1]):
        for name, direction in directions(half, art_layer(studio.model).family.unit):
            length = 3e-4
            for _ in range(5):
                length *= min(5.0, max(0.2, (CHANGE / max(change(length * direction), 1e-9)) ** 0.5))
            promise = float((direction * other.mean(dim=0)).sum()) * length
            found.setdefault(name, []).append((length, promise))
    means = {name: [sum(values) / len(values) for values in zip(*rows, strict=True)] for name, rows in found.items()}
    for name, (length, promise) in means.items():
        print(f"{name:20}{length:10.5f}{promise:12.2e}")
    if args.json:
        ratios = {f"{name}/mean": promise / means["mean"][1] for name, (_, promise) in means.items()}
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
