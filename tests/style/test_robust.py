"""What services do to a picture, against Pillow's own and plain indexing, and with gradients."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from peft import get_peft_model
from PIL import Image

import zoo
from arttune import ArtConfig
from arttune.style.robust import jpeg, resized, shaken, shifted
from arttune.style.starts import start_pixels
from arttune.tuner import art_layer

ORCHARD = "recipes/compare/orchard.png"
PICTURE = start_pixels(ORCHARD, (112, 140)).float() / 255


def levels(picture: torch.Tensor) -> np.ndarray:
    return (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


@pytest.mark.parametrize("quality", [50, 90])
def test_jpeg_is_a_real_encoders(quality):
    data = io.BytesIO()
    Image.fromarray(levels(PICTURE)).save(data, "JPEG", quality=quality)
    assert (levels(jpeg(PICTURE, quality)) == np.asarray(Image.open(data))).all()


@pytest.mark.parametrize("scale", [0.8, 1.2])
def test_a_resize_there_and_back_is_nearly_pillows(scale):
    flat = Image.fromarray(levels(PICTURE))
    there = flat.resize((round(140 * scale), round(112 * scale)), Image.Resampling.BICUBIC)
    back = np.asarray(there.resize((140, 112), Image.Resampling.BICUBIC)).astype(int)
    off = np.abs(levels(resized(PICTURE, scale)).astype(int) - back)
    assert off.mean() < 0.3 * np.abs(back - levels(PICTURE)).mean()


def test_a_shift_moves_and_repeats_the_edge():
    moved = shifted(PICTURE, 2, -1)
    assert torch.equal(moved[:, 2:, :-1], PICTURE[:, :-2, 1:])
    assert torch.equal(moved[:, 0, :-1], PICTURE[:, 0, 1:])
    assert torch.equal(moved[:, 2:, -1], PICTURE[:, :-2, -1])


def test_seed_and_step_say_which_and_all_happen():
    found = [shaken(PICTURE, 0, step) for step in range(24)]
    assert all(torch.equal(one, shaken(PICTURE, 0, step)) for step, one in enumerate(found))
    assert not all(torch.equal(one, shaken(PICTURE, 1, step)) for step, one in enumerate(found))
    assert 2 < sum(torch.equal(one, PICTURE) for one in found) < 12
    assert len({one.sum().item() for one in found}) >= 9


@pytest.mark.parametrize("seed", range(12))
def test_gradients_pass(seed):
    picture = PICTURE.clone().requires_grad_()
    shaken(picture, seed, 0).sum().backward()
    assert picture.grad.isfinite().all()
    assert float(picture.grad.sum()) == pytest.approx(picture.numel(), rel=0.05)


def test_only_training_is_shaken_and_each_step_differently():
    model = get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start=ORCHARD, size=(112, 140), robust=True))
    layer = art_layer(model).train()
    calm = art_layer(model).painting().pixels.float() / 255
    seen = [layer.pixels().detach() for _ in range(24)]
    assert int(layer.canvas().shakes) == 24
    assert len({one.sum().item() for one in seen}) > 8
    with torch.no_grad():
        torch.testing.assert_close(layer.pixels(), calm, rtol=0, atol=1e-6)
    layer.eval()
    torch.testing.assert_close(layer.pixels().detach(), calm, rtol=0, atol=1e-6)
    assert int(layer.canvas().shakes) == 24
