"""A tree in one pass: its parts lie side by side in a single row of tokens, and only attention tells them apart.

A trunk of a few dozen tokens does not fill a processor, so a pass of its own takes far longer than its tokens would;
here it runs along with the rest. It takes a model that is all attention, and our own (`attention.py`), which knows what
each part sees.
"""

from __future__ import annotations

from typing import Any

import torch

from arttune.attention import PLAIN, Part
from arttune.passes import Batch, repeated
from arttune.prefix import Plan, Run, order, packed
from arttune.states import Attention, kinds

OVERHEAD = 16  # tokens that take as long as attention apart does for another part (8 and 32 are alike)


def fits(config: Any) -> bool:
    """Whether a model can run so."""
    return config.get_text_config()._attn_implementation == PLAIN and set(kinds(config)) == {Attention}


def run(batch: Batch, plan: Plan, dtype: torch.dtype, seen: Any) -> Run:
    """What `Batch.run` gives. Scores are of `dtype`."""
    device = batch.ids.device
    root, begin = plan.begin[:1] * 0, torch.full_like(plan.begin, plan.shared)
    tree: list[Part] = []
    keys: list[int] = []  # of each part, how many there are to a row
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def grow(
        rows: torch.Tensor, first: torch.Tensor, last: torch.Tensor, on: tuple[int, ...], to: torch.Tensor
    ) -> None:
        columns = batch.columns(rows, first, last)
        before = max((keys[number] for number in on), default=0)
        known = torch.arange(before, device=device) < first[rows, None]
        width = columns.shape[1]
        tree.append(Part(len(rows), width, on, to, _mask(known, width, dtype)))
        keys.append(before + width)
        found.append(batch.at(rows, columns))

    grow(root, begin - plan.shared, begin, (), root)
    stems = packed((plan.begin - plan.shared)[plan.heads].tolist(), OVERHEAD)
    for pack in stems:
        grow(plan.heads[pack], begin, plan.begin, (0,), root.expand(len(pack)))
    on = tuple(range(1, len(tree))) or (0,)
    stem = order(stems, device)[plan.stem] if stems else plan.stem
    packs = packed((plan.end - plan.begin).tolist(), OVERHEAD)
    for pack in packs:
        grow(torch.tensor(pack, device=device), plan.begin, plan.end, on, stem[pack])

    output = batch.forward(
        input_ids=torch.cat([ids.flatten() for ids, _ in found])[None],
        position_ids=torch.cat([positions.flatten(1) for _, positions in found], dim=1)[:, None],
        attention_mask=torch.empty(1, 1, 0, 0, device=device),  # transformers takes four dimensions for a ready one
        tree=tree,
        use_cache=False,
        **repeated(seen, 1 if plan.pictured else len(plan.heads)),
        **batch.extra,
    )
    hidden = output.last_hidden_state[0].split([part.rows * part.width for part in tree])
    parts = [some.unflatten(0, (part.rows, part.width)) for some, part in zip(hidden, tree, strict=True)]
    return Run(output, parts[0], parts[-len(packs) :], packs)


def _mask(known: torch.Tensor, width: int, dtype: torch.dtype) -> torch.Tensor:
    """What is added to the scores of rows of `width` tokens, which see `known` `(rows, before)` and their own past.

    Where all rows see all that is before them, only their own keys have a mask.
    """
    if bool(known.all()):
        known = known[:1, :0]
    past = torch.ones(width, width, dtype=torch.bool, device=known.device).tril()
    sees = torch.cat([known[:, None].expand(-1, width, -1), past.expand(len(known), -1, -1)], dim=2)
    return torch.zeros_like(sees, dtype=dtype).masked_fill_(~sees, torch.finfo(dtype).min)[:, None]
