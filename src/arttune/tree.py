"""A batch runs as a tree: what rows have in common once, and then what is a row's own.

The prefix of all rows runs once, then each *stem* (what rows of one question share), then the rest of each row, every
pass on the states that the one before it left (`states.py`). The numbers and the gradient are those of running every
row whole, for a fraction of the work. Rows of like length run together, so that little of it goes into padding, and
where the caller will only look at some positions (those with a label), only their hidden states are returned and the
vocabulary projection runs there alone.

All this is done by standing in for the backbone's `forward` during one call, because everything that follows it (the
model's own head, TRL's fused one) then works as it is. `generate` gets a cache that is already filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import Cache
from transformers.utils import ModelOutput

from arttune import prefix
from arttune.prefix import even, moved, packed, stems
from arttune.states import Recurrent, branch, joined, root, stay

Positions = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """Rows of tokens that start at their first one, and a backbone's `forward` to run parts of them."""

    forward: Callable[..., ModelOutput]
    ids: torch.Tensor  # (batch, length)
    positions: torch.Tensor  # (3 or 4, batch, length)
    extra: dict[str, Any]  # what else `forward` is called with

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
        width = int((last - first)[rows].max())
        columns = first[rows, None] + torch.arange(width, device=self.ids.device)
        real = columns < last[rows, None]
        columns = columns.clamp(max=self.ids.shape[1] - 1)
        seen = torch.arange(cache.get_seq_length(), device=self.ids.device) < first[rows, None]
        return self.forward(
            input_ids=self.ids[rows].gather(1, columns),
            attention_mask=torch.cat([seen, real], dim=1).long(),
            position_ids=self.positions[:, rows].gather(2, columns.expand(len(self.positions), -1, -1)),
            past_key_values=cache,
            use_cache=False,
            **self.extra,
        )

    def grown(self, cache: Cache, rows: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> Cache:
        """Run columns `first` to before `last` of `rows` on the one row of `cache`, for what they leave."""
        lengths = (last - first)[rows].tolist()
        recurs = any(isinstance(layer, Recurrent) for layer in cache.layers)
        packs = even(lengths) if recurs else packed(lengths, self.overhead)
        caches = []
        for pack in packs:
            caches.append(branch(cache, torch.zeros(len(pack), dtype=torch.long, device=rows.device), keep=True))
            if max(lengths[i] for i in pack):
                self.limb(rows[pack], first, last, caches[-1])
            else:
                stay(caches[-1])
        return joined(caches, self.order(packs))

    def order(self, packs: list[list[int]]) -> torch.Tensor:
        """Where each row stands in `packs`, end to end."""
        return torch.tensor([row for pack in packs for row in pack], device=self.ids.device).argsort()

    @property
    def overhead(self) -> int:
        """What a pass of its own costs on this device, in tokens."""
        return prefix.OVERHEAD[self.ids.device.type]


@contextmanager
def stand_in(backbone: Any, shared: int, lead: torch.Tensor, wanted: Positions | None) -> Iterator[None]:
    """Within the block, `backbone(...)` runs the first `shared` tokens once and returns what is `wanted`.

    With `wanted` = (rows, columns), both of any one shape, `last_hidden_state` is `(*shape, hidden)`; otherwise it is
    the full `(batch, length, hidden)`, with each row moved back by its `lead` (see `left_aligned`). The backbone must
    be called with the tuner's arguments (see `ArtModel.forward`).
    """

    def forward(plain: Any, **kwargs: Any) -> ModelOutput:
        if shared:
            with _caches_checkpointed(backbone.language_model.layers):
                return _run(backbone, plain, shared, lead, wanted, kwargs)
        output = plain(**kwargs)
        if wanted is not None:
            output.last_hidden_state = output.last_hidden_state[wanted]
        return output

    with own_forward(backbone, forward):
        yield


@contextmanager
def _caches_checkpointed(layers: Any) -> Iterator[None]:
    """Within the block, layers that are checkpointed keep their cache: here running one twice does no harm."""
    for layer in layers:
        layer._can_checkpoint_with_cache = True
    try:
        yield
    finally:
        for layer in layers:
            del layer._can_checkpoint_with_cache


@contextmanager
def own_forward(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Within the block, `module(**kwargs)` is `forward(plain, **kwargs)`, `plain` being the module's forward."""
    own, plain = vars(module).get("forward"), module.forward
    module.forward = partial(forward, plain)
    try:
        yield
    finally:
        # An instance's own forward hides the class's: put back the one that stood there, or none.
        if own is None:
            del module.forward
        else:
            module.forward = own


def _run(
    backbone: Any,
    plain: Any,
    shared: int,
    lead: torch.Tensor,
    wanted: Positions | None,
    kwargs: dict[str, Any],
) -> ModelOutput:
    ids, mask = kwargs.pop("input_ids"), kwargs.pop("attention_mask")
    features = {"mm_encoder_outputs": kwargs.pop("mm_encoder_outputs")}
    places = {name: kwargs.pop(name) for name in ("mm_token_type_ids", "image_grid_thw")}
    extra = {name: value for name, value in kwargs.items() if value is not None and name != "use_cache"}
    positions, _ = backbone.get_rope_index(ids, attention_mask=mask, **places)
    batch = Batch(plain, ids, positions, extra)
    head, cache = batch.trunk(shared, backbone.config, **features)
    stem = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
    start = stem + shared
    if wanted is None:
        end = prefix.ends(mask)
    else:
        rows, columns = wanted[0].flatten(), wanted[1].flatten()
        end = (start + 1).scatter_reduce(0, rows, columns + 1, "amax")  # what comes later nobody looks at
        stop = (end - 1).scatter_reduce(0, rows, columns, "amin")
        alike, one_each = stems(ids, shared, stop)
        if 2 * len(one_each) <= len(ids) and bool((stop > shared).any()):
            cache = batch.grown(cache, one_each, start, stop)
            stem, start = alike, stop
    packs = packed((end - start).tolist(), batch.overhead)
    outputs = []
    for pack in packs:
        some = torch.tensor(pack, device=ids.device)
        outputs.append(batch.limb(some, start, end, branch(cache, stem[some])))
    output, hidden = outputs[0], [one.last_hidden_state for one in outputs]
    if wanted is None:
        output.last_hidden_state = moved(_whole(head, hidden, batch.order(packs), ids.shape[1]), -lead)
    else:
        found = _at(hidden, batch.order(packs), rows, columns - start[rows])
        output.last_hidden_state = found.unflatten(0, wanted[0].shape)
    output.past_key_values = None
    return output


def _whole(head: torch.Tensor, packs: list[torch.Tensor], order: torch.Tensor, length: int) -> torch.Tensor:
    """`(batch, length, hidden)`: the prefix and a row of the packs, zeros after it, for each of `order`."""
    room = length - head.shape[1]
    tails = torch.cat([pad(pack, (0, 0, 0, room - pack.shape[1])) for pack in packs])
    return torch.cat([head.expand(len(order), -1, -1), tails[order]], dim=1)


def _at(packs: list[torch.Tensor], order: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """`(len(rows), hidden)`: what stands in `columns` of `rows`, where row r is number `order[r]` of the packs'."""
    begins, end = [], 0  # of every row, in the packs laid flat and end to end
    for pack in packs:
        begins.append(end + pack.shape[1] * torch.arange(pack.shape[0], device=rows.device))
        end += pack.shape[0] * pack.shape[1]
    flat = torch.cat([pack.flatten(0, 1) for pack in packs])
    return flat[torch.cat(begins)[order][rows] + columns]
