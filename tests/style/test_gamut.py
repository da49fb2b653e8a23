"""Every limit holds on the saved PNG, whatever an optimiser did to the canvas."""

from __future__ import annotations

import math

import pytest
import torch
from peft import PeftModel, get_peft_model

import zoo
from arttune import ArtConfig, Painting, load
from arttune.adapters import optimizer
from arttune.style.likeness import scales
from arttune.style.limits import allowed
from arttune.style.palette import colours
from arttune.style.starts import start_pixels
from arttune.tuner import art_layer
from style.test_likeness import by_hand

ORCHARD = "recipes/compare/orchard.png"
SIZE = (112, 112)
PALETTE = f"{ORCHARD}:40"  # as a list longer than the name of a file may be
LOOKS = {
    "limit": {"limit": 9},
    "mask": {"limit": 90, "figure_limit": 5, "mask": ORCHARD},
    "likeness": {"likeness": 0.9},
    "tight": {"likeness": 0.995},
    "palette": {"palette": PALETTE},
    "limit and likeness": {"limit": 40, "likeness": 0.95},
    "limit and palette": {"limit": 160, "palette": PALETTE},
    "likeness and palette": {"likeness": 0.7, "palette": PALETTE},
    "all": {"limit": 255, "figure_limit": 160, "mask": ORCHARD, "likeness": 0.7, "palette": PALETTE},
    "mosaic within all": {"limit": 160, "likeness": 0.4, "palette": PALETTE, "brush": "mosaic:4"},
    "strokes within limits": {"limit": 60, "likeness": 0.5, "brush": "strokes:900"},
}


def canvas_with(**looks) -> PeftModel:
    return get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start=ORCHARD, size=SIZE, **looks))


def holds(pixels: torch.Tensor, looks: dict) -> None:
    """What the PNG's own pixels say of the limits."""
    start = start_pixels(ORCHARD, SIZE)
    if "limit" in looks:
        most = allowed(SIZE, looks["limit"], looks.get("figure_limit"), looks.get("mask"), ORCHARD)
        assert bool(((pixels.int() - start.int()).abs() <= most).all())
    if "palette" in looks:
        assert {tuple(one) for one in pixels.flatten(1).T.tolist()} <= {tuple(c) for c in colours(PALETTE).tolist()}
    if "likeness" in looks:
        assert by_hand(*(one.double().numpy() / 255 for one in (pixels, start)), scales(SIZE)) >= looks["likeness"]


def hostile(weight: torch.Tensor, kind: str, at: int) -> None:
    """One step of an optimiser that knows no limits."""
    chance = torch.Generator().manual_seed(at)
    noise = torch.randn(weight.shape, generator=chance)
    if kind == "noise":
        weight.data += 0.3 * noise
    elif kind == "far":
        weight.data += 1e6 * noise.sign()
    elif kind == "no number":
        weight.data.flatten()[::5] = math.nan
        weight.data.flatten()[1::7] = math.inf
    elif kind == "one pixel":
        weight.data.flatten()[at * 997 % weight.numel()] = 1e9
    else:  # from the edge, where `far` has led, just over half a level beyond it: within what rounding makes of it
        weight.data += (0.51 / 255) * noise.sign()


@pytest.mark.parametrize("kind", ["noise", "far", "one pixel", "a hair", "no number"])
@pytest.mark.parametrize("looks", LOOKS.values(), ids=LOOKS.keys())
def test_every_limit_holds_on_the_png(looks, kind, tmp_path):
    model = canvas_with(**looks)
    layer = art_layer(model)
    if kind == "a hair":
        hostile(layer.canvas().weight, "far", 0)
        layer.pixels()
    for at in range(3):
        hostile(layer.canvas().weight, kind, at)
        seen = layer.pixels().detach()
        layer.painting().save(tmp_path / "art.png")
        saved = Painting.load(tmp_path / "art.png").pixels
        torch.testing.assert_close(saved.float() / 255, seen, rtol=0, atol=1e-6)
        holds(saved, looks)


@pytest.mark.parametrize("own", [True, False], ids=["canvas muon", "adam"])
@pytest.mark.parametrize("looks", LOOKS.values(), ids=LOOKS.keys())
def test_limits_hold_while_an_optimiser_pulls_as_hard_as_it_can(looks, own, tmp_path):
    """At a large rate towards the negative of the artwork, and with hostile values in the gradient."""
    model = canvas_with(**looks)
    layer = art_layer(model)
    weight, start = layer.canvas().weight, start_pixels(ORCHARD, SIZE).float() / 255
    optimiser = optimizer(model, 0.1, 0.0) if own else torch.optim.Adam([weight], 0.1)
    for step in range(25):
        optimiser.zero_grad()
        (layer.pixels() - (1 - start)).square().sum().backward()
        weight.grad.flatten()[step::7] = math.copysign(1e20, step % 2 - 0.5)
        optimiser.step()
    layer.painting().save(tmp_path / "art.png")
    pixels = Painting.load(tmp_path / "art.png").pixels
    holds(pixels, looks)
    assert not torch.equal(pixels, start_pixels(ORCHARD, SIZE))


def test_a_figure_changes_less_than_its_ground(tmp_path):
    from PIL import Image

    picture = Image.open(ORCHARD).convert("RGBA").resize(SIZE)
    picture.paste((0, 0, 0, 0), (0, 0, 56, 112))
    picture.save(tmp_path / "cut.png")
    looks = {"limit": 60, "figure_limit": 5, "mask": "alpha"}
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start=str(tmp_path / "cut.png"), size=SIZE, **looks))
    layer = art_layer(model)
    hostile(layer.canvas().weight, "far", 0)
    start = start_pixels(str(tmp_path / "cut.png"), SIZE)
    change = (layer.painting().pixels.int() - start.int()).abs().amax(dim=0)
    most = allowed(SIZE, 60, 5, "alpha", str(tmp_path / "cut.png"))
    assert bool((change <= most).all())
    assert int(change[:, :56].max()) == 60
    assert int(change[:, 57:].max()) == 5


def test_a_limit_is_no_hindrance_within():
    """Where nothing is near a limit, the canvas is the one without limits."""
    free, held = canvas_with(), canvas_with(limit=200, likeness=0.2)
    noise = 0.02 * torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(0))
    for model in (free, held):
        art_layer(model).canvas().weight.data += noise
    assert torch.equal(art_layer(free).pixels(), art_layer(held).pixels())


@pytest.mark.parametrize("looks", LOOKS.values(), ids=LOOKS.keys())
def test_a_saved_adapter_is_the_same_picture_wherever_its_files_are(looks, tmp_path, monkeypatch):
    model = canvas_with(**looks)
    hostile(art_layer(model).canvas().weight, "noise", 0)
    expected = art_layer(model).painting().pixels
    model.save_pretrained(tmp_path / "run")
    monkeypatch.chdir(tmp_path)  # the start picture is not to be found from here
    again = PeftModel.from_pretrained(zoo.tiny("qwen2_5_vl"), str(tmp_path / "run"))
    assert torch.equal(art_layer(again).painting().pixels, expected)
    shown = load(zoo.tiny("qwen2_5_vl"), tmp_path / "run" / "art.png")
    assert torch.equal(art_layer(shown).painting().pixels, expected)
