"""One prefix for the whole batch.

Every row of a batch starts with the same tokens: the system prompt and the picture. Run once, their keys and values
expanded over the rows, they give the same numbers and the same gradient as running them in every row, for a
fraction of the work. A second saving sits beside it: where the caller will only look at some positions (those with a
label), only their hidden states are returned, and the vocabulary projection runs there alone.

Both are done by standing in for the backbone's `forward` during one call, because everything that follows it (the
model's own head, TRL's fused one) then works as it is. `generate` gets the prefix as a cache that is already filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import DynamicCache
from transformers.utils import ModelOutput

Positions = tuple[torch.Tensor, torch.Tensor]


def shared_length(input_ids: torch.Tensor, attention_mask: torch.Tensor | None, wanted: Positions | None = None) -> int:
    """How many leading tokens all rows of `(batch, length)` share and may run once; 0 where it does not apply.

    Rows must start at their first token (right padding). `wanted` are the (row, column) positions the caller needs
    hidden states at: they stay out of the prefix, and every row keeps at least one token.
    """
    batch, length = input_ids.shape
    if batch < 2:
        return 0
    if attention_mask is not None and not bool(attention_mask[:, 0].all()):
        return 0
    same = (input_ids == input_ids[:1]).all(dim=0)
    if attention_mask is not None:
        same &= attention_mask.bool().all(dim=0)
    shared = int(same.long().cumprod(0).sum())
    if wanted is not None:
        shared = min(shared, int(wanted[1].min()))
    return min(shared, length - 1)


def left_aligned(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The rows of a left-padded `(batch, length)` moved to start at their first token, what is cut off put at the end.

    Returns ids, mask, and `(batch,)` by how much each row moved.
    """
    lead = attention_mask.long().argmax(dim=1)
    columns = (torch.arange(input_ids.shape[1], device=input_ids.device) + lead[:, None]) % input_ids.shape[1]
    return input_ids.gather(1, columns), attention_mask.gather(1, columns), lead


def prefix_first(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """A left-padded `(batch, length)` with its shared prefix before the padding: ids, mask, and the prefix's length."""
    aligned, mask, lead = left_aligned(input_ids, attention_mask)
    shared = shared_length(aligned, mask)
    if shared == 0:
        return input_ids, attention_mask, 0
    place = torch.arange(input_ids.shape[1], device=input_ids.device).expand(len(lead), -1)
    start = lead[:, None]
    # Where each column comes from: the prefix, then the padding that stood before it, then what it was.
    source = torch.where(place < shared, place + start, torch.where(place < shared + start, place - shared, place))
    return input_ids.gather(1, source), attention_mask.gather(1, source), shared


@contextmanager
def stand_in(backbone: Any, shared: int, wanted: Positions | None) -> Iterator[None]:
    """Within the block, `backbone(...)` runs the first `shared` tokens once and returns what is `wanted`.

    With `wanted` = (rows, columns), `last_hidden_state` is `(1, len(rows), hidden)`; otherwise it is the full
    `(batch, length, hidden)`. The backbone must be called with the tuner's arguments (see `ArtModel.forward`).
    """
    own, plain = vars(backbone).get("forward"), backbone.forward

    def forward(**kwargs: Any) -> ModelOutput:
        if shared == 0:
            output = plain(**kwargs)
            output.last_hidden_state = _pick(output.last_hidden_state, wanted, 0)
            return output
        return _shared_forward(backbone, plain, shared, wanted, kwargs)

    backbone.forward = forward
    try:
        yield
    finally:
        # An instance's own forward hides the class's: put back the one that stood there, or none.
        if own is None:
            del backbone.forward
        else:
            backbone.forward = own


def _shared_forward(
    backbone: Any, plain: Any, shared: int, wanted: Positions | None, kwargs: dict[str, Any]
) -> ModelOutput:
    input_ids = kwargs.pop("input_ids")
    attention_mask = kwargs.pop("attention_mask", None)
    features = kwargs.pop("mm_encoder_outputs")
    types, grid = kwargs.pop("mm_token_type_ids"), kwargs.pop("image_grid_thw")
    kwargs = {name: value for name, value in kwargs.items() if value is not None and name != "use_cache"}
    batch = input_ids.shape[0]
    positions, _ = backbone.get_rope_index(
        input_ids, mm_token_type_ids=types, image_grid_thw=grid, attention_mask=attention_mask
    )

    head, cache = run_prefix(
        plain, backbone.config, input_ids, positions, shared, mm_encoder_outputs=features, **kwargs
    )
    tail = plain(
        input_ids=input_ids[:, shared:],
        attention_mask=attention_mask,
        position_ids=positions[:, :, shared:],
        past_key_values=cache,
        use_cache=True,
        **kwargs,
    )
    hidden = tail.last_hidden_state
    if wanted is None:
        hidden = torch.cat([head.expand(batch, -1, -1), hidden], dim=1)
    tail.last_hidden_state = _pick(hidden, wanted, shared)
    tail.past_key_values = None
    return tail


def run_prefix(
    forward: Any, config: Any, input_ids: torch.Tensor, positions: torch.Tensor, shared: int, **kwargs: Any
) -> tuple[torch.Tensor, DynamicCache]:
    """Run the first `shared` tokens of `input_ids` `(batch, length)` once, through a backbone's `forward`.

    Returns their hidden states `(1, shared, hidden)` and a cache with their keys and values in every row.
    """
    cache = DynamicCache(config=config.get_text_config())
    head = forward(
        input_ids=input_ids[:1, :shared],
        position_ids=positions[:, :1, :shared],
        past_key_values=cache,
        use_cache=True,
        **kwargs,
    ).last_hidden_state
    for layer in cache.layers:
        layer.keys = layer.keys.expand(len(input_ids), -1, -1, -1)
        layer.values = layer.values.expand(len(input_ids), -1, -1, -1)
    return head, cache


def _pick(hidden: torch.Tensor, wanted: Positions | None, offset: int) -> torch.Tensor:
    if wanted is None:
        return hidden
    rows, columns = wanted
    return hidden[rows, columns - offset].unsqueeze(0)
