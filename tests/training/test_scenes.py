"""The pictures the tower learns from: repeatable, legal, and what is said of them is so."""

from __future__ import annotations

import random

import pytest
import torch

from painter import HELD_OUT, SHAPES, TRAINED
from parts import LETTERS, UNIT, WORDS, names
from questions import QUESTIONS
from scenes import KINDS, scene

ANY = [f"{slot}:{name}" for slot, found in names().items() for name in found]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [112, 168, 224, 448])
def test_every_kind_is_drawn_from_its_seed(kind, side):
    one, again, other = (scene(seed, side, {kind: 1}) for seed in ("a", "a", "c"))
    assert one.pixels.shape == (3, side, side)
    assert torch.equal(one.pixels, again.pixels)
    assert one.facts == again.facts
    assert not torch.equal(one.pixels, other.pixels)
    meanings = one.meanings()
    assert len(meanings) == (side // UNIT) ** 2
    assert all(name in ANY for token in meanings for name in token)
    assert all(topic in QUESTIONS for topic, _ in one.facts)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"blank", "noise", "dense"}))
def test_parts_are_where_something_is_drawn(kind):
    for seed in range(8):
        one = scene(seed, 224, {kind: 1})
        for part in one.parts:
            left, top, right, bottom = (int(edge) for edge in part.box)
            inside = one.pixels[:, max(0, top) : bottom + 1, max(0, left) : right + 1]
            assert inside.flatten(1).std(dim=1).max() > 0.01, part
            assert -2 <= left < right <= 226
            assert -2 <= top < bottom <= 226


def test_each_digit_is_named_with_its_place_from_left_to_right():
    one = scene(3, 224, {"sum": 1})
    text = one.facts[0][1]
    ordered = sorted(one.parts, key=lambda part: part.box[0])
    assert [part.names[:2] for part in ordered] == [[f"char:{c}", f"at:{i}"] for i, c in enumerate(text)]
    middle = [(part.box[0] + part.box[2]) / 2 for part in ordered]
    row = int((ordered[0].box[1] + ordered[0].box[3]) / 2 // UNIT)
    for part, x in zip(ordered, middle, strict=True):
        token = one.meanings()[row * 8 + int(x // UNIT)]
        assert token[:4] == part.names or part.box[2] - part.box[0] < UNIT


def test_counts_bars_and_ends_are_what_the_parts_say():
    for seed in range(20):
        many = scene(seed, 224, {"count": 1})
        assert dict(many.facts)["count"] == str(len(many.parts))
        bars = scene(seed, 224, {"chart": 1})
        tallest = min(bars.parts, key=lambda part: part.box[1])
        assert f"colour:{dict(bars.facts)['tallest']}" in tallest.names
        pair = scene(seed, 224, {"pair": 1})
        axis = 0 if "left" in dict(pair.facts) else 1
        first = min(pair.parts, key=lambda part: part.box[axis])
        assert dict(pair.facts)["left" if axis == 0 else "top"] == " ".join(
            name.partition(":")[2] for name in first.names[:2]
        )


def test_tokens_on_a_part_are_told_from_those_beside():
    one = scene(2, 224, {"object": 1})
    left, top, right, bottom = one.parts[0].box
    for i, covered in enumerate(one.covered()):
        x, y = UNIT * (i % 8 + 0.5), UNIT * (i // 8 + 0.5)
        if left <= x <= right and top <= y <= bottom:
            assert covered
        if not (left - UNIT / 2 <= x <= right + UNIT / 2 and top - UNIT / 2 <= y <= bottom + UNIT / 2):
            assert not covered
    assert all(scene(0, 224, {"blank": 1}).covered())
    grounds = [token == ["any:ground"] for token in one.meanings()]
    assert grounds == [not covered for covered in one.covered()]


def test_a_dense_page_is_full_of_marks():
    one = scene(0, 112, {"dense": 1})
    assert {mark for _, mark in one.marks} <= {*LETTERS, *SHAPES}
    area = sum((min(112, r) - max(0, a)) * (min(112, b) - max(0, t)) for (a, t, r, b), _ in one.marks if a < 112)
    assert area > 0.5 * 112 * 112


def test_an_empty_picture_is_one_colour_and_says_so():
    one = scene(0, 224, {"blank": 1})
    assert one.pixels.flatten(1).std(dim=1).max() == 0
    assert one.ask(random.Random(0))[1] == "An empty picture."


def test_held_out_fonts_are_not_trained_on_and_words_are_a_thousand():
    assert not {name.partition("-")[0] for name in HELD_OUT} & {name.partition("-")[0] for name in TRAINED}
    assert len(WORDS) == len(set(WORDS)) == 1000
