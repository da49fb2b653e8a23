"""The gradient that arrives at a canvas is bent by as much as it should be."""

from __future__ import annotations

import pytest
import torch

from arttune.canvas import quantize
from arttune.style.likeness import likeness
from arttune.style.losses import variation
from arttune.style.starts import start_pixels
from arttune.style.taste import MARGIN, PACE, Taste

ARTWORK = start_pixels("recipes/compare/orchard.png", (56, 84))


def noisy(amount: float = 0.1) -> torch.Tensor:
    chance = torch.Generator().manual_seed(0)
    return quantize((ARTWORK / 255 + amount * torch.randn(ARTWORK.shape, generator=chance)).clamp(0, 1))


def slope_of(loss, picture: torch.Tensor) -> torch.Tensor:
    seen = picture.clone().requires_grad_()
    return torch.autograd.grad(loss(seen), seen)[0]


def bent(taste: Taste, picture: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """The gradient at a picture whose objective's is `grad`."""
    seen = picture.clone().requires_grad_()
    shown = seen * 1
    taste.bend(shown, ARTWORK, seen)
    (shown * grad).sum().backward()
    return seen.grad


def test_a_style_pulls_by_its_weight_in_units_of_the_objective():
    grad, picture = torch.randn(ARTWORK.shape, generator=torch.Generator().manual_seed(1)), noisy()
    taste = Taste({"variation": (0.5, variation)})
    slope = slope_of(variation, picture)
    torch.testing.assert_close(bent(taste, picture, grad), grad + 0.5 * grad.norm() * slope / slope.norm())
    calmer = noisy(0.0)
    weaker = slope_of(variation, calmer)
    torch.testing.assert_close(bent(taste, calmer, grad), grad + 0.5 * grad.norm() * weaker / slope.norm())
    assert taste.figures == {"variation": pytest.approx(float(variation(calmer)))}


def test_styles_add_up():
    grad, picture = torch.randn(ARTWORK.shape, generator=torch.Generator().manual_seed(1)), noisy()
    losses = {"variation": (0.5, variation), "dark": (2.0, lambda seen, step: seen.square().mean())}
    both = bent(Taste(losses), picture, grad) - grad
    each = [bent(Taste({name: one}), picture, grad) - grad for name, one in losses.items()]
    torch.testing.assert_close(both, sum(each))


def test_the_price_of_unlikeness_rises_until_it_is_paid():
    grad, picture, least = torch.randn(ARTWORK.shape, generator=torch.Generator().manual_seed(1)), noisy(), 0.99
    unlike = 1 - float(likeness(picture, ARTWORK / 255))
    assert unlike > 1 - least
    taste = Taste({}, least)
    for times in (1, 2, 3):
        added = bent(taste, picture, grad) - grad
        price = times * PACE * (unlike / (1 - least) - 1 + MARGIN)
        assert taste.figures == {"likeness": pytest.approx(1 - unlike), "price": pytest.approx(price)}
        assert float(added.norm()) == pytest.approx(price * float(grad.norm()), rel=1e-3)
    moved = (picture - 1e-3 * added / added.abs().max()).clamp(0, 1)
    assert float(likeness(moved, ARTWORK / 255)) > 1 - unlike
    for _ in range(200):
        bent(taste, ARTWORK / 255, grad)
    assert float(taste.price) == 0


def test_at_the_artwork_itself_nothing_pulls_and_nothing_breaks():
    taste = Taste({}, 0.9)
    grad = torch.ones(ARTWORK.shape)
    assert torch.equal(bent(taste, ARTWORK / 255, grad), grad)


@pytest.mark.parametrize("weight", [0.1, 10.0])
def test_what_has_no_slope_does_not_pull_however_heavy(weight):
    grad, flat = torch.ones(ARTWORK.shape), torch.full(ARTWORK.shape, 128 / 255)
    assert torch.equal(bent(Taste({"variation": (weight, variation)}), flat, grad), grad)


def test_the_gradient_of_nothing_is_not_bent():
    taste = Taste({"variation": (1.0, variation)}, 0.9)
    assert float(bent(taste, noisy(), torch.zeros(ARTWORK.shape)).abs().max()) == 0


def test_what_outlives_an_interruption_is_in_its_state():
    taste, grad = Taste({"variation": (1.0, variation)}, 0.99), torch.ones(ARTWORK.shape)
    for amount in (0.2, 0.1):
        bent(taste, noisy(amount), grad)
    again = Taste({"variation": (1.0, variation)}, 0.99)
    again.load_state_dict(taste.state_dict())
    assert int(again.steps) == 2
    torch.testing.assert_close(bent(again, noisy(0.15), grad), bent(taste, noisy(0.15), grad))


def test_accumulated_gradients_are_bent_as_their_sum():
    grads = [torch.randn(ARTWORK.shape, generator=torch.Generator().manual_seed(k)) for k in range(4)]
    made = [Taste({"variation": (0.5, variation)}, 0.99) for _ in range(2)]
    for _ in range(3):  # steps
        master = noisy().requires_grad_()
        for grad in grads:
            shown = master * 1
            made[0].bend(shown, ARTWORK, master)
            (shown * grad).sum().backward()
        torch.testing.assert_close(master.grad, bent(made[1], noisy(), sum(grads)))
    assert made[0].figures == made[1].figures
    assert int(made[0].steps) == 3
