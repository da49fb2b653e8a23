"""The cache that `generate` goes on from: it has all but the last token of each row.

The prefix with the picture runs once a painting, and each different prompt once, however many completions it is to get.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache

from arttune.decoding import fixed, replays
from arttune.prefix import ends, left_aligned, shared_length, stems
from arttune.states import kinds, written
from arttune.tree import Batch

# With any of these, `generate` runs in a way that a cache filled beforehand does not suit.
OWN_CACHE = ("past_key_values", "cache_implementation", "num_beams", "num_return_sequences", "assistant_model")


class Filling:
    """Fills such caches, and keeps what the prefix of the last painting left."""

    def __init__(self) -> None:
        self.kept: tuple[Any, Cache] | None = None

    @torch.no_grad()
    def __call__(self, tuner: Any, input_ids: torch.Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What `generate(input_ids, **kwargs)` of an `ArtModel` takes instead; empty where nothing can be shared."""
        backbone = tuner.backbone
        asked = kwargs.get("generation_config") or tuner.model.generation_config
        wants = [kwargs.get(name, getattr(asked, name, None)) for name in OWN_CACHE]
        cached = kwargs.get("use_cache", getattr(asked, "use_cache", None)) is not False
        if not cached or not kinds(backbone.config) or any(value not in (None, 1) for value in wants):
            return {}
        mask = kwargs.get("attention_mask")
        ids, mask, _ = left_aligned(input_ids, torch.ones_like(input_ids) if mask is None else mask)
        types = (ids == backbone.config.image_token_id).long()
        picture = int(types[0].nonzero().max()) + 1
        if shared_length(ids, mask, picture) < picture:
            return {}
        pixels = tuner.layer.pixels()
        grid = tuner.grid(pixels).expand(len(ids), -1)
        positions, _ = backbone.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=grid, attention_mask=mask)
        batch = Batch(backbone, ids, positions, {})
        stop = ends(mask) - 1
        stem, one_each = stems(ids, picture, stop)
        place = (ids.device, backbone.dtype)
        key = (tuner.layer.current, *place, tuple(ids[0, :picture].tolist()), pixels.cpu().numpy().tobytes())
        if self.kept is None or self.kept[0] != key:
            seen = tuner.features(1, 1)["mm_encoder_outputs"]
            self.kept = key, batch.trunk(picture, backbone.config, mm_encoder_outputs=seen)[1]
        cache = batch.grown(self.kept[1], one_each, torch.full_like(stop, picture), stop)
        backbone.rope_deltas = None  # of an earlier call: a filled cache would make `generate` trust them
        # The last tokens stand in a column of their own, after the longest of the rest.
        last, width = ids.gather(1, stop[:, None]), int(stop.max())
        before = torch.arange(width, device=ids.device) < stop[:, None]
        text, more = backbone.config.get_text_config(), kwargs.get("max_new_tokens", asked.max_new_tokens)
        room = more is not None and replays(backbone.language_model)
        own = written(cache, stem, fixed(text, width + 1 + more) if room else DynamicCache(config=text))
        return {
            "input_ids": torch.cat([ids[:, :width], last], dim=1),
            "attention_mask": torch.cat([before.long(), torch.ones_like(last)], dim=1),
            "mm_token_type_ids": torch.cat([types[:, :width], torch.zeros_like(last)], dim=1),
            "image_grid_thw": grid,
            "past_key_values": own,
            "disable_compile": True,  # a fixed cache would have `generate` compile the model
        }
