"""The alphabet in which the tower is to write: one vector of the language model's input space for every name.

A word's vector is its own token embedding, longer by a learned factor. Digits with a place, counts, ends and the other
names start as the embeddings of their words and are then learned through the frozen language model, without any
picture: this is cheap, and once it is done the tower can learn to see from names alone, with no language model in the
loop.
A picture token is the sum of the vectors of what it stands for.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from parts import names
from reader import Reader


class Codes(nn.Module):
    """The vectors `(names, width)`, relative to the mean token embedding."""

    def __init__(self, reader: Reader, seed: int = 0) -> None:
        super().__init__()
        self.slots = {slot: [f"{slot}:{name}" for name in found] for slot, found in names().items()}
        every = [name for slot in self.slots.values() for name in slot]
        self.index = {name: i for i, name in enumerate(every)}
        mean = reader.embeddings.float().mean(dim=0)
        start = torch.stack([self._spoken(reader, name) - mean for name in every])
        own = torch.tensor([slot in ("at", "long", "kind", "any") for slot, found in self.slots.items() for _ in found])
        # Places, lengths and kinds have no word in the picture: they start small, and apart from each other.
        random = torch.randn(start.shape, generator=torch.Generator().manual_seed(seed)).to(start)
        start[own] = 0.3 * start.norm(dim=1).mean() * F.normalize(random[own], dim=1)
        words = len(self.slots["word"])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("words", start[:words].clone(), persistent=False)
        self.learned = nn.Parameter(start[words:].clone())
        self.gain = nn.Parameter(torch.tensor(2.0))

    @staticmethod
    def _spoken(reader: Reader, name: str) -> torch.Tensor:
        said = name.partition(":")[2]
        text = said if not said.isalpha() else f" {said}"
        return reader.embeddings[reader.tokenizer(text, add_special_tokens=False)["input_ids"][0]].float()

    @property
    def table(self) -> torch.Tensor:
        """All vectors `(names, width)`."""
        return torch.cat([self.gain * self.words, self.learned])

    def slot(self, name: str) -> slice:
        """The rows of one kind of name."""
        first = self.index[self.slots[name][0]]
        return slice(first, first + len(self.slots[name]))

    def forward(self, meanings: list[list[list[str]]]) -> torch.Tensor:
        """Picture tokens `(pictures, tokens, width)` that stand for the given names."""
        flat = [[self.index[name] for name in token] for picture in meanings for token in picture]
        ids = torch.tensor([i for token in flat for i in token], device=self.mean.device)
        starts = torch.tensor([0, *(len(token) for token in flat[:-1])], device=self.mean.device).cumsum(0)
        summed = F.embedding_bag(ids, self.table, starts, mode="sum")
        return (self.mean + summed).view(len(meanings), -1, self.mean.shape[0])
