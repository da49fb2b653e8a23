"""One token after another on a GPU, with nothing in its way.

`generate` makes a pass for every token. With a small model the GPU is done with it in a few milliseconds, but Python
takes tens of them to launch its hundreds of kernels one by one. So a GPU gets a cache of fixed size; the first pass of
one token is recorded as a CUDA graph, and every later one replays it: the same kernels, launched all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel, StaticCache
from transformers.utils import ModelOutput

from arttune.states import Attention, kinds
from arttune.tree import own_forward

ALIGNED = 64  # attention kernels copy a mask whose rows do not start at such multiples
GROUPED = "arttune_grouped"  # the name by which transformers knows `grouped`


def replays(text_model: PreTrainedModel) -> bool:
    """Whether its passes can be recorded: on a GPU of NVIDIA's, with torch's own attention in every layer."""
    here = text_model.device.type == "cuda" and text_model.config._attn_implementation == "sdpa"
    return here and set(kinds(text_model.config)) == {Attention}


def fixed(text_config: Any, columns: int) -> StaticCache:
    """An empty cache with room for at least `columns` tokens a row."""
    return StaticCache(config=text_config, max_cache_len=-(-columns // ALIGNED) * ALIGNED)


@contextmanager
def replayed(text_model: Any) -> Iterator[None]:
    """Within the block, `text_model(...)` of one token a row, after a cache of fixed size, is recorded and replayed.

    For one `generate`: the shapes and the cache of such calls must stay the same.
    """
    recording: Recording | None = None

    def forward(plain: Any, **kwargs: Any) -> ModelOutput:
        nonlocal recording
        if kwargs["inputs_embeds"].shape[1] != 1:
            return plain(**kwargs)
        if recording is None:
            recording = Recording(plain, kwargs, text_model.config)
        return recording(kwargs)

    with own_forward(text_model, forward):
        yield


def grouped(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one token a row, as transformers calls it: from `(batch, heads, 1, width)`.

    The result is `(batch, 1, heads, width)`.

    The heads that share keys and values take the place of tokens. With a mask, transformers copies keys and values for
    each of them otherwise, every time, and most of a pass is spent on that.
    """
    heads = query.view(len(query), key.shape[1], -1, query.shape[-1])
    out = scaled_dot_product_attention(heads, key, value, attn_mask=attention_mask, scale=scaling)
    return out.reshape(len(query), 1, query.shape[1], -1), None


AttentionInterface.register(GROUPED, grouped)


@contextmanager
def with_attention(config: Any, name: str) -> Iterator[None]:
    """Within the block, the model of `config` uses the attention that transformers knows as `name`."""
    usual, config._attn_implementation = config._attn_implementation, name
    try:
        yield
    finally:
        config._attn_implementation = usual


class Recording:
    """A CUDA graph of `forward(**given)`, with one token a row. Called with other values, it runs on these."""

    def __init__(self, forward: Any, given: dict[str, Any], config: Any) -> None:
        self.given = _cloned(given)
        self.graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream()
        with with_attention(config, GROUPED):
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):  # libraries set themselves up in their first calls: not to be recorded
                forward(**self.given)
            torch.cuda.current_stream().wait_stream(aside)
            for layer in given["past_key_values"].layers:
                layer.cumulative_length.sub_(1)  # the same token will be written once more, to the same place
            with torch.cuda.graph(self.graph):  # runs nothing
                self.output = forward(**self.given)

    def __call__(self, given: dict[str, Any]) -> ModelOutput:
        """The output, which the next call overwrites."""
        for held, new in zip(_tensors(self.given), _tensors(given), strict=True):
            held.copy_(new)
        self.graph.replay()
        return self.output


def _tensors(given: dict[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors in `given`, also those in dicts in it, as masks by kind of attention are."""
    for value in given.values():
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors(value)


def _cloned(given: dict[str, Any]) -> dict[str, Any]:
    """`given` with copies of its tensors; what else is in it (the cache) is the same."""

    def cloned(value: Any) -> Any:
        return (
            value.clone() if isinstance(value, torch.Tensor) else _cloned(value) if isinstance(value, dict) else value
        )

    return {name: cloned(value) for name, value in given.items()}
