"""What the rows of a batch have in common, and which of them to run together.

Every row starts with the same tokens: the system prompt and the picture. Some rows go on alike for longer: the
completions that reinforcement samples for one question, the two answers of a preference. `tree.py` runs a batch by what
is found here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch

# Tokens that take as long as a pass of its own does, beside the time of its tokens. On two cores 32 to 256 were alike
# (`smol`, 64 completions), and with 48 less than a tenth of a step is padding; elsewhere it is a guess.
OVERHEAD = defaultdict(lambda: 4096, cpu=48)


@dataclass(frozen=True)
class Plan:
    """A batch as a tree: what all rows share, what the rows of a stem share, and the rest of each row."""

    shared: int  # columns before it are the trunk, which runs once
    pictured: bool  # whether the picture stands in the trunk; otherwise it does in each stem
    heads: torch.Tensor  # (stems,): a row of each stem; none where rows go on from the trunk
    stem: torch.Tensor  # (batch,): the number of each row's stem, 0 where there are none
    begin: torch.Tensor  # (batch,): the first column of a row's own
    end: torch.Tensor  # (batch,): the column after its last


@dataclass(frozen=True)
class Run:
    """What came of a plan."""

    output: Any  # of some pass, for all that is not a hidden state
    trunk: torch.Tensor  # (1, shared, hidden)
    limbs: list[torch.Tensor]  # of each pack (rows, width, hidden), from each row's `begin` on
    packs: list[list[int]]  # the rows that ran together


def shared_length(input_ids: torch.Tensor, attention_mask: torch.Tensor, most: int | None = None) -> int:
    """How many leading tokens all rows of `(batch, length)` share and may run once, `most` at most; 0 for a single row.

    Rows must start at their first token (right padding). Every row keeps at least one token.
    """
    batch, length = input_ids.shape
    if batch < 2 or not bool(attention_mask[:, 0].all()):
        return 0
    same = (input_ids == input_ids[:1]).all(dim=0) & attention_mask.bool().all(dim=0)
    most = min(length if most is None else most, int(attention_mask.sum(dim=1).min()) - 1)
    return min(int(same.long().cumprod(0).sum()), most)


def left_aligned(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The rows of a left-padded `(batch, length)` moved to start at their first token, what is cut off put at the end.

    Returns ids, mask, and `(batch,)` by how much each row moved.
    """
    lead = attention_mask.long().argmax(dim=1)
    return moved(input_ids, lead), moved(attention_mask, lead), lead


def moved(rows: torch.Tensor, lead: torch.Tensor) -> torch.Tensor:
    """`rows` `(batch, length, ...)`, each moved to the left by its `lead` `(batch,)`, what is cut off to the end."""
    if not bool(lead.any()):
        return rows
    length = rows.shape[1]
    columns = (torch.arange(length, device=rows.device) + lead[:, None]) % length
    return rows[torch.arange(len(rows), device=rows.device)[:, None], columns]


def ends(attention_mask: torch.Tensor) -> torch.Tensor:
    """`(batch,)`: the column after the last real token of each row, which starts at its first column."""
    columns = torch.arange(1, attention_mask.shape[1] + 1, device=attention_mask.device)
    return (attention_mask.bool() * columns).max(dim=1).values


def stems(ids: torch.Tensor, shared: int, stop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which rows of `ids` go on alike from column `shared` to before column `stop` `(batch,)`.

    Returns the number of each row's stem `(batch,)`, and a row of each stem `(stems,)`.
    """
    numbers: dict[tuple[int, ...], int] = {}
    found = [
        numbers.setdefault(tuple(row[shared:end]), len(numbers))
        for row, end in zip(ids.tolist(), stop.tolist(), strict=True)
    ]
    one_each = [found.index(number) for number in range(len(numbers))]
    return torch.tensor(found, device=ids.device), torch.tensor(one_each, device=ids.device)


def plan(
    ids: torch.Tensor, mask: torch.Tensor, picture: torch.Tensor, wanted: tuple[torch.Tensor, torch.Tensor] | None
) -> Plan | None:
    """The tree of rows of which the hidden states in `wanted` (rows, columns), or all of them, will be looked at.

    `picture` is 1 for the picture's tokens, of which each row has as many; like `ids` and `mask` it is
    `(batch, length)`. Where all states are looked at, only the trunk is shared, and rows end with their tokens;
    otherwise they end with the last that is wanted. None where no two rows have the picture in what they share.
    """
    places = None if wanted is None else [one.flatten() for one in wanted]
    shared = shared_length(ids, mask, None if places is None else max(0, int(places[1].min())))
    nothing = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
    begin, heads, stem = nothing + shared, nothing[:0], nothing
    if places is None:
        end = ends(mask)
    else:
        rows, columns = places
        end = (begin + 1).scatter_reduce(0, rows, columns + 1, "amax")
        stop = (end - 1).scatter_reduce(0, rows, columns, "amin")
        alike, one_each = stems(ids, shared, stop)
        if 2 * len(one_each) <= len(ids) and bool((stop > shared).any()):
            stem, heads, begin = alike, one_each, stop
    at, whole = torch.arange(ids.shape[1], device=ids.device), picture.sum(dim=1)
    in_trunk, in_both = ((picture * (at < column)).sum(dim=1) for column in (shared, begin[:, None]))
    pictured = bool((in_trunk == whole).all())
    stemmed = len(heads) > 0 and bool((in_both == whole).all()) and not bool(in_trunk.any())
    return Plan(shared, pictured, heads, stem, begin, end) if shared and (pictured or stemmed) else None


def order(packs: list[list[int]], device: torch.device) -> torch.Tensor:
    """Where each row stands in `packs`, end to end."""
    return torch.tensor([row for pack in packs for row in pack], device=device).argsort()


def packed(lengths: list[int], overhead: int) -> list[list[int]]:
    """Rows in packs to run together: those of like length, for the least tokens with padding.

    A pass of its own costs as much as `overhead` tokens. Dynamic programming over the rows in order of their length.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    least, cut = [0], []
    for end in range(1, len(order) + 1):
        width = lengths[order[end - 1]]
        cost, begin = min((least[begin] + (end - begin) * width + overhead, begin) for begin in range(end))
        least.append(cost)
        cut.append(begin)
    packs, end = [], len(order)
    while end:
        packs.append(order[cut[end - 1] : end])
        end = cut[end - 1]
    return packs


def even(lengths: list[int]) -> list[list[int]]:
    """Rows in packs of one length each, for states that padding would change."""
    packs: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        packs.setdefault(length, []).append(row)
    return list(packs.values())
