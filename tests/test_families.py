"""Families: our pixels-to-patches against transformers' own processor, and which sizes are legal."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

import zoo
from arttune.errors import BadInput
from arttune.families import FAMILIES, by_name, detect
from arttune.style.starts import start_pixels


def sizes(name: str) -> list[tuple[int, int]]:
    unit = FAMILIES[name].unit
    return [(unit * 8, unit * 8), (unit * 8, unit * 11), (unit * 13, unit * 8)]


def test_patches_equal_the_processors_own(family_name):
    family = FAMILIES[family_name]
    for seed, size in enumerate(sizes(family_name)):
        pixels = start_pixels("noise", size, seed=seed)
        picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        theirs = zoo.image_processor(family)(images=[picture], return_tensors="pt")
        ours = family.patches(pixels.float() / 255)
        assert ours.shape == theirs["pixel_values"].shape
        assert (ours - theirs["pixel_values"]).abs().max() <= 1e-6
        assert list(family.grid(size)) == theirs["image_grid_thw"][0].tolist()
        assert family.tokens(size) == theirs["image_grid_thw"][0].prod() // family.merge**2


def test_patches_are_differentiable_everywhere(family_name):
    family = FAMILIES[family_name]
    pixels = torch.rand(3, *sizes(family_name)[1], dtype=torch.float64, requires_grad=True)
    weight = torch.randn(family.patches(pixels).shape, dtype=torch.float64)
    (family.patches(pixels) * weight).sum().backward()
    # Linear, so one step of any length is exact; each pixel appears once per frame, scaled by 1 / std.
    step = torch.randn_like(pixels)
    moved = ((family.patches(pixels + step) - family.patches(pixels)) * weight).sum()
    assert torch.allclose(moved, (pixels.grad * step).sum())
    assert bool((pixels.grad != 0).all())


def test_legal_sizes_are_exactly_those_that_smart_resize_leaves_alone(family_name):
    family = FAMILIES[family_name]
    for height in range(family.unit, 600, 4):
        for width in (height, 2 * family.unit, 10 * family.unit, 300):
            limits = {"factor": family.unit, "min_pixels": family.min_pixels, "max_pixels": family.max_pixels}
            unresized = smart_resize(height, width, **limits) == (height, width)
            try:
                accepted = family.size((height, width)) == (height, width)
            except BadInput:
                accepted = False
            assert accepted == unresized, (height, width)


def test_an_illegal_size_names_legal_neighbours(family_name):
    family = FAMILIES[family_name]
    with pytest.raises(BadInput, match="Nearest") as caught:
        family.size(family.default_side + 3)
    named = [int(word.split("x")[0]) for word in str(caught.value).split("Nearest: ")[1].split(" or ")]
    assert named == [family.default_side, family.default_side + family.unit]
    for side in named:
        assert family.size(side) == (side, side)
    for hopeless in (0, -28, 10**6):
        with pytest.raises(BadInput, match="Nearest"):
            family.size(hopeless)


def test_the_nearest_of_a_long_canvas_may_be_long():
    for wish, nearest in (((56, 1401), "56x1400"), ((1401, 56), "1400x56"), ((100, 9000), "84x8988 or 84x9016")):
        with pytest.raises(BadInput, match=f"Nearest: {nearest}"):
            FAMILIES["qwen2_5_vl"].size(wish)


def test_patches_equal_those_of_transformers_defaults_for_qwen2_vl():
    """The processor as it comes, told nothing by us: its own mean, deviation, patches and limits."""
    theirs = Qwen2VLImageProcessorPil()
    for name in ("qwen2_vl", "qwen2_5_vl"):
        family = FAMILIES[name]
        limits = theirs.size["shortest_edge"], theirs.size["longest_edge"]
        assert (family.min_pixels, family.max_pixels) == limits
        pixels = start_pixels("noise", (224, 308), seed=7)
        picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        made = theirs(images=[picture], return_tensors="pt")["pixel_values"]
        assert (family.patches(pixels.float() / 255) - made).abs().max() <= 1e-6


def test_the_qwen3_facts_are_those_released():
    """The figures of the released `preprocessor_config.json`, written out here a second time on purpose."""
    for name in ("qwen3_vl", "qwen3_5"):
        family = FAMILIES[name]
        assert (family.patch, family.merge, family.frames) == (16, 2, 2)
        assert (family.mean, family.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        assert (family.min_pixels, family.max_pixels) == (65536, 16777216)


def test_the_default_is_64_tokens(family_name):
    family = FAMILIES[family_name]
    assert family.tokens(family.size(None)) == 64


def test_detect_reads_the_model(family_name):
    config = zoo.tiny(family_name).config
    assert detect(config).name == family_name
    assert detect(config.to_dict()).name == family_name


def test_an_unknown_family_lists_the_known_ones():
    with pytest.raises(BadInput, match="qwen2_vl, qwen2_5_vl, qwen3_vl, qwen3_5"):
        by_name("llava")


def test_a_model_with_other_patches_is_refused():
    config = zoo.tiny("qwen2_5_vl").config.to_dict()
    config["vision_config"]["patch_size"] = 16
    with pytest.raises(BadInput, match="14-pixel patches"):
        detect(config)
