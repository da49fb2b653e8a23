"""Tokens a checkpoint has but never learned, where answers need them.

A tokenizer may hold tokens that no text ever had, as Qwen2.5-Coder-0.5B's does for the marks around tool calls. Their
rows in the output layer are nearly alike, so whatever an adapter does before that layer, they share their probability
alike, and none is written rather than the others. Nothing else in a training says so.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn.functional import cosine_similarity

from arttune.models.catalogue import Loaded

ALIKE = 0.999  # cosine of two rows; in Qwen2.5-Coder-0.5B 2,248 rows are nearer to each other, trained ones are not


def untrained(loaded: Loaded, answers: Iterable[str | None]) -> list[str]:
    """A line to read for each added token of the tokenizer that `answers` hold and that shares its output row."""
    text = "\n".join({one for one in answers if one})
    head = loaded.model.get_output_embeddings().weight
    lines = []
    for token, number in loaded.tokenizer.get_added_vocab().items():
        if token not in text:
            continue
        others = _alike(head, number)
        if others:
            lines.append(
                f"the model can hardly write {token}, which the supervised answers hold: its output row is that of "
                f"{others:,} other token{'s' if others > 1 else ''}, so it was never trained. Use other marks, or take "
                "it out of added_tokens in the tokenizer.json, here and where it is served, to have it read as text"
            )
    return lines


@torch.no_grad()
def _alike(head: torch.Tensor, number: int) -> int:
    """Rows of `head` `[vocabulary, width]` that are like row `number`, not counting itself."""
    row = head[number].float()
    parts = head.split(8192)  # float32 of it all would take twice the head's memory
    return sum(int((cosine_similarity(part.float(), row, dim=-1) > ALIKE).sum()) for part in parts) - 1
