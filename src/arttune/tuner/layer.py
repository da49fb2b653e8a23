"""`ArtLayer`: the canvases of a model, held where its pixels come in.

It wraps the vision tower's patch embedding and does what that does; what it adds is one `Canvas` a named adapter.
While an adapter is disabled the model sees the picture its canvas started from, because the placeholders in the prompt
must hold something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from arttune.canvas import LEVELS, Painting, Provenance, to_uint8
from arttune.families import Family, by_name
from arttune.style.atelier import Tools, tools
from arttune.style.palette import colours, listed
from arttune.style.robust import shaken
from arttune.style.starts import start_pixels
from arttune.tuner.config import ArtConfig


class Canvas(nn.Module):
    """One trainable picture: the float32 master `weight` and its uint8 `start`.

    The master is the picture itself, `(3, H, W)` in [0, 1], or the numbers of the brush that paints it.
    """

    start: torch.Tensor
    shakes: torch.Tensor

    def __init__(self, start: torch.Tensor, tools: Tools, fresh: bool = True) -> None:
        super().__init__()
        self.awaited = not fresh  # its weights, without which there is no picture
        self.robust = tools.robust
        self.brush, self.gamut, self.taste, self.tower = tools.brush, tools.gamut, tools.taste, tools.tower
        begun = start.float() / LEVELS if self.brush is None else self.brush.begin(start)
        self.weight = nn.Parameter(begun.to(start.device))
        self.register_buffer("start", start)
        self.register_buffer("shakes", torch.zeros((), dtype=torch.long))  # steps of robust training so far

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.awaited = self.awaited and f"{prefix}weight" not in state_dict

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Canvas:
        """Follow the model to another device, never to another precision (`model.to(bfloat16)`)."""
        super()._apply(lambda tensor: tensor.to(fn(tensor.new_empty(0)).device), recurse)
        return self

    def settle(self) -> torch.Tensor:
        """Bring the master back to where it may be, whatever an optimiser did to it; returns it.

        A trainer that cast it with its own hands (TRL does, on a quantised base) finds it float32 again.
        """
        if self.weight.dtype in (torch.bfloat16, torch.float16):
            self.weight.data = self.weight.data.float()
        if self.brush is None:
            with torch.autocast(self.weight.device.type, enabled=False):
                self.weight.data.copy_(self.gamut.inside(self.weight.data, self.start))
        else:
            self.brush.keep_(self.weight.data)
        return self.weight

    def pixels(self) -> torch.Tensor:
        """What the model sees, float32 `(3, H, W)` at uint8 levels and within all limits.

        The gradient that will come back is bent as taste has it. In robust training it sees what a service may make of
        that. Raises `ValueError` where weights were to come and have not.
        """
        if self.awaited:
            raise ValueError(
                "this ArtConfig is that of a saved painting, and its weights have not been loaded: "
                "PeftModel.from_pretrained does that. For a new one, make an ArtConfig of your own"
            )
        with torch.autocast(self.weight.device.type, enabled=False):  # bfloat16 cannot tell likeness
            picture = self.settle()
            if self.brush is not None:
                picture = self.gamut.inside(self.brush.paint(picture), self.start)
            shown = self.gamut.shown(picture)
            if not (self.training and shown.requires_grad):
                return shown
            if self.taste is not None:
                self.taste.bend(shown, self.start, self.weight)
            if self.robust is not None:
                shown = shaken(shown, self.robust, int(self.shakes))
                self.shakes += 1
        return shown


class _Embedding(torch.autograd.Function):
    """A patch embedding, which is a convolution that steps by its own width, with the gradient of a matrix product.

    It is the same gradient, but on a CPU that of the convolution takes fifty times as long.
    """

    @staticmethod
    def forward(ctx: Any, patches: torch.Tensor, embedding: Any) -> Any:
        """`(patches, pixels)` to `(patches, width)`."""
        ctx.weight, ctx.precision = embedding.proj.weight, patches.dtype
        return embedding(patches.detach())

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        """To the pixels alone: the weights are frozen."""
        pulled = grads[0].to(ctx.weight.dtype)  # which autocast may have made another
        return (pulled @ ctx.weight.flatten(1)).to(ctx.precision), None


class ArtLayer(nn.Module, BaseTunerLayer):
    """The patch embedding of a vision tower, with canvases. Parameters: `art_canvas.<adapter>.weight`."""

    adapter_layer_names = ("art_canvas",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: ArtConfig) -> None:
        super().__init__()
        self.base_layer: Any = base_layer
        self.art_canvas = nn.ModuleDict({})
        self.configs: dict[str, ArtConfig] = {}
        self._active_adapter = [adapter_name]
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: ArtConfig) -> None:
        """Add a canvas. Its start is made from `config`, or left grey where the weights will bring it."""
        fresh = not config.start_saved
        start = config.start if fresh else "grey"
        pixels = start_pixels(start, config.canvas_size, config.ground, config.seed)
        device = next(self.base_layer.parameters()).device
        if device.type != "meta":  # of a tower whose weights are elsewhere until they are needed
            pixels = pixels.to(device)
        if config.palette is not None:  # its file may not be there when the adapter is loaded
            config.palette = listed(colours(config.palette))
        made = tools(config, pixels, config.seed, fresh, learns=fresh or not config.inference_mode)
        canvas = Canvas(pixels, made, fresh)
        source = config.bound_to(self.painting)
        if not fresh and source is not None and source in self.art_canvas:
            # TRL's reference to a loaded adapter, which alone knows what it started from, and its limits.
            canvas.load_state_dict(self.canvas(source).state_dict(), strict=False)
        self.art_canvas[adapter_name] = canvas
        self.configs[adapter_name] = config
        config.bind(self.painting, adapter_name)
        BaseTunerLayer.set_adapter(self, self._active_adapter, inference_mode=config.inference_mode)

    def forward(self, hidden_states: torch.Tensor) -> Any:
        """The tower's own patch embedding."""
        proj = self.base_layer.proj
        fetched = "forward" in vars(proj)  # by accelerate, for each call
        if fetched or proj.weight.requires_grad:
            return self.base_layer(hidden_states)
        return _Embedding.apply(hidden_states, self.base_layer)

    @property
    def current(self) -> str:
        """The adapter whose canvas is shown. Raises `ValueError` where several are active at once."""
        active: list[str] = list(self._active_adapter)
        if len(active) != 1:
            raise ValueError(f"ART shows one picture at a time, but the active adapters are {active}; set_adapter(one)")
        return active[0]

    @property
    def family(self) -> Family:
        """The vision family of the current canvas."""
        return by_name(str(self.configs[self.current].family))

    def canvas(self, adapter_name: str = "default") -> Canvas:
        """The canvas of an adapter."""
        found = self.art_canvas[adapter_name]
        assert isinstance(found, Canvas)
        return found

    def pixels(self) -> torch.Tensor:
        """What the model sees now, `(3, H, W)` float32 at uint8 levels: the canvas, or its start while disabled."""
        canvas = self.canvas(self.current)
        return canvas.start.float() / LEVELS if self.disable_adapters else canvas.pixels()

    def painting(self, adapter_name: str = "default") -> Painting:
        """The canvas as it would be served now."""
        config = self.configs[adapter_name]
        provenance = Provenance(
            model=config.base_model_name_or_path,
            revision=config.revision,
            family=config.family,
            start=config.start,
        )
        with torch.no_grad():
            return Painting(to_uint8(self.canvas(adapter_name).pixels()), provenance)

    def show(self, adapter_name: str, painting: Painting) -> None:
        """Put a painting on the canvas of `adapter_name`; it becomes both canvas and start."""
        canvas = self.canvas(adapter_name)
        with torch.no_grad():
            canvas.weight.copy_(painting.pixels.float() / LEVELS)
            canvas.start.copy_(painting.pixels)
