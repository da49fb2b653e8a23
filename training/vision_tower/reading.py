"""The two stages with the language model in the loop: its alphabet first, and at the end reading pictures with it."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from arttune.models.graft import FAMILY
from arttune.tasks import get_task
from codes import Codes
from parts import Scene
from reader import Reader, Turn
from run import Run, advance, optimizer_of
from scenes import SIDES, scene

ASKED = {
    "word": 0.22,
    "phrase": 0.08,
    "number": 0.2,
    "sum": 0.06,
    "object": 0.2,
    "count": 0.08,
    "pair": 0.07,
    "chart": 0.05,
    "blank": 0.02,
    "noise": 0.02,
}
# Text for the picture not to hurt: the training problems of these tasks.
TEXTS = ("gsm8k", "gsm8k", "svamp", "reasoning_gym:family_relationships", "reasoning_gym:chain_sum")
CODE_RATE = 0.02
ERROR = 0.4  # of a token's length: how far off a tower may write it, for the alphabet to be read all the same
HARM = 2.0  # weight in the last stage of what pictures do to texts


class Texts:
    """Text problems as turns, for the model to stay the same on."""

    def __init__(self, reader: Reader, limit: int) -> None:
        self.reader, self.limit = reader, limit
        self.problems = [get_task(name).load("train")[:2000] for name in TEXTS]

    def draw(self, rng: random.Random) -> Turn:
        problem = rng.choice(rng.choice(self.problems))
        return self.reader.turn(problem.question, problem.completion or "", self.limit)


def distributions(reader: Reader, tokens: torch.Tensor, turns: list[Turn]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities `(tokens of all turns, vocabulary)` of the text alone, and with each picture in front."""
    rows = [[turn] for turn in turns]
    with torch.no_grad():
        alone = F.log_softmax(reader.logits(reader.read(None, rows, everywhere=True).hidden), dim=-1)
    return alone, F.log_softmax(reader.logits(reader.read(tokens, rows, everywhere=True).hidden), dim=-1)


def harm(reader: Reader, tokens: torch.Tensor, turns: list[Turn]) -> torch.Tensor:
    """Mean divergence, in nats a token, of the text model with each picture in front from the text model alone."""
    alone, beside = distributions(reader, tokens, turns)
    return F.kl_div(beside, alone, log_target=True, reduction="batchmean")


def answers(reader: Reader, tokens: torch.Tensor, asked: list[list[Turn]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the answers, and for each (row, turn) whether every token of it is the likeliest."""
    read = reader.read(tokens, asked)
    logits = reader.logits(read.hidden)
    loss = F.cross_entropy(logits, read.wanted)
    wrong = (logits.argmax(dim=-1) != read.wanted).float()
    right = torch.ones(len(asked), max(map(len, asked)), device=wrong.device)
    return loss, right.index_put((read.row, read.turn), -wrong, accumulate=True) > 0.5


def lesson(
    reader: Reader,
    show: Callable[[list[Scene]], torch.Tensor],
    found: list[Scene],
    empty: list[Scene],
    texts: Texts,
    rng: random.Random,
) -> tuple[torch.Tensor, torch.Tensor, dict[str, list[float]]]:
    """The loss of two questions about each of `found`, what `empty` does to as many texts, and both as measured.

    `show` makes picture tokens of scenes.
    """
    asked = [[reader.turn(*one.ask(rng)) for _ in range(2)] for one in found]
    loss, right = answers(reader, show(found), asked)
    divergence = harm(reader, show(empty), [texts.draw(rng) for _ in empty])
    values = {"loss": [loss.item()], "harm": [divergence.item()]}
    for one, row in zip(found, right.tolist(), strict=True):
        values.setdefault(one.kind, []).extend(map(float, row))
    return loss, divergence, values


def crowd(rows: int, side: int) -> int:
    """How many pictures of `side` pixels, with questions of some 70 tokens, are as much work as `rows` small ones."""
    small, large = (70 + FAMILY.tokens((one, one)) for one in (SIDES[0], side))
    return max(1, rows * small // large)


def learn_codes(run: Run, reader: Reader, codes: Codes, texts: Texts, args: argparse.Namespace) -> None:
    # The vectors are few and each is used often: plain Adam. It moves one by up to a tenth of its length in a step.
    optimizer = torch.optim.Adam(codes.parameters(), lr=CODE_RATE, betas=(0.9, 0.99))
    dice = torch.Generator()

    def show(scenes: list[Scene]) -> torch.Tensor:
        exact = codes([one.meanings() for one in scenes])
        length = (exact - codes.mean).norm(dim=-1, keepdim=True).detach()
        # A tower errs alike on all tokens that see the same thing, and a little on each.
        alike, alone = (torch.randn(shape, generator=dice) for shape in (exact[:, :1].shape, exact.shape))
        off = 0.9 * alike + 0.4 * alone
        return exact + ERROR * length * (off / exact.shape[-1] ** 0.5).to(exact.device)

    for step in run.steps("codes", args.codes, codes, optimizer):
        dice.manual_seed(args.seed * 1_000_003 + step)
        rng = random.Random(f"codes {args.seed} {step}")
        side = rng.choices(SIDES, args.sides)[0]
        found = [scene(f"codes {args.seed} {step} {i}", side, ASKED) for i in range(crowd(10, side))]
        empty = [scene(f"empty {args.seed} {step} {i}", side, {"blank": 1, "noise": 1}) for i in range(2)]
        loss, hurt, values = lesson(reader, show, found, empty, texts, rng)
        advance(loss + hurt, codes, optimizer, CODE_RATE, step / args.codes)
        run.count(values)
        run.report("codes", step, 10)


def learn_to_read(run: Run, reader: Reader, texts: Texts, args: argparse.Namespace) -> None:
    tower = nn.ModuleDict({"tower": reader.tower})
    optimizer = optimizer_of(tower, args.read_rate)
    mix = {"blank": 1.0, "noise": 0.5, "object": 0.2, "word": 0.1, "number": 0.1}

    def show(scenes: list[Scene]) -> torch.Tensor:
        return reader.see([one.pixels for one in scenes])

    for step in run.steps("read", args.read, tower, optimizer):
        rng = random.Random(f"read {args.seed} {step}")
        side = rng.choices(SIDES, args.sides)[0]
        found = [scene(f"read {args.seed} {step} {i}", side, ASKED) for i in range(crowd(args.rows, side))]
        empty = [scene(f"empty {args.seed} {step} {i}", side, mix) for i in range(4)]
        loss, hurt, values = lesson(reader, show, found, empty, texts, rng)
        advance(loss + HARM * hurt, tower, optimizer, args.read_rate, step / args.read)
        run.count(values)
        run.report("read", step, 10)
