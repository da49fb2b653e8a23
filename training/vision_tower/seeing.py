"""The two stages without a language model: telling marks apart, and naming what lies under each picture token."""

from __future__ import annotations

import argparse
import random

import torch
from torch import nn
from torch.nn import functional as F

from arttune.models.graft import FAMILY
from codes import Codes
from painter import SHAPES
from parts import LETTERS, Scene
from reader import Reader
from reading import ASKED
from run import Run, advance, optimizer_of
from scenes import SIDES, scene

SEEN = ASKED | {"page": 0.4, "lines": 0.8}
WRITTEN = ASKED | {"page": 0.2, "lines": 0.1}
MARKS = [*LETTERS, *SHAPES]
GROUND = 0.2  # weight of a token that is on nothing
EXACT = 10.0  # weight of the distance from the vectors when they are to be written


def marks(found: list[Scene]) -> torch.Tensor:
    """For each patch of each scene, in the tower's order, the mark under its middle (0 for none)."""
    labels = []
    for one in found:
        side = one.image.size[0] // FAMILY.patch
        plane = torch.zeros(side, side, dtype=torch.long)
        for (left, top, right, bottom), mark in one.marks:
            rows = [min(side, max(0, round(y / FAMILY.patch))) for y in (top, bottom)]
            columns = [min(side, max(0, round(x / FAMILY.patch))) for x in (left, right)]
            plane[rows[0] : rows[1], columns[0] : columns[1]] = MARKS.index(mark) + 1
        m = FAMILY.merge
        labels.append(plane.view(side // m, m, side // m, m).transpose(1, 2).flatten())
    return torch.cat(labels)


def naming(
    codes: Codes, written: torch.Tensor, meanings: list[list[list[str]]], weight: torch.Tensor, words: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """Which name of each kind every token stands for: cross-entropy over the kind's vectors, and accuracy by kind.

    `weight` `(tokens,)` is how much each token counts, `words` how much the names of words do. Accuracy is that of the
    tokens of weight 1.
    """
    named: dict[str, list[tuple[int, int]]] = {}
    for i, token in enumerate(token for picture in meanings for token in picture):
        for name in token:
            named.setdefault(name.partition(":")[0], []).append((i, codes.index[name]))
    relative, losses, scores = (written - codes.mean).flatten(0, 1), [], {}
    for slot, every in codes.slots.items():
        pairs = named.get(slot)
        if not pairs or len(every) == 1:
            continue
        rows, ids = torch.tensor(pairs, device=written.device).unbind(1)
        where = codes.slot(slot)
        vectors = codes.table[where].detach()
        vectors = vectors - vectors.mean(dim=0)
        # So scaled that a vector written exactly stands out by some 16 nats.
        logits = 16 / vectors.pow(2).sum(dim=1).mean() * relative[rows] @ vectors.T
        wanted = ids - where.start
        loss = (F.cross_entropy(logits, wanted, reduction="none") * weight[rows]).sum() / weight.sum()
        losses.append(loss * words if slot == "word" else loss)
        right = (logits.argmax(dim=1) == wanted)[weight[rows] == 1]
        if len(right):
            scores[slot] = right.float().mean().item()
    return torch.stack(losses).sum(), scores


def learn_to_spell(run: Run, reader: Reader, args: argparse.Namespace) -> None:
    """The lower half of the tower tells letters, digits and shapes apart, patch by patch, on pages full of them."""
    tower = reader.tower
    whole, tower.blocks = tower.blocks, tower.blocks[: len(tower.blocks) // 2]
    speller = nn.Linear(tower.config.hidden_size, len(MARKS) + 1).to(reader.device)
    weight = torch.ones(len(MARKS) + 1, device=reader.device)
    weight[0] = 0.1  # patches without a mark are many and easy
    both = nn.ModuleDict({"tower": tower, "speller": speller})
    optimizer = optimizer_of(both, args.rate)
    side = SIDES[0]  # there the tower has a single window, so its patches keep their order
    for step in run.steps("spell", args.spell, both, optimizer):
        found = [scene(f"spell {args.seed} {step} {i}", side, {"dense": 1}) for i in range(fitting(args.patches, side))]
        labels = marks(found).to(reader.device)
        spelled = speller(reader.patches([one.pixels for one in found]))
        loss = F.cross_entropy(spelled, labels, weight)
        advance(loss, both, optimizer, args.rate, step / args.spell)
        right = (spelled.argmax(-1) == labels)[labels > 0].float().mean().item()
        run.count({"loss": [loss.item()], "right": [right]})
        run.report("spell", step, 100)
    tower.blocks = whole


def fitting(patches: int, side: int) -> int:
    """How many pictures of `side` pixels make `patches` patches, but one at least."""
    return max(1, patches * FAMILY.patch**2 // side**2)


def spelling(meanings: list[list[list[str]]]) -> tuple[list[int], torch.Tensor, torch.Tensor]:
    """Which picture tokens are on a word; which letters it has `(tokens, 26)`; its first and last `(tokens, 2)`."""
    rows, bags, ends = [], [], []
    tokens = [token for picture in meanings for token in picture]
    for i, names in enumerate(tokens):
        word = next((name.partition(":")[2] for name in names if name.startswith("word:")), None)
        if word:
            letters = [LETTERS.index(letter) for letter in word]
            rows.append(i)
            bags.append(torch.zeros(26).index_fill(0, torch.tensor(letters), 1.0))
            ends.append([letters[0], letters[-1]])
    return rows, torch.stack(bags) if bags else torch.zeros(0, 26), torch.tensor(ends)


def _pages(stage: str, step: int, mix: dict[str, float], args: argparse.Namespace) -> list[Scene]:
    side = random.Random(f"{stage} {args.seed} {step}").choices(SIDES, args.sides)[0]
    return [scene(f"{stage} {args.seed} {step} {i}", side, mix) for i in range(fitting(args.patches, side))]


def writing(
    codes: Codes, written: torch.Tensor, meanings: list[list[list[str]]], words: float
) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
    """How far the tokens `(pictures, tokens, width)` are from what they stand for: as names, as vectors, by kind."""
    # The few tokens on something count most.
    ground = torch.tensor([token == ["any:ground"] for picture in meanings for token in picture], device=written.device)
    weight = torch.where(ground, GROUND, 1.0)
    wanted = codes(meanings).detach()
    off = ((written - wanted).pow(2).mean(dim=-1).flatten() * weight).sum() / weight.sum()
    off = off / (wanted - codes.mean).pow(2).mean()
    named, right = naming(codes, written, meanings, weight, words)
    return named, off, right | {"named": named.item(), "off": off.item()}


def learn_to_see(run: Run, reader: Reader, codes: Codes, args: argparse.Namespace) -> None:
    """The whole tower tells what each picture token stands for.

    A word's vector says nothing of its letters, so a second head asks the last block which there are, and which are the
    first and the last: an order that can be seen without counting.
    """
    tower = reader.tower
    speller = nn.Linear(tower.config.hidden_size, 3 * 26).to(reader.device)
    both = nn.ModuleDict({"tower": tower, "speller": speller})
    optimizer = optimizer_of(both, args.see_rate)
    for step in run.steps("see", args.see, both, optimizer):
        found = _pages("see", step, SEEN, args)
        written, below = reader.look([one.pixels for one in found])
        done = step / args.see
        meanings = [one.meanings() for one in found]
        # Letters come before the words made of them.
        named, off, right = writing(codes, written, meanings, min(1, 0.2 + 2 * done))
        loss = named + off
        rows, bags, ends = spelling(meanings)
        if rows:
            spelled = speller(below.flatten(0, 1)[rows]).unflatten(1, (3, 26))
            bags, ends = bags.to(reader.device), ends.to(reader.device)
            loss = loss + 5 * F.binary_cross_entropy_with_logits(spelled[:, 0], bags)
            loss = loss + 0.5 * F.cross_entropy(spelled[:, 1:].flatten(0, 1), ends.flatten())
            said = spelled[:, 0] > 0
            right["letters"] = ((said & (bags > 0)).sum() / (said | (bags > 0)).sum()).item()
            right["ends"] = (spelled[:, 1:].argmax(-1) == ends).float().mean().item()
        advance(loss, both, optimizer, args.see_rate, done)
        run.count({name: [value] for name, value in right.items()})
        run.report("see", step, 100)


def learn_to_write(run: Run, reader: Reader, codes: Codes, args: argparse.Namespace) -> None:
    """What the tower can tell it now writes as the vectors themselves, for the language model knows no others.

    Told apart from the other words, a word may still be far from its own vector.
    """
    tower = nn.ModuleDict({"tower": reader.tower})
    optimizer = optimizer_of(tower, args.see_rate)
    for step in run.steps("write", args.write, tower, optimizer):
        found = _pages("write", step, WRITTEN, args)
        written = reader.see([one.pixels for one in found])
        named, off, right = writing(codes, written, [one.meanings() for one in found], 1.0)
        advance(named + EXACT * off, tower, optimizer, args.see_rate, step / args.write)
        run.count({name: [value] for name, value in right.items()})
        run.report("write", step, 100)
