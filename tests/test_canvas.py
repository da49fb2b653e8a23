"""The canvas: rounding, limits, starts, and the PNG it becomes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from arttune.canvas import Painting, Provenance, dither_, quantize, sha256, to_uint8
from arttune.errors import BadInput
from arttune.style.starts import start_pixels

SIZE = (56, 84)


def noise(seed: int = 0) -> torch.Tensor:
    return start_pixels("noise", SIZE, seed=seed)


def test_every_uint8_level_survives_the_master_unchanged():
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(3, 16, 16)
    master = levels.float() / 255
    assert torch.equal(to_uint8(master), levels)
    assert torch.equal(to_uint8(quantize(master)), levels)


def test_quantize_rounds_to_png_levels_and_passes_the_gradient_through():
    master = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    seen = quantize(master)
    assert ((seen * 255) - (seen * 255).round()).abs().max() < 1e-4
    assert (seen - master).abs().max() <= 0.5 / 255 + 1e-6
    weight = torch.rand(3, 8, 8)
    (seen * weight).sum().backward()
    assert torch.equal(master.grad, weight)


def test_a_painting_survives_its_png_with_its_provenance(tmp_path):
    made = Provenance(model="smol", revision="r1", family="qwen2_5_vl", task="svamp", objective="sft", steps=3, seed=1)
    made.scores = [{"accuracy": 0.5, "ci95": [0.4, 0.6], "n": 96}]
    Painting(noise(), made).save(tmp_path / "art.png")
    found = Painting.load(tmp_path / "art.png")
    assert torch.equal(found.pixels, noise())
    assert found.intact()
    assert found.size == SIZE
    assert found.provenance == made
    assert not list(tmp_path.glob(".*"))


def test_a_changed_pixel_is_noticed(tmp_path):
    painting = Painting(noise(), Provenance(model="smol"))
    painting.save(tmp_path / "art.png")
    found = Painting.load(tmp_path / "art.png")
    found.pixels[0, 0, 0] ^= 1
    assert not found.intact()


def test_the_hash_knows_the_shape():
    pixels = noise()
    assert sha256(pixels) != sha256(pixels.transpose(1, 2).reshape(3, *SIZE))
    assert sha256(torch.zeros(3, 4, 2, dtype=torch.uint8)) != sha256(torch.zeros(3, 2, 4, dtype=torch.uint8))


def test_a_picture_without_provenance_is_still_a_painting(tmp_path):
    Image.fromarray(np.zeros((28, 28, 3), dtype=np.uint8)).save(tmp_path / "plain.png")
    found = Painting.load(tmp_path / "plain.png")
    assert found.provenance is None
    assert not found.intact()


@pytest.mark.parametrize("keep", [10, 60, 500])
def test_a_truncated_png_is_bad_input(tmp_path, keep):
    Painting(noise(), Provenance(model="smol")).save(tmp_path / "art.png")
    whole = (tmp_path / "art.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:keep])
    with pytest.raises(BadInput, match=r"cut\.png"):
        Painting.load(tmp_path / "cut.png")


def test_a_file_that_is_no_picture_is_bad_input(tmp_path):
    (tmp_path / "notes.png").write_text("hello")
    with pytest.raises(BadInput, match="is not a picture"):
        Painting.load(tmp_path / "notes.png")
    with pytest.raises(BadInput, match="is not a picture"):
        start_pixels(str(tmp_path / "notes.png"), SIZE)


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        Painting.load(tmp_path)


@pytest.mark.parametrize(("chunk", "value"), [("size", "5"), ("size", "[1"), ("scores", '[{"accuracy": 1}]')])
def test_foreign_provenance_is_bad_input(tmp_path, chunk, value):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(f"arttune-{chunk}", value)
    Image.new("RGB", (28, 28)).save(tmp_path / "odd.png", pnginfo=chunks)
    with pytest.raises(BadInput, match="provenance is not"):
        Painting.load(tmp_path / "odd.png")


def test_a_painting_saved_again_with_an_opaque_alpha_is_the_same(tmp_path):
    painting = Painting(start_pixels("noise", (28, 28)))
    painting.save(tmp_path / "art.png")
    Image.open(tmp_path / "art.png").convert("RGBA").save(tmp_path / "again.png")
    assert torch.equal(Painting.load(tmp_path / "again.png").pixels, painting.pixels)


def test_a_transparent_picture_is_no_painting(tmp_path):
    Image.fromarray(np.zeros((28, 28, 4), dtype=np.uint8), "RGBA").save(tmp_path / "glass.png")
    with pytest.raises(BadInput, match="transparent"):
        Painting.load(tmp_path / "glass.png")


def test_a_dithered_master_is_the_same_picture_and_shows_short_moves_at_once():
    pixels = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = pixels.float() / 255
    dithered = plain.clone()
    dither_(dithered, seed=1)
    assert torch.equal(to_uint8(dithered), pixels)
    assert not torch.equal(dithered, plain)
    move = 0.25 / 255
    assert torch.equal(to_uint8(plain + move), pixels)
    shown = (to_uint8(dithered + move) != pixels)[pixels < 255]
    assert float(shown.float().mean()) == pytest.approx(0.25, abs=0.03)
