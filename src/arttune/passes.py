"""A tree in passes, one after another, each on the states that the one before it left (`states.py`).

It suits every model and device. Where it can, `flat.py` runs all of a tree at once.
"""

from __future__ import annotations

from collections.abc import Callable
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

    def run(self, plan: Plan, config: Any, **features: Any) -> Run:
        """Run the trunk, then the stems, then the rest of each row."""
        head, cache = self.trunk(plan.shared, config, **features)
        if len(plan.heads):
            cache = self.grown(cache, plan.heads, torch.full_like(plan.begin, plan.shared), plan.begin)
        packs = packed((plan.end - plan.begin).tolist(), OVERHEAD[self.ids.device.type])
        hidden = []
        for pack in packs:
            rows = torch.tensor(pack, device=self.ids.device)
            output = self.limb(rows, plan.begin, plan.end, branch(cache, plan.stem[rows]))
            hidden.append(output.last_hidden_state)
        output.past_key_values = None
        return Run(output, head, hidden, packs)

    def trunk(self, shared: int, config: Any, **features: Any) -> tuple[torch.Tensor, Cache]:
        """Run the first `shared` tokens once: their hidden states `(1, shared, hidden)`, and what they leave."""
        cache = root(config)
        output = self.forward(
            input_ids=self.ids[:1, :shared],
            position_ids=self.positions[:, :1, :shared],
            past_key_values=cache,
            use_cache=False,  # or transformers drops the cache under checkpointing
            **features,
            **self.extra,
        )
        return output.last_hidden_state, cache

    def limb(self, rows: torch.Tensor, first: torch.Tensor, last: torch.Tensor, cache: Cache) -> ModelOutput:
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
            **self.extra,
        )

    def grown(self, cache: Cache, rows: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> Cache:
        """Run columns `first` to before `last` of `rows` on the one row of `cache`, for what they leave."""
        lengths = (last - first)[rows].tolist()
        recurs = any(isinstance(layer, Recurrent) for layer in cache.layers)
        packs = even(lengths) if recurs else packed(lengths, OVERHEAD[self.ids.device.type])
        caches = []
        for pack in packs:
            caches.append(branch(cache, torch.zeros(len(pack), dtype=torch.long, device=rows.device), keep=True))
            if max(lengths[i] for i in pack):
                self.limb(rows[pack], first, last, caches[-1])
            else:
                stay(caches[-1])
        return joined(caches, order(packs, rows.device))
