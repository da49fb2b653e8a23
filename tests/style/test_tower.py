"""The tower's texture as a pull within it equals a loss on its layers, and costs no pass of its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from arttune.style.losses import gram
from arttune.style.tower import TowerTexture
from arttune.tuner import art_layer
from tuner.test_model import batch, painted, with_labels

ORCHARD = "recipes/compare/orchard.png"


def gradients(model, made) -> torch.Tensor:
    model.train()
    canvas = art_layer(model).canvas().weight
    canvas.grad = None
    model(**made).loss.backward()
    return canvas.grad.clone()


def test_what_it_says_is_the_distance_between_textures_in_the_tower(family_name):
    made = with_labels(batch(family_name, completion=" Fine."), 3)
    plain = gradients(painted(family_name), made)
    model = painted(family_name, style="tower=1", style_picture=ORCHARD)
    found = gradients(model, made) - plain

    layer, base = art_layer(model), model.base_model.backbone
    blocks = base.visual.blocks[:: max(1, len(base.visual.blocks) // 3)][:3]
    features: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(lambda _, __, out: features.append(out[0] if isinstance(out, tuple) else out))
        for block in blocks
    ]
    tower = layer.canvas().tower
    model.base_model._look(tower.picture)
    wanted, features[:] = [one.detach() for one in features], []
    pixels = layer.pixels()
    model.base_model._look(pixels)
    for handle in handles:
        handle.remove()
    for at, (seen, style) in enumerate(zip(features, wanted, strict=True)):
        mean = style.mean(dim=0)
        aim = gram((style - mean).T)
        off = (gram((seen - mean).T) - aim).square().sum() / aim.square().sum()
        assert tower.figures[f"tower {at + 1}"] == pytest.approx(float(off.detach()), rel=1e-4)
    assert float(found.norm()) > 0


def test_the_pull_on_each_layer_is_the_gradient_of_its_distance_in_units_of_what_arrives():
    chance = torch.Generator().manual_seed(0)
    blocks = [torch.nn.Linear(12, 12) for _ in range(2)]
    style, picture, grad = (torch.randn(30, 12, generator=chance) for _ in range(3))

    def see(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = blocks[0](seen)
        return first, blocks[1](first.relu())

    texture = TowerTexture(0.5, style)
    seen = picture.clone().requires_grad_()
    with texture.watching(SimpleNamespace(blocks=blocks), lambda shown: see(shown)):
        (see(seen)[1] * grad).sum().backward()

    def pull(features: torch.Tensor, wanted: torch.Tensor, arrives: torch.Tensor) -> torch.Tensor:
        mean = wanted.mean(dim=0)
        aim, leaf = (wanted - mean).T @ (wanted - mean) / 30, features.detach().requires_grad_()
        off = ((leaf - mean).T @ (leaf - mean) / 30 - aim).square().sum() / aim.square().sum()
        (slope,) = torch.autograd.grad(off, leaf)
        return 0.5 / 2 * arrives.norm() / slope.norm() * slope

    with torch.no_grad():
        wanted = see(style)
    again = picture.clone().requires_grad_()
    first, second = see(again)
    bent = grad + pull(second, wanted[1], grad)
    (arrives,) = torch.autograd.grad(second, first, bent, retain_graph=True)
    (expected,) = torch.autograd.grad(first, again, arrives + pull(first, wanted[0], arrives))
    torch.testing.assert_close(seen.grad, expected)


def test_alone_it_leads_to_the_texture(family_name):
    """With next to no gradient of its own, a canvas that follows the pull comes to look like the style to the tower."""
    made = with_labels(batch(family_name, completion=" Fine."), 3)
    model = painted(family_name, style="tower=100", style_picture=ORCHARD)
    layer, far = art_layer(model), []
    for _ in range(12):
        slope = gradients(model, made)
        far.append(sum(layer.canvas().tower.figures.values()))
        layer.canvas().weight.data -= 0.02 * slope / slope.square().mean().sqrt()
    assert far[-1] < 0.7 * far[0]


def test_the_tower_runs_once_a_step_after_the_first(family_name):
    model = painted(family_name, style="tower=1", style_picture=ORCHARD)
    made, calls = with_labels(batch(family_name, completion=" Fine."), 3), []
    model.base_model.backbone.visual.register_forward_hook(lambda *_: calls.append(1))
    gradients(model, made)
    assert len(calls) == 2
    gradients(model, made)
    assert len(calls) == 3
    model.eval()
    with torch.no_grad():
        model(**made)
    assert not model.base_model.backbone.visual.blocks[0]._forward_hooks
