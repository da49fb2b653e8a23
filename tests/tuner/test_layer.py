"""The layer that holds canvases does what the patch embedding does that it wraps."""

from __future__ import annotations

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import ModelHook, add_hook_to_module
from peft import get_peft_model

import zoo
from arttune import ArtConfig
from arttune.tuner import art_layer
from tuner.test_model import batch, painted


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_embeds_patches_as_the_tower_does(name, dtype):
    layer = art_layer(painted(name, dtype))
    patches = layer.family.patches(layer.pixels()).detach().requires_grad_()
    ours, theirs = layer(patches), layer.base_layer(patches)
    assert ours.dtype == theirs.dtype == dtype
    torch.testing.assert_close(ours, theirs)
    pull = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    found, expected = (torch.autograd.grad(out, patches, pull)[0] for out in (ours, theirs))
    torch.testing.assert_close(found, expected, **({} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}))


def test_the_canvas_has_pixels_where_the_towers_weights_are_elsewhere():
    """accelerate leaves empty parameters in a tower that it offloads."""
    whole = painted("qwen2_5_vl")
    model = zoo.tiny("qwen2_5_vl")
    cpu_offload(model.model.visual)
    assert next(model.model.visual.parameters()).device.type == "meta"
    apart, made = get_peft_model(model, ArtConfig(start="noise", seed=3)), batch("qwen2_5_vl")
    with torch.no_grad():
        torch.testing.assert_close(apart(**made).logits, whole(**made).logits)


def test_weights_that_are_elsewhere_are_fetched():
    """accelerate brings a layer's weights when it is called."""
    layer, calls = art_layer(painted("qwen2_5_vl")), []

    class Fetch(ModelHook):
        def pre_forward(self, module, *args, **kwargs):
            calls.append(module)
            return args, kwargs

    add_hook_to_module(layer.base_layer.proj, Fetch())
    layer(layer.family.patches(layer.pixels()))
    assert calls == [layer.base_layer.proj]
