"""What rows have in common is found, and the packs they run in are the cheapest."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
import torch
from transformers import AutoTokenizer

import zoo
from arttune import flat
from arttune.models.smol import smol_folder
from arttune.objectives.sft import ByLength
from arttune.prefix import OVERHEAD, Plan, ends, even, left_aligned, moved, order, packed, plan, shared_length, stems
from arttune.tasks import get_task


def test_shared_length():
    ids = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 9, 0], [1, 2, 3, 9, 7]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    assert shared_length(ids, mask) == 3
    assert shared_length(ids[:1], mask[:1]) == 0, "one row shares with nobody"
    assert shared_length(ids, mask, 1) == 1
    left = torch.tensor([[0, 1, 1, 1, 1]] + [[1, 1, 1, 1, 1]] * 2)
    assert shared_length(ids, left) == 0
    start = torch.tensor([[1, 2, 0, 0, 0], [1, 2, 3, 4, 0], [1, 2, 3, 4, 5]])
    assert shared_length(start, (start > 0).long()) == 1, "also one that all others begin with"
    same = ids[:1].expand(3, -1)
    assert shared_length(same, torch.ones_like(same)) == 4, "every row keeps a token of its own"


def test_left_padding_goes_to_the_end_and_back():
    ids = torch.tensor([[0, 0, 1, 2], [3, 4, 5, 6]])
    mask = (ids > 0).long()
    aligned, real, lead = left_aligned(ids, mask)
    assert aligned.tolist() == [[1, 2, 0, 0], [3, 4, 5, 6]]
    assert real.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert ends(real).tolist() == [2, 4]
    assert torch.equal(moved(aligned, -lead), ids)
    wide = torch.randn(2, 4, 3)
    assert torch.equal(moved(moved(wide, lead), -lead), wide)


def test_rows_that_go_on_alike_have_one_stem():
    ids = torch.tensor([[9, 1, 2, 5], [9, 1, 2, 6], [9, 1, 3, 5], [9, 1, 2, 7]])
    stem, one_each = stems(ids, 1, torch.tensor([3, 3, 3, 2]))
    assert stem.tolist() == [0, 0, 1, 2], "the last has less of it"
    assert one_each.tolist() == [0, 2, 3]


# Two rows of each of two questions. 8 is the picture, 9 is before it.
ROWS = torch.tensor([[9, 8, 2, 5, 5], [9, 8, 2, 6, 0], [9, 8, 3, 5, 5], [9, 8, 3, 7, 0]])


def planned(ids: torch.Tensor, wanted: tuple[list[int], list[int]] | None) -> Plan | None:
    places = None if wanted is None else (torch.tensor(wanted[0]), torch.tensor(wanted[1]))
    return plan(ids, (ids > 0).long(), (ids == 8).long(), places)


def test_a_plan_ends_rows_where_nobody_looks_any_more():
    found = planned(ROWS, ([0, 0, 1, 2, 3], [4, 3, 3, 3, 3]))
    assert found is not None
    assert (found.shared, found.pictured) == (2, True)
    assert (found.heads.tolist(), found.stem.tolist()) == ([0, 2], [0, 0, 1, 1])
    assert (found.begin.tolist(), found.end.tolist()) == ([3, 3, 3, 3], [5, 4, 4, 4])
    found = planned(ROWS, ([0, 0, 1, 2, 3], [3, 2, 2, 2, 2]))
    assert found is not None
    assert found.heads.tolist() == [], "a question's last token runs with what is looked at, and nothing is before it"
    assert (found.begin.tolist(), found.end.tolist()) == ([2, 2, 2, 2], [4, 3, 3, 3])
    found = planned(ROWS, None)
    assert found is not None
    assert (found.heads.tolist(), found.begin.tolist(), found.end.tolist()) == ([], [2, 2, 2, 2], [5, 4, 5, 4])


def test_a_picture_behind_what_rows_have_of_their_own_stands_in_the_stems():
    """As where each question has tools of its own, which the chat template puts before it."""
    rows = torch.stack([ROWS[:, 0], ROWS[:, 2], ROWS[:, 1], *ROWS.T[3:]], dim=1)
    wanted = [0, 1, 2, 3], [3, 3, 3, 3]
    found = planned(rows, wanted)
    assert found is not None
    assert (found.shared, found.pictured, found.heads.tolist()) == (1, False, [0, 2])
    assert found.begin.tolist() == [3, 3, 3, 3]
    assert planned(rows, None) is None, "all is looked at, so nothing is a stem"
    assert planned(rows, ([0, 1, 2, 3], [2, 2, 2, 2])) is None, "the picture's own states are looked at"
    assert planned(rows[[0, 2]], ([0, 1], [3, 3])) is None, "no two rows of one question"
    assert planned(torch.where(rows == 9, torch.arange(10, 14)[:, None], rows), wanted) is None, "nothing in common"


def test_order_finds_rows_in_packs():
    assert order([[2, 0], [3, 1]], torch.device("cpu")).tolist() == [1, 3, 0, 2]


def test_packs_are_the_cheapest():
    """Against every way to cut the rows, in order of length, into packs."""

    def cost(packs: list[list[int]], overhead: int) -> int:
        return sum(len(pack) * max(lengths[row] for row in pack) + overhead for pack in packs)

    lengths = [7, 2, 30, 3, 3, 31, 12, 1]
    ordered = sorted(range(len(lengths)), key=lengths.__getitem__)
    for overhead in (0, 5, 20, 1000):
        found = packed(lengths, overhead)
        assert sorted(row for pack in found for row in pack) == list(range(len(lengths)))
        every = (
            [ordered[a:b] for a, b in zip((0, *cuts), (*cuts, len(lengths)), strict=True)]
            for count in range(len(lengths))
            for cuts in combinations(range(1, len(lengths)), count)
        )
        assert cost(found, overhead) == min(cost(packs, overhead) for packs in every)
    assert packed([4, 4], 64) in ([[0, 1]], [[1, 0]])


@zoo.REAL
@pytest.mark.parametrize("overhead", [OVERHEAD["cpu"], flat.OVERHEAD])
def test_at_most_a_tenth_of_a_step_on_a_cpu_is_padding(overhead):
    """Batches of sft, and of grpo: eight completions, of one to 32 or to 200 tokens, of each of eight questions."""
    problems = get_task("svamp").load("train")
    tokenizer = AutoTokenizer.from_pretrained(smol_folder())
    lengths = [len(tokenizer(f"{one.prompt[-1]['content']}{one.completion}")["input_ids"]) for one in problems]
    rows, head = list(ByLength(lengths, 16, seed=0)), 64
    batches = {"sft": ([[lengths[row] for row in rows[begin : begin + 16]] for begin in range(0, len(rows), 16)], head)}
    chance = random.Random(0)
    for most in (32, 200):
        some = [[chance.randint(1, most) for _ in range(64)] for _ in range(20)]
        batches[f"grpo {most}"] = some, head + 8 * sum(lengths) / len(lengths)
    for kind, (some, before) in batches.items():
        ran = sum(len(pack) * max(batch[i] for i in pack) for batch in some for pack in packed(batch, overhead))
        own = sum(map(sum, some))
        assert ran - own <= 0.1 * (own + before * len(some)), kind


def test_even_packs_have_one_length():
    assert even([3, 1, 3, 2]) == [[0, 2], [1], [3]]
