"""One token after another, with nothing in the way.

`generate` makes a pass for every token, and such a pass has little to calculate. So here it does little else: a cache
has room behind its last token, where the next is written while the rest stays where it is; and on a CPU, where every
row costs, rows that have come to their end leave the batch. What a GPU gets instead is in `recording.py`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import DynamicLayer

from arttune.recording import replayed

ROOM = 64  # tokens
STAGE = 8  # tokens between two looks at who is done
NEXT = {"attention_mask": 1, "mm_token_type_ids": 0}  # of a token that was written
ROWS = (*NEXT, "image_grid_thw")  # what else there is of every row
INPUTS = (*ROWS, "input_ids", "past_key_values", "generation_config")
# Settings that look at a token, or at a whole row: a run in stages does as they say.
PLAIN = {
    *("max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "suppress_tokens"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "transformers_version", "disable_compile", "use_cache"),
}


class Growing(DynamicLayer):
    """One attention layer's keys and values, with room behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.room: tuple[torch.Tensor, ...] | None = None

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """What stood there, with `keys` and `values` behind it."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys[:, :, :0], values[:, :, :0]
        old, end = self.keys.shape[2], self.keys.shape[2] + keys.shape[2]
        if self.room is None or self.room[0].shape[2] < end:
            self.room = tuple(one.new_empty((*one.shape[:2], end + ROOM, one.shape[3])) for one in (keys, values))
            for room, before in zip(self.room, (self.keys, self.values), strict=True):
                room[:, :, :old] = before
        for room, new in zip(self.room, (keys, values), strict=True):
            room[:, :, old:end] = new
        self.keys, self.values = self.room[0][:, :, :end], self.room[1][:, :, :end]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Takes the rows `beam_idx`, with new room behind them."""
        super().reorder_cache(beam_idx)
        self.room = None


def growing(text_config: Any) -> DynamicCache:
    """An empty cache."""
    cache = DynamicCache(config=text_config)
    cache.layers = [Growing() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def decoded(model: Any, given: dict[str, Any]) -> Any:
    """`model.generate(**given)`; `given` has the model's inputs by name and a cache of `growing` or `fixed`."""
    text, given = model.base_model.language_model, given.copy()
    config = deepcopy(given.pop("generation_config", None) or model.generation_config)
    rest = config.update(**{name: given.pop(name) for name in list(given) if name not in INPUTS})
    given |= rest | {"generation_config": config}
    if isinstance(given["past_key_values"], StaticCache):
        with replayed(text):
            return model.generate(**given)
    if text.device.type != "cpu":
        return model.generate(**given)
    asked = model.generation_config.to_diff_dict() | config.to_diff_dict() | rest
    said = {name: value for name, value in asked.items() if value is not None and value is not False and name[0] != "_"}
    staged = PLAIN.issuperset(said) and {"max_new_tokens", "eos_token_id"}.issubset(said)
    return _in_stages(model, given, said) if staged else model.generate(**given)


def _in_stages(model: Any, given: dict[str, Any], said: dict[str, Any]) -> torch.Tensor:
    """`generate` for a few tokens at a time, with the rows that are not done."""
    ids, config, backbone = given["input_ids"], given["generation_config"], model.base_model
    most, ends = said["max_new_tokens"], torch.tensor(said["eos_token_id"]).flatten()
    config.pad_token_id = said.get("pad_token_id", int(ends[0]))
    written = ids.new_full((len(ids), most), config.pad_token_id)
    rows, done = torch.arange(len(ids)), 0
    while len(rows) and done < most:
        config.max_new_tokens = min(STAGE, most - done)
        found = model.generate(**given)
        fresh = found[:, given["input_ids"].shape[1] :]
        written[rows, done : done + fresh.shape[1]] = fresh
        done += fresh.shape[1]
        kept = (~torch.isin(fresh, ends).any(dim=1)).nonzero().flatten()
        if len(kept) < len(rows):
            given["past_key_values"].reorder_cache(kept)
            backbone.rope_deltas = backbone.rope_deltas[kept]
        rows = rows[kept]
        given |= {name: given[name][kept] for name in ROWS if name in given} | {"input_ids": found[kept]}
        given |= {
            name: pad(given[name], (0, fresh.shape[1]), value=value) for name, value in NEXT.items() if name in given
        }
    return torch.cat([ids, written[:, :done]], dim=1)
