"""What a pass leaves for the passes that go on from it: a cache that branches, with gradients.

transformers' caches are written in place. Autograd does not forgive that where a state is read and then overwritten
(the recurrent ones of linear attention), nor does checkpointing, which runs a layer a second time. Here what stood
before a pass and what stands after it are two things: a pass reads the one and leaves the other, however often it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer

States = tuple[torch.Tensor, ...]


class Attention(DynamicLayer):
    """One attention layer: keys and values `(rows, heads, tokens, width)` before and, if they are kept, after."""

    def __init__(self, before: States = (), keep: bool = True) -> None:
        super().__init__()
        self.before, self.keep = before, keep
        self.after: States = ()
        if before:
            self.lazy_initialization(*before)
            self.keys, self.values = before  # where transformers looks for their number

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """What stood there, with `keys` and `values` behind it."""
        if self.before:
            keys, values = torch.cat([self.before[0], keys], dim=-2), torch.cat([self.before[1], values], dim=-2)
        if self.keep and not self.after:
            self.after = keys, values
        return keys, values

    @staticmethod
    def joined(parts: Sequence[States]) -> States:
        """The rows of all `parts`, those with fewer tokens filled up at the end."""
        most = max(part[0].shape[-2] for part in parts)
        wide = [[pad(one, (0, 0, 0, most - one.shape[-2])) for one in part] for part in parts]
        return tuple(torch.cat(same) for same in zip(*wide, strict=True))


class Recurrent(LinearAttentionLayer):
    """One layer of linear attention: its convolution's last inputs `(rows, channels, kernel)` and its state."""

    def __init__(self, before: States = (), keep: bool = True) -> None:
        super().__init__()
        self.before, self.keep = before, keep
        self.after: States = ()
        self.inputs: States = ()
        self.record_past = True  # else a single token would be written in place
        if before:
            self.conv_states[0], self.recurrent_states[0] = before
            self.has_previous_state[0] = True

    def update_conv_state(
        self, conv_states: torch.Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **_: Any
    ) -> torch.Tensor:
        """What a convolution over the inputs `conv_states` `(rows, channels, tokens)` sees."""
        full = torch.cat([self.before[0], conv_states], dim=-1) if self.before else conv_states
        if self.keep and not self.after:
            assert conv_kernel_size is not None
            last = full[..., -conv_kernel_size:]
            self.inputs = (pad(last, (conv_kernel_size - last.shape[-1], 0)),)
        return full

    def update_recurrent_state(self, recurrent_states: torch.Tensor, state_idx: int = 0, **_: Any) -> torch.Tensor:
        """Takes the state after the last token."""
        if self.keep and not self.after:
            self.after = (*self.inputs, recurrent_states)
        return recurrent_states

    @staticmethod
    def joined(parts: Sequence[States]) -> States:
        """The rows of all `parts`."""
        return tuple(torch.cat(same) for same in zip(*parts, strict=True))


KINDS: dict[type, type[Attention | Recurrent]] = {DynamicLayer: Attention, LinearAttentionLayer: Recurrent}


def kinds(config: Any) -> list[type[Attention | Recurrent]]:
    """Of a model's layers, in order; empty where one is of a kind that is not known here (a sliding window's, say)."""
    found = [KINDS.get(type(layer)) for layer in DynamicCache(config=config.get_text_config()).layers]
    return [kind for kind in found if kind] if all(found) else []


def root(config: Any) -> Cache:
    """An empty cache, for a first pass whose states are kept."""
    return Cache(layers=[kind() for kind in kinds(config)])


def branch(cache: Cache, rows: torch.Tensor, keep: bool = False) -> Cache:
    """A cache for a pass over `rows` of what the last one left in `cache`. Of a single row no copy is taken."""
    return Cache(layers=[type(layer)(taken(layer.after, rows), keep) for layer in cache.layers])


def stay(cache: Cache) -> None:
    """What stood before stands after: a pass of no tokens."""
    for layer in cache.layers:
        layer.after = layer.before


def joined(caches: Sequence[Cache], order: torch.Tensor) -> Cache:
    """What the last passes left in `caches`, in one: its row i is number `order[i]` of theirs, end to end."""
    made = Cache(layers=[type(layer)() for layer in caches[0].layers])
    for layer, *parts in zip(made.layers, *(cache.layers for cache in caches), strict=True):
        layer.after = taken(layer.joined([part.after for part in parts]), order)
    return made


def written(cache: Cache, rows: torch.Tensor, into: Cache) -> Cache:
    """`rows` of what the last pass left in `cache`, copied into an empty cache of transformers' own, for `generate`."""
    for layer, held in zip(into.layers, cache.layers, strict=True):
        states = taken(held.after, rows)
        if isinstance(held, Recurrent):
            layer.update_conv_state(states[0])
            layer.update_recurrent_state(states[1])
        else:
            layer.update(*states)
    return into


def taken(states: States, rows: torch.Tensor) -> States:
    """`rows` of each of `states`."""
    count = len(rows)  # a model may be spread over several devices
    return tuple(one.expand(count, *one.shape[1:]) if len(one) == 1 else one[rows.to(one.device)] for one in states)
