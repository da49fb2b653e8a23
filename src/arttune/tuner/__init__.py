"""ART as a PEFT method: `ArtConfig` goes wherever a `LoraConfig` would."""

from arttune.tuner.config import ArtConfig
from arttune.tuner.layer import ArtLayer, Canvas
from arttune.tuner.model import ArtModel, art_layer, vision_tokens
from arttune.tuner.registration import register

register()

__all__ = ["ArtConfig", "ArtLayer", "ArtModel", "Canvas", "art_layer", "vision_tokens"]
