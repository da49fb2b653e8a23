"""The canvas's optimiser against SVD, torch's own Muon and Adam, and the patch order of the families."""

from __future__ import annotations

import copy

import pytest
import torch

from arttune.families import QWEN2_5_VL, QWEN3_VL
from arttune.optimizer import CanvasMuon, level, to_pixels, to_tokens

# The Newton-Schulz iteration that ends at the polar factor itself, not merely near it (Higham 2008, section 8.3).
CONVERGING = {"ns_coefficients": (1.875, -1.25, 0.375), "ns_steps": 30}


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
@pytest.mark.parametrize("damping", [0.0, 0.1, 1.0])
def test_singular_values_are_levelled_as_svd_says(shape, damping):
    matrix = rand(*shape)
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    expected = (u * s / (s**2 + (damping * s[0]) ** 2).sqrt()) @ vh
    assert torch.allclose(level(matrix, damping).double(), expected, atol=1e-5)


def test_missing_directions_stay_missing_and_zero_stays_zero():
    matrix = rand(8, 3) @ rand(3, 40, seed=1)
    u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    assert torch.allclose(level(matrix, 0.0).double(), u[:, :3] @ vh[:3], atol=1e-2)
    canvas = torch.full((3, 56, 56), 0.5)
    canvas.grad = torch.zeros_like(canvas)
    CanvasMuon([canvas], unit=28).step()
    assert bool((canvas == 0.5).all())


@pytest.mark.parametrize("family", [QWEN2_5_VL, QWEN3_VL])
def test_a_row_of_the_matrix_is_one_token_of_the_model(family):
    """Changing a row's pixels changes just the patches that the tower merges into that token."""
    size = (2 * family.unit, 3 * family.unit)
    pixels = torch.rand(3, *size)
    rows = to_tokens(pixels, family.unit)
    assert torch.equal(to_pixels(rows, size, family.unit), pixels)
    for token in range(6):
        other = rows.clone()
        other[token] += 1
        moved = (family.patches(to_pixels(other, size, family.unit)) != family.patches(pixels)).any(dim=1)
        assert moved.view(6, family.merge**2).all(dim=1).nonzero().flatten().tolist() == [token]
        assert int(moved.sum()) == family.merge**2


def test_undamped_the_steps_are_torchs_muons_on_the_token_matrix():
    """torch's Muon iterates in bfloat16; with coefficients that converge it goes the same way."""
    unit, lr = 4, 0.01
    start = torch.rand(3, 16, 16)
    canvas, matrix = start.clone(), to_tokens(start, unit)
    reference = torch.optim.Muon([matrix], lr=lr, weight_decay=0.0, momentum=0.9, **CONVERGING)
    ours = CanvasMuon([canvas], lr=lr, unit=unit, damping=0.0)
    for step in range(4):
        canvas.grad = rand(3, 16, 16, seed=step)
        matrix.grad = to_tokens(canvas.grad, unit)
        ours.step()
        reference.step()
        a, b = to_tokens(canvas - start, unit).flatten(), (matrix - to_tokens(start, unit)).flatten()
        assert torch.cosine_similarity(a, b, dim=0) > 0.999


def test_the_rate_is_the_root_mean_square_step_whatever_the_gradients_scale():
    for scale in (1e-6, 1.0, 1e6):
        canvas = torch.zeros(3, 56, 84)
        canvas.grad = scale * rand(3, 56, 84)
        CanvasMuon([canvas], lr=0.03, unit=28).step()
        assert float(canvas.square().mean().sqrt()) == pytest.approx(0.03, rel=1e-3)


@pytest.mark.parametrize("memory", [0.0, 0.97])
def test_it_resumes_where_it_stopped(memory):
    canvas = torch.rand(3, 56, 56)
    ours = CanvasMuon([canvas], unit=28, memory=memory)
    canvas.grad = rand(3, 56, 56)
    ours.step()
    other = canvas.clone()
    resumed = CanvasMuon([other], lr=1.0, unit=28)
    resumed.load_state_dict(copy.deepcopy(ours.state_dict()))
    for picture, optimizer in ((canvas, ours), (other, resumed)):
        picture.grad = rand(3, 56, 56, seed=1)
        optimizer.step()
    assert torch.equal(canvas, other)


def test_with_a_memory_a_step_is_as_long_as_the_gradients_agree():
    """Unrelated gradients give the length that their momentum has, worked out from its weights."""
    alike, unrelated = torch.zeros(3, 56, 56), torch.zeros(3, 56, 56)
    lengths = []
    pace = {"lr": 0.01, "unit": 28, "memory": 0.97}
    one, other = CanvasMuon([alike], **pace), CanvasMuon([unrelated], **pace)
    for step in range(200):
        before = [alike.clone(), unrelated.clone()]
        alike.grad, unrelated.grad = rand(3, 56, 56), rand(3, 56, 56, seed=step)
        one.step()
        other.step()
        lengths.append([float((a - b).square().mean().sqrt()) for a, b in zip((alike, unrelated), before, strict=True)])
    found = torch.tensor(lengths)[100:].mean(dim=0) / 0.01
    # Nesterov's look ahead has 0.1 + 0.9 * 0.1 of the newest gradient, and 0.1 * 0.9^(k + 1) of the one k steps older.
    weights = torch.tensor([0.19] + [0.1 * 0.9 ** (k + 1) for k in range(1, 100)])
    assert found[0] == pytest.approx(1.0, abs=1e-3)
    assert found[1] == pytest.approx(float(weights.square().sum().sqrt()), rel=0.02)


def test_a_memory_weighs_by_scale_and_survives_silence():
    """Gradients a hundred times smaller than earlier ones hardly move the canvas; none at all do not move it."""
    canvas = torch.zeros(3, 56, 56)
    optimizer = CanvasMuon([canvas], lr=0.01, unit=28, memory=0.97, momentum=0.0)
    moved = []
    for scale in (0.0, 1.0, 0.01, 0.0):
        before = canvas.clone()
        canvas.grad = scale * rand(3, 56, 56)
        optimizer.step()
        moved.append(float((canvas - before).square().mean().sqrt()) / 0.01)
    assert moved[0] == moved[3] == 0
    assert moved[1] == pytest.approx(1.0)
    assert moved[2] < 0.02


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_stops_the_run_and_spoils_nothing(wrong):
    canvases = [rand(3, 56, 56, seed=seed) for seed in (1, 2)]
    optimizer = CanvasMuon(canvases, unit=28, memory=0.97)
    for canvas in canvases:
        canvas.grad = rand(3, 56, 56)
    optimizer.step()
    kept = copy.deepcopy((canvases, optimizer.state_dict()["state"]))
    canvases[1].grad[0, 5, 7] = wrong
    with pytest.raises(FloatingPointError, match="not finite"):
        optimizer.step()
    found = (canvases, optimizer.state_dict()["state"])
    for before, after in zip(kept[0], found[0], strict=True):
        assert torch.equal(before, after)
    assert str(kept[1]) == str(found[1])


def test_a_brushs_step_is_no_shorter_for_a_memory():
    """Adam's own is already as short as the gradients of a number disagree."""
    one, other = torch.zeros(40, 11), torch.zeros(40, 11)
    made = CanvasMuon([one], unit=28), CanvasMuon([other], unit=28, memory=0.97)
    for step in range(5):
        for numbers, optimizer in zip((one, other), made, strict=True):
            numbers.grad = rand(40, 11, seed=step)
            optimizer.step()
    assert torch.equal(one, other)
    assert made[1].state[other]["agreement"] == 1, "what a limit on steps takes the step to be shorter by"


def test_a_brushs_numbers_get_torchs_adam():
    ours, theirs = (rand(40, 11).requires_grad_() for _ in range(2))
    made = CanvasMuon([ours], lr=0.02, unit=28), torch.optim.Adam([theirs], lr=0.02)
    for step in range(5):
        for numbers, optimizer in zip((ours, theirs), made, strict=True):
            numbers.grad = rand(40, 11, seed=step) * 10.0 ** -rand(1, 11, seed=9).abs()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)
