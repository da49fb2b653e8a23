"""A batch runs as a tree: what rows have in common once, and then what is a row's own.

The prefix of all rows runs once, as does each *stem* (what rows of one question share), and then the rest of each row:
all in one pass (`flat.py`), or one after another (`passes.py`). The numbers and the gradient are those of running every
row whole, for a fraction of the work. Where the caller looks at some positions only (those with a label), only their
hidden states are returned, and the vocabulary projection runs there alone.

All this is done by standing in for the backbone's `forward` during one call, because everything that follows it (the
model's own head, TRL's fused one) then works as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.utils import ModelOutput

from arttune import flat, prefix
from arttune.passes import Batch
from arttune.prefix import Plan, moved

Positions = tuple[torch.Tensor, torch.Tensor]


@contextmanager
def stand_in(
    backbone: Any, wanted: Positions | None, plan: Plan | None = None, lead: torch.Tensor | None = None
) -> Iterator[None]:
    """Within the block, `backbone(...)` returns what is `wanted`, and with a `plan` runs what rows share once.

    With `wanted` = (rows, columns), both of any one shape, `last_hidden_state` is `(*shape, hidden)`; otherwise it is
    the full `(batch, length, hidden)`, with each row moved back by its `lead` (see `left_aligned`). With a plan the
    backbone must be called with the tuner's arguments (see `ArtModel.forward`).
    """

    def forward(plain: Any, **kwargs: Any) -> ModelOutput:
        if plan is not None and lead is not None:
            return _run(backbone, plain, plan, lead, wanted, kwargs)
        output = plain(**kwargs)
        if wanted is not None:
            hidden = output.last_hidden_state  # of a model spread over several devices that is the last one's
            output.last_hidden_state = hidden[tuple(one.to(hidden.device) for one in wanted)]
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
    backbone: Any, plain: Any, plan: Plan, lead: torch.Tensor, wanted: Positions | None, kwargs: dict[str, Any]
) -> ModelOutput:
    ids, mask, seen = (kwargs.pop(name) for name in ("input_ids", "attention_mask", "mm_encoder_outputs"))
    places = {name: kwargs.pop(name) for name in ("mm_token_type_ids", "image_grid_thw")}
    extra = {name: value for name, value in kwargs.items() if value is not None and name != "use_cache"}
    positions, _ = backbone.get_rope_index(ids, attention_mask=mask, **places)
    batch = Batch(plain, ids, positions, extra)
    if flat.fits(backbone.config):
        run = flat.run(batch, plan, backbone.dtype, seen["image"])
    else:
        with _caches_checkpointed(backbone.language_model.layers):
            run = batch.run(plan, backbone.config, seen["image"])
    order = prefix.order(run.packs, ids.device)
    if wanted is None:
        whole = _whole(run.trunk, run.limbs, order, ids.shape[1])
        run.output.last_hidden_state = moved(whole, -lead.to(whole.device))
    else:
        rows, columns = (one.flatten() for one in wanted)
        found = _at(run.limbs, order, rows, columns - plan.begin[rows])
        run.output.last_hidden_state = found.unflatten(0, wanted[0].shape)
    return run.output


def _whole(head: torch.Tensor, packs: list[torch.Tensor], order: torch.Tensor, length: int) -> torch.Tensor:
    """`(batch, length, hidden)`: the prefix and a row of the packs, zeros after it, for each of `order`."""
    room = length - head.shape[1]
    tails = torch.cat([pad(pack, (0, 0, 0, room - pack.shape[1])) for pack in packs])
    return torch.cat([head.expand(len(order), -1, -1), tails[order.to(tails.device)]], dim=1)


def _at(packs: list[torch.Tensor], order: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """`(len(rows), hidden)`: what stands in `columns` of `rows`, where row r is number `order[r]` of the packs'."""
    begins, end = [], 0  # of every row, in the packs laid flat and end to end
    for pack in packs:
        begins.append(end + pack.shape[1] * torch.arange(pack.shape[0], device=rows.device))
        end += pack.shape[0] * pack.shape[1]
    flat = torch.cat([pack.flatten(0, 1) for pack in packs])
    return flat[(torch.cat(begins)[order][rows] + columns).to(flat.device)]
