"""`ArtLayer`: the canvases of a model, held where its pixels come in.

It wraps the vision tower's patch embedding and passes every call straight through; what it adds are the trainable
masters, one a named adapter, and the pictures they started from. The start is what the model sees while the adapter
is disabled, because the placeholders in the prompt must hold something.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from arttune.canvas import Painting, Provenance, project_, quantize, start_pixels, to_uint8
from arttune.families import Family, by_name
from arttune.tuner.config import ArtConfig


class ArtLayer(nn.Module, BaseTunerLayer):
    """The patch embedding of a vision tower, with canvases. Parameters: `art_canvas.<adapter>`, float32 `(3, H, W)`."""

    adapter_layer_names = ("art_canvas",)
    other_param_names = ("art_start",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: ArtConfig) -> None:
        super().__init__()
        self.base_layer: Any = base_layer
        self.art_canvas = nn.ParameterDict({})
        self.art_start = BufferDict({}, persistent=True)
        self.configs: dict[str, ArtConfig] = {}
        self._active_adapter = [adapter_name]
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: ArtConfig) -> None:
        """Add a canvas. Its start is made from `config`, or left grey where the weights will bring it."""
        start = "grey" if config.start_saved else config.start
        pixels = start_pixels(start, config.canvas_size, config.ground, config.seed)
        device = next(self.base_layer.parameters()).device
        self.art_start[adapter_name] = pixels.to(device)
        self.art_canvas[adapter_name] = nn.Parameter((pixels.float() / 255).to(device))
        self.configs[adapter_name] = config
        config.bind(lambda: self.painting(adapter_name))
        BaseTunerLayer.set_adapter(self, self._active_adapter, inference_mode=config.inference_mode)

    def forward(self, hidden_states: torch.Tensor) -> Any:
        """The tower's own patch embedding, unchanged."""
        return self.base_layer(hidden_states)

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

    def pixels(self) -> torch.Tensor:
        """What the model sees now, `(3, H, W)` float32 at uint8 levels: the canvas, or its start while disabled.

        The master is projected into [0, 1] first, so whatever an optimiser did to it since, no forward pass and no
        saved file ever sees it outside its limits.
        """
        if self.disable_adapters:
            return self.art_start[self.current].float() / 255
        master = self.art_canvas[self.current]
        project_(master.data)
        return quantize(master)

    def painting(self, adapter_name: str) -> Painting:
        """The canvas as it would be served now."""
        config = self.configs[adapter_name]
        provenance = Provenance(
            model=config.base_model_name_or_path,
            revision=config.revision,
            family=config.family,
            start=config.start,
        )
        return Painting(to_uint8(self.art_canvas[adapter_name]), provenance)

    def show(self, adapter_name: str, painting: Painting) -> None:
        """Put a painting on the canvas of `adapter_name`; it becomes both canvas and start."""
        with torch.no_grad():
            self.art_canvas[adapter_name].copy_(painting.pixels.float() / 255)
            self.art_start[adapter_name].copy_(painting.pixels)
