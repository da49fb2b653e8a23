"""The cache that `generate` goes on from: it has all but the last token of each row.

What all rows share (the prefix with the picture) runs once, of a painting even once for all calls, and each different
prompt once, however many completions it is to get.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache

from arttune.decoding import decoded, growing
from arttune.passes import Batch, repeated
from arttune.prefix import ends, left_aligned, shared_length, stems
from arttune.recording import fixed, replays
from arttune.states import kinds, written

# With any of these, `generate` runs in a way that a cache filled beforehand does not suit.
OWN_CACHE = ("past_key_values", "cache_implementation", "num_beams", "num_return_sequences", "assistant_model")
INNER = ("output_hidden_states", "output_attentions")  # of all positions, so rows run whole


def generated(model: Any, given: dict[str, Any], filled: dict[str, Any]) -> Any:
    """`model.generate(**given)` from what `Filling` made of `given`, with rows padded as they came."""
    output = decoded(model, given | filled)
    sequences = output if isinstance(output, torch.Tensor) else output.sequences
    whole = torch.cat([given["input_ids"], sequences[:, filled["input_ids"].shape[1] :]], dim=1)
    if isinstance(output, torch.Tensor):
        return whole
    output.sequences = whole
    return output


class Filling:
    """Fills such caches, and keeps what the prefix of the last painting left."""

    def __init__(self) -> None:
        self.kept: tuple[Any, Cache] | None = None

    @torch.no_grad()
    def __call__(self, model: Any, given: dict[str, Any], tuner: Any = None) -> dict[str, Any]:
        """What `model.generate(**given)` takes instead; empty where nothing can be shared.

        `tuner` is the `ArtModel` whose picture is shown, if one is.
        """
        backbone, ids = model.base_model, given["input_ids"]
        asked = given.get("generation_config") or model.generation_config

        def of(name: str) -> Any:
            return given.get(name, getattr(asked, name, None))

        whole = of("use_cache") is False or any(of(name) not in (None, 1) for name in OWN_CACHE)
        if whole or any(of(name) for name in INNER) or not kinds(backbone.config):
            return {}
        mask = given.get("attention_mask")
        ids, mask, _ = left_aligned(ids, torch.ones_like(ids) if mask is None else mask)
        types = (ids == backbone.config.image_token_id).long()
        picture = types[0].nonzero() if tuner else None
        shared = shared_length(ids, mask, None if picture is None else int(picture.max()) + 1)
        pictured = picture is not None and shared > int(picture.max())  # else it stands in each prompt
        if not shared or (not pictured and bool(types[:, :shared].any())):
            return {}
        pictures = {"image_grid_thw": tuner.grid().expand(len(ids), -1)} if tuner else {}
        positions, _ = backbone.get_rope_index(ids, mm_token_type_ids=types, attention_mask=mask, **pictures)
        batch = Batch(backbone, ids, positions, {})
        stop = ends(mask) - 1
        stem, one_each = stems(ids, shared, stop)
        trunk = self._trunk(batch, shared, tuner) if pictured else batch.trunk(shared, backbone.config)[1]
        seen = tuner.seen() if tuner and not pictured else None
        cache = batch.grown(trunk, one_each, torch.full_like(stop, shared), stop, seen)
        backbone.rope_deltas = None  # of an earlier call: a filled cache would make `generate` trust them
        # The last tokens stand in a column of their own, after the longest of the rest.
        last, width = ids.gather(1, stop[:, None]), int(stop.max())
        before = torch.arange(width, device=ids.device) < stop[:, None]
        text, more = backbone.config.get_text_config(), given.get("max_new_tokens", asked.max_new_tokens)
        room = more is not None and replays(backbone.language_model)
        own = written(cache, stem, fixed(text, width + 1 + more) if room else growing(text))
        if tuner:
            pictures["mm_token_type_ids"] = torch.cat([types[:, :width], torch.zeros_like(last)], dim=1)
        return {
            "input_ids": torch.cat([ids[:, :width], last], dim=1),
            "attention_mask": torch.cat([before.long(), torch.ones_like(last)], dim=1),
            "past_key_values": own,
            "disable_compile": True,  # a fixed cache would have `generate` compile the model
            **pictures,
        }

    def _trunk(self, batch: Batch, shared: int, tuner: Any) -> Cache:
        """What the prefix leaves, run again only where the painting or what else it depends on is another."""
        backbone, layer = tuner.backbone, tuner.layer
        pixels = layer.pixels().cpu().numpy().tobytes()
        key = (layer.current, batch.ids.device, backbone.dtype, tuple(batch.ids[0, :shared].tolist()), pixels)
        if self.kept is None or self.kept[0] != key:
            self.kept = key, batch.trunk(shared, backbone.config, **repeated(tuner.seen(), 1))[1]
        return self.kept[1]
