"""The tests of a comparison against slow ways to get the same figures."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from arttune.compare.plan import Cell
from arttune.compare.result import Answered, Result
from arttune.compare.summary import by_task, markdown, paired, pairs, plot, pooled, shares
from arttune.evaluate import wilson
from report.test_plots import kept

__all__ = ["kept"]


def answered(right: list[bool], task: str = "t", adapter: str = "art", seed: int = 0) -> Answered:
    score = {"task": task, "adapter": adapter, "seed": seed, "n": len(right), "correct": sum(right)}
    score |= {"accuracy": sum(right) / len(right), "format_rate": 1.0, "tokens": 10 * len(right)}
    return Answered(score, right)


def test_p_is_the_share_of_all_signs_that_differ_as_much():
    chance = np.random.default_rng(1)
    ours, theirs = chance.random(10) < 0.8, chance.random(10) < 0.4
    difference = ours.astype(float) - theirs
    every = [abs(np.mean(np.array(signs) * difference)) for signs in product((-1, 1), repeat=10)]
    exact = np.mean([one >= abs(difference.mean()) - 1e-12 for one in every])
    mean, _, p = paired(ours.astype(float), theirs.astype(float))
    assert mean == pytest.approx(difference.mean())
    assert p == pytest.approx(exact, abs=0.02)


def test_the_interval_is_that_of_a_mean():
    chance = np.random.default_rng(2)
    ours, theirs = (chance.random(400) < 0.5).astype(float), (chance.random(400) < 0.3).astype(float)
    mean, (low, high), _ = paired(ours, theirs)
    half = 1.96 * np.std(ours - theirs) / 20
    assert (low, high) == (pytest.approx(mean - half, abs=0.01), pytest.approx(mean + half, abs=0.01))


def test_equal_arms_do_not_differ():
    same = np.array([1.0, 0.0, 0.5])
    mean, (low, high), p = paired(same, same)
    assert (mean, low, p) == (0.0, -high, 1.0)
    assert (1 - high) ** 3 == pytest.approx(0.025)  # as rare a problem that differs may have hidden from all three


def test_seeds_that_agree_count_once_and_those_that_do_not_count_all():
    chance = np.random.default_rng(3)
    right = [bool(one) for one in chance.random(200) < 0.3]
    assert pooled([answered(right)] * 3) == (pytest.approx(np.mean(right)), pytest.approx(wilson(sum(right), 200)))
    apart = [answered([bool(one) for one in chance.random(200) < 0.3]) for _ in range(3)]
    total = sum(sum(one.right) for one in apart)
    share, (low, high) = pooled(apart)
    wide, narrow = wilson(total / 3, 200), wilson(total, 600)
    assert share == pytest.approx(total / 600)
    assert wide[0] < low < share < high < wide[1]
    assert high - low == pytest.approx(narrow[1] - narrow[0], rel=0.15)
    assert pooled([answered([False] * 50)] * 3) == (0.0, wilson(0, 50))


def test_seeds_are_averaged_before_problems_are_compared():
    assert shares([answered([True, False]), answered([True, True])]).tolist() == [1.0, 0.5]


def test_the_table_and_the_plot_have_every_arm_and_task(tmp_path, kept):
    found = {
        Cell("none", 0): Result([answered([False] * 8), answered([False] * 4, "u")]),
        Cell("art", 0): Result([answered([True] * 8), answered([True] * 4, "u")], 0.02, 100, 2048, 12.0),
        Cell("art", 1): Result([answered([True] * 4 + [False] * 4), answered([True] * 4, "u")], 0.02, 100, 2048, 14.0),
        Cell("lora", 0): Result([answered([True] * 8), answered([False] * 4, "u")], 1e-3, 900, 4096, 20.0),
    }
    arms = by_task(found)
    assert {task: [*arm] for task, arm in arms.items()} == {"t": ["none", "art", "lora"], "u": ["none", "art", "lora"]}
    rates = {"art": [0.01, 0.02], "lora": [1e-3]}
    tests = {(one["name"], one["against"]): one["difference"] for one in pairs(arms["t"])}
    assert tests[("art", "none")] == 0.75
    assert tests[("art", "lora")] == -0.25
    assert tests[("lora", "none")] == 1.0
    lines = [
        line
        for line in markdown(found, {task: pairs(arm) for task, arm in arms.items()}, "title", rates).splitlines()
        if line.startswith("|")
    ]
    assert len({line.count("|") for line in lines}) == 1
    art = next(line for line in lines if line.startswith("| art"))
    assert "75.0% [50.5%, 89.8%]" in art
    assert "100.0%, 50.0%" in art
    assert "2 KiB" in art
    assert "13 s" in art
    assert "| 0.02 (0.01, 0.02) |" in art
    assert any("| 0.001 |" in line for line in lines)
    plot(found, tmp_path / "plot.png", "title")
    first, second = kept[0].axes
    assert [axis.get_title() for axis in (first, second)] == ["t", "u"]
    assert [text.get_text() for text in first.get_yticklabels()] == ["lora", "art", "text only"]
    interval, mean, seeds = first.lines[3:6]
    assert interval.get_xdata() == pytest.approx([50.5, 89.8], abs=0.05)
    assert (list(mean.get_xdata()), list(seeds.get_xdata())) == ([75.0], [100.0, 50.0])
    assert {one for line in (interval, mean, seeds) for one in line.get_ydata()} == {1}
