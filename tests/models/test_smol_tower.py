"""The tower that `smol` is shipped with: it sees, at all sizes, and leaves text as it is."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import measure
from arttune.models import smol
from arttune.models.graft import read_tower
from reader import Reader
from reading import distributions
from scenes import scene


@pytest.fixture(scope="module")
def reader():
    return Reader("smol")


def test_the_file_is_small_and_in_the_model(reader):
    assert smol.TOWER.stat().st_size <= 12e6
    shape, weights = read_tower(smol.TOWER)
    assert {name: getattr(reader.tower.config, name) for name in shape} == shape
    for name, weight in reader.tower.state_dict().items():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize(("kind", "least"), [("object", 0.7), ("number", 0.5), ("word", 0.35)])
def test_it_reads_held_out_renders(reader, kind, least):
    """`least` is far below what the card says, lest rounding elsewhere fail it; a blind model has under 5 %."""
    assert measure.vision(reader, kind, 40, 224, 0)["accuracy"] >= least


@pytest.mark.parametrize("side", [112, 448])
def test_it_sees_at_the_ends_of_the_sizes(reader, side):
    assert measure.vision(reader, "object", 20, side, 0)["accuracy"] >= 0.5


@torch.no_grad()
def test_an_empty_picture_leaves_text_as_it_is(reader):
    question = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
    turn = reader.turn(f"{question} How many clips did she sell?", "She sold 48 / 2 = 24 clips in May, 72 in all.")
    alone, beside = distributions(reader, reader.see([scene("empty", 224, {"blank": 1}).pixels]), [turn])
    assert F.kl_div(beside, alone, log_target=True, reduction="batchmean") < 0.1
