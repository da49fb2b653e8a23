"""What rows have in common runs once.

Every row of a batch starts with the same tokens: the system prompt and the picture. Some rows go on alike for longer:
the completions that reinforcement samples for one question, the two answers of a preference. So a batch runs as a
tree: the prefix of all rows once, then each *stem* (what rows of one question share) once, then what is a row's own,
each on the keys and values of what came before it. The numbers and the gradient are those of running every row whole,
for a fraction of the work. Rows of like length run together, so little of it goes into padding, and where the caller
will only look at some positions (those with a label), only their hidden states are returned and the vocabulary
projection runs there alone.

All this is done by standing in for the backbone's `forward` during one call, because everything that follows it (the
model's own head, TRL's fused one) then works as it is. `generate` gets the prefix as a cache that is already filled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.utils import ModelOutput

Positions = tuple[torch.Tensor, torch.Tensor]

# Tokens that take as long as a pass of its own does, beside the time of its tokens. On two cores 32 to 256 were alike
# (`smol`, 64 completions); elsewhere it is a guess.
OVERHEAD = defaultdict(lambda: 4096, cpu=64)


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

    def forward(plain: Any, **kwargs: Any) -> ModelOutput:
        if shared == 0:
            output = plain(**kwargs)
            if wanted is not None:
                output.last_hidden_state = output.last_hidden_state[wanted].unsqueeze(0)
            return output
        return _shared_forward(backbone, plain, shared, wanted, kwargs)

    with own_forward(backbone, forward):
        yield


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


def _shared_forward(
    backbone: Any, plain: Any, shared: int, wanted: Positions | None, kwargs: dict[str, Any]
) -> ModelOutput:
    ids = kwargs.pop("input_ids")
    mask = kwargs.pop("attention_mask", None)
    mask = torch.ones_like(ids) if mask is None else mask
    features = kwargs.pop("mm_encoder_outputs")
    types, grid = kwargs.pop("mm_token_type_ids"), kwargs.pop("image_grid_thw")
    kwargs = {name: value for name, value in kwargs.items() if value is not None and name != "use_cache"}
    positions, _ = backbone.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=grid, attention_mask=mask)
    head, cache = run_prefix(plain, backbone.config, ids, positions, shared, mm_encoder_outputs=features, **kwargs)

    def run(rows: torch.Tensor, first: torch.Tensor, last: torch.Tensor, seen: torch.Tensor, cache: Any) -> ModelOutput:
        """Columns `first` to before `last` of `rows`, after the columns of `cache` that the mask `seen` shows."""
        width = int((last - first).max())
        columns = first[:, None] + torch.arange(width, device=ids.device)
        real = columns < last[:, None]
        columns = columns.clamp(max=ids.shape[1] - 1)
        return plain(
            input_ids=ids[rows].gather(1, columns),
            attention_mask=torch.cat([seen, real.to(seen.dtype)], dim=1),
            position_ids=positions[:, rows].gather(2, columns.expand(len(positions), -1, -1)),
            past_key_values=cache,
            use_cache=True,
            **kwargs,
        )

    stem = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
    seen, start = mask[:1, :shared], stem + shared
    if wanted is None:
        ends, alike = _ends(mask), None
    else:
        ends = (start + 1).scatter_reduce(0, wanted[0], wanted[1] + 1, "amax")  # what comes later nobody looks at
        alike = _stems(ids, shared, ends, wanted)
    if alike is not None:
        stem, one_each, stop = alike
        seen = seen.expand(len(one_each), -1)
        cache = rows_of(cache, torch.zeros_like(one_each))
        run(one_each, start[one_each], stop[one_each], seen, cache)
        width = cache.get_seq_length() - shared
        inside = torch.arange(width, device=ids.device) < (stop[one_each] - shared)[:, None]
        seen, start = torch.cat([seen, inside.to(seen.dtype)], dim=1), stop
    packs = packed((ends - start).tolist(), OVERHEAD[ids.device.type])
    tails = []
    for pack in packs:
        rows = torch.tensor(pack, device=ids.device)
        tails.append(run(rows, start[rows], ends[rows], seen[stem[rows]], rows_of(cache, stem[rows])))
    output, hidden = tails[0], [tail.last_hidden_state for tail in tails]
    order = torch.tensor([row for pack in packs for row in pack], device=ids.device).argsort()
    if wanted is None:
        output.last_hidden_state = _whole(head, hidden, order, ids.shape[1])
    else:
        output.last_hidden_state = _at(hidden, order, wanted[0], wanted[1] - start[wanted[0]])
    output.past_key_values = None
    return output


def _whole(head: torch.Tensor, packs: list[torch.Tensor], order: torch.Tensor, length: int) -> torch.Tensor:
    """`(batch, length, hidden)`: the prefix and a row of the packs, zeros after it, for each of `order`."""
    room = length - head.shape[1]
    tails = torch.cat([pad(pack, (0, 0, 0, room - pack.shape[1])) for pack in packs])
    return torch.cat([head.expand(len(order), -1, -1), tails[order]], dim=1)


def _at(packs: list[torch.Tensor], order: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """`(1, len(rows), hidden)`: what stands in `columns` of `rows`, where row r is number `order[r]` of the packs'."""
    begins, end = [], 0  # of every row, in the packs laid flat and end to end
    for pack in packs:
        begins.append(end + pack.shape[1] * torch.arange(pack.shape[0], device=rows.device))
        end += pack.shape[0] * pack.shape[1]
    flat = torch.cat([pack.flatten(0, 1) for pack in packs])
    return flat[torch.cat(begins)[order][rows] + columns].unsqueeze(0)


def _ends(mask: torch.Tensor) -> torch.Tensor:
    """`(batch,)`: the column after the last real token of each row, which starts at its first column."""
    columns = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (mask.bool() * columns).max(dim=1).values


def _stems(
    ids: torch.Tensor, shared: int, ends: torch.Tensor, wanted: Positions
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """Which rows go on alike after the `shared` tokens, up to the first position that is wanted.

    The number of each row's stem `(batch,)`, a row of each stem `(stems,)`, and the column after it of each row
    `(batch,)`; None where stems would save little.
    """
    rows, columns = wanted
    stop = (ends - 1).scatter_reduce(0, rows, columns, "amin")
    numbers: dict[tuple[int, ...], int] = {}
    stem = [
        numbers.setdefault(tuple(row[shared:end]), len(numbers))
        for row, end in zip(ids.tolist(), stop.tolist(), strict=True)
    ]
    if 2 * len(numbers) > len(ids) or not any(numbers):
        return None
    one_each = [stem.index(number) for number in range(len(numbers))]
    return torch.tensor(stem, device=ids.device), torch.tensor(one_each, device=ids.device), stop


def packed(lengths: list[int], overhead: int) -> list[list[int]]:
    """Rows in packs to run together: those of like length, for the least tokens with padding.

    A pass of its own costs as much as `overhead` tokens. Dynamic programming over the rows in order of their length.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    least, cut = [0], []
    for end in range(1, len(order) + 1):
        width = lengths[order[end - 1]]
        cost, begin = min((least[begin] + (end - begin) * width + overhead, begin) for begin in range(end))
        least.append(cost)
        cut.append(begin)
    packs, end = [], len(order)
    while end:
        packs.append(order[cut[end - 1] : end])
        end = cut[end - 1]
    return packs


def rows_of(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """A cache of its own with `rows` of what is in `cache`; of a single row it takes no copy."""
    own = copy(cache)
    own.layers = [copy(layer) for layer in cache.layers]
    for layer in own.layers:
        for name in ("keys", "values"):
            held = getattr(layer, name)
            setattr(layer, name, held.expand(len(rows), -1, -1, -1) if len(held) == 1 else held[rows])
    return own


def run_prefix(
    forward: Any, config: Any, input_ids: torch.Tensor, positions: torch.Tensor, shared: int, **kwargs: Any
) -> tuple[torch.Tensor, DynamicCache]:
    """Run the first `shared` tokens of `input_ids` `(batch, length)` once, through a backbone's `forward`.

    Returns their hidden states `(1, shared, hidden)` and a cache of one row with their keys and values.
    """
    cache = DynamicCache(config=config.get_text_config())
    head = forward(
        input_ids=input_ids[:1, :shared],
        position_ids=positions[:, :1, :shared],
        past_key_values=cache,
        use_cache=True,
        **kwargs,
    ).last_hidden_state
    return head, cache
