"""A tree in passes, one after another, each on the states that the one before it left (`states.py`).

It suits every model and device. Where it can, `flat.py` runs all of a tree at once.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache
from transformers.utils import ModelOutput

from arttune.prefix import OVERHEAD, Plan, Run, even, order, packed
from arttune.states import Recurrent, branch, joined, root, stay


@dataclass(frozen=True)
class Batch:
    """Rows of tokens that start at their first one, and a backbone's `forward` to run parts of them."""

    forward: Callable[..., ModelOutput]
    ids: torch.Tensor  # (batch, length)
    positions: torch.Tensor  # (3 or 4, batch, length)
    extra: dict[str, Any]  # what else `forward` is called with

    def columns(self, rows: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Columns from `first` to before `last` `(batch,)` of `rows`: `(rows, width)`, as many of each, and some."""
        width = int((last - first)[rows].max())
        return first[rows, None] + torch.arange(width, device=self.ids.device)

    def at(self, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens `(rows, width)` and positions `(3 or 4, rows, width)` in `columns` of `rows`; beyond the end, any."""
        columns = columns.clamp(max=self.ids.shape[1] - 1)
        return self.ids[rows[:, None], columns], self.positions[:, rows[:, None], columns]

    def run(self, plan: Plan, config: Any, seen: Any) -> Run:
        """Run the trunk, then the stems, then the rest of each row. `seen` are the picture's features."""
        head, cache = self.trunk(plan.shared, config, **(repeated(seen, 1) if plan.pictured else {}))
        if len(plan.heads):
            first = torch.full_like(plan.begin, plan.shared)
            cache = self.grown(cache, plan.heads, first, plan.begin, None if plan.pictured else seen)
        packs = packed((plan.end - plan.begin).tolist(), OVERHEAD[self.ids.device.type])
        hidden = []
        for pack in packs:
            rows = torch.tensor(pack, device=self.ids.device)
            output = self.limb(rows, plan.begin, plan.end, branch(cache, plan.stem[rows]))
            hidden.append(output.last_hidden_state)
        output.past_key_values = None
        return Run(output, head, hidden, packs)

    def trunk(self, shared: int, config: Any, **pictures: Any) -> tuple[torch.Tensor, Cache]:
        """Run the first `shared` tokens once: their hidden states `(1, shared, hidden)`, and what they leave."""
        cache = root(config)
        output = self.forward(
            input_ids=self.ids[:1, :shared],
            position_ids=self.positions[:, :1, :shared],
            past_key_values=cache,
            use_cache=False,  # or transformers drops the cache under checkpointing
            **pictures,
            **self.extra,
        )
        return output.last_hidden_state, cache

    def limb(
        self, rows: torch.Tensor, first: torch.Tensor, last: torch.Tensor, cache: Cache, **pictures: Any
    ) -> ModelOutput:
        """Run columns `first` to before `last` `(batch,)` of `rows` on `cache`, which has all that is before them."""
        columns = self.columns(rows, first, last)
        seen = torch.arange(cache.get_seq_length(), device=self.ids.device) < first[rows, None]
        tokens, positions = self.at(rows, columns)
        return self.forward(
            input_ids=tokens,
            attention_mask=torch.cat([seen, columns < last[rows, None]], dim=1).long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=False,
            **pictures,
            **self.extra,
        )

    def grown(
        self, cache: Cache, rows: torch.Tensor, first: torch.Tensor, last: torch.Tensor, seen: Any = None
    ) -> Cache:
        """Run columns `first` to before `last` of `rows` on the one row of `cache`, for what they leave.

        `seen` are the features of the picture, if it stands in each of these rows.
        """
        lengths = (last - first)[rows].tolist()
        recurs = any(isinstance(layer, Recurrent) for layer in cache.layers)
        packs = even(lengths) if recurs else packed(lengths, OVERHEAD[self.ids.device.type])
        caches = []
        for pack in packs:
            caches.append(branch(cache, torch.zeros(len(pack), dtype=torch.long, device=rows.device), keep=True))
            if max(lengths[i] for i in pack):
                pictures = {} if seen is None else repeated(seen, len(pack))
                self.limb(rows[pack], first, last, caches[-1], **pictures)
            else:
                stay(caches[-1])
        return joined(caches, order(packs, rows.device))


def repeated(seen: Any, count: int) -> dict[str, Any]:
    """The features `seen` of one picture as a backbone takes those of `count` pictures that are alike."""
    shown = copy(seen)
    shown.pooler_output = list(seen.pooler_output) * count
    deep = getattr(seen, "deepstack_features", None)
    if deep is not None:
        shown.deepstack_features = [list(level) * count for level in deep]
    return {"mm_encoder_outputs": {"image": shown}}
