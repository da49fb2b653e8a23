"""The frozen language model as a reader of picture tokens: what the tower's training asks of it.

The system prompt before the picture never changes, so its keys and values are computed once. Several questions about
one picture share the picture's tokens: they stand in one row, each blind to the others, at the positions they would
have alone.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import DynamicCache
from transformers.vision_utils import get_vision_window_index

from arttune.models import load_model
from arttune.models.graft import FAMILY, read_tower
from arttune.prompts import END, START, placeholder


@dataclass
class Turn:
    """One question and its answer as tokens; `asked` of them are the question, the rest are to be predicted."""

    ids: list[int]
    asked: int


@dataclass
class Read:
    """Hidden states `(n, width)` from which the tokens `wanted` `(n,)` are predicted, with their row and turn."""

    hidden: torch.Tensor
    wanted: torch.Tensor
    row: torch.Tensor
    turn: torch.Tensor


class Reader:
    """A model of the graft family, frozen, with its tower set free.

    With `dtype` bfloat16 the language model is kept and the tower computed in it; the tower's weights stay float32.
    """

    def __init__(self, name: str | Path, tower: Path | None = None, dtype: torch.dtype = torch.float32) -> None:
        loaded = load_model(str(name), "float32")
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.text: Any = self.model.model.language_model
        self.tower: Any = self.model.model.visual
        self.device = self.model.device
        if tower is not None:
            shape, weights = read_tower(tower)
            self.build(shape)
            self.tower.load_state_dict(weights)
        self.dtype = dtype
        self.text.to(dtype)
        self.model.lm_head.to(dtype)
        self.embeddings = self.model.get_input_embeddings().weight.detach()
        self.start, self.end = (self.tokenizer.convert_tokens_to_ids(token) for token in (START, END))
        mark = "QUESTION"
        turn = [{"role": "user", "content": placeholder(1) + mark}]
        whole = str(self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
        before, after = whole.split(placeholder(1) + mark)
        self._after = after
        prefix = torch.tensor([self._ids(before)], device=self.device)
        self.offset = prefix.shape[1]
        with torch.no_grad():
            self._prefix = self.text(input_ids=prefix, use_cache=True).past_key_values

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def build(self, shape: dict[str, Any], seed: int = 0) -> None:
        """Give the model an untrained tower of `shape`, as its seed makes it."""
        config = copy(self.tower.config)
        for name, value in shape.items():
            setattr(config, name, value)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tower = type(self.tower)(config)
        self.model.model.visual = self.tower.to(self.device)

    def fold_patches(self) -> None:
        """Make the tower's first layer, a convolution that steps by its own width, the matrix product it is.

        On two cores the gradient of the convolution takes as long as the rest of a step.
        """
        embedding = self.tower.patch_embed

        def forward(patches: torch.Tensor) -> torch.Tensor:
            return F.linear(patches, embedding.proj.weight.flatten(1))

        embedding.forward = forward

    def turn(self, question: str, answer: str, limit: int | None = None) -> Turn:
        """A user's question and the reply `answer` with its end mark, cut after `limit` tokens."""
        asked = self._ids(question + self._after)
        ids = asked + self._ids(answer) + [self.tokenizer.eos_token_id]
        return Turn(ids[:limit], min(len(asked), len(ids[:limit])))

    def _tower(self, pictures: list[torch.Tensor]) -> tuple[Any, torch.Tensor]:
        """The tower's output for pictures `(3, H, W)` of one size, and the grid it was run with."""
        _, height, width = pictures[0].shape
        patches = torch.cat([FAMILY.patches(picture) for picture in pictures]).to(self.device)
        grid = torch.tensor([FAMILY.grid((height, width))] * len(pictures), device=self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.tower(patches, grid), grid

    def see(self, pictures: list[torch.Tensor]) -> torch.Tensor:
        """The tower's tokens `(pictures, tokens, width)` of pictures `(3, H, W)` of one size, row by row."""
        return self._tower(pictures)[0].pooler_output.float().unflatten(0, (len(pictures), -1))

    def patches(self, pictures: list[torch.Tensor]) -> torch.Tensor:
        """What the tower's last block says of every patch `(patches, tower width)`, in the order it works in."""
        return self._tower(pictures)[0].last_hidden_state.float()

    def look(self, pictures: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """What `see` gives, and what the last block knew under each token `(pictures, tokens, tower width)`."""
        seen, grid = self._tower(pictures)
        windows, _ = get_vision_window_index(grid, FAMILY.merge, self.tower.config.window_size, FAMILY.patch)
        below = seen.last_hidden_state.float().view(len(windows), FAMILY.merge**2, -1).mean(dim=1)
        below = below[windows.argsort().to(self.device)]
        return seen.pooler_output.float().unflatten(0, (len(pictures), -1)), below.unflatten(0, (len(pictures), -1))

    def read(self, tokens: torch.Tensor | None, turns: list[list[Turn]], everywhere: bool = False) -> Read:
        """Let the language model read `tokens` `(rows, n * n, width)`, or no picture, and then each row's turns.

        Wanted are the answers' tokens, or with `everywhere` the successor of every token of question and answer.
        """
        rows, longest = len(turns), max(sum(len(turn.ids) for turn in row) for row in turns)
        head = 0 if tokens is None else tokens.shape[1] + 2
        side = 0 if tokens is None else round(tokens.shape[1] ** 0.5)
        ids = torch.zeros(rows, longest, dtype=torch.long)
        part = torch.full((rows, longest), -1)
        place = torch.zeros(rows, longest, dtype=torch.long)
        found: list[tuple[int, int, int, int]] = []  # row, column, wanted token, turn
        for i, row in enumerate(turns):
            at = 0
            for k, turn in enumerate(row):
                stop = at + len(turn.ids)
                ids[i, at:stop] = torch.tensor(turn.ids)
                part[i, at:stop] = k
                place[i, at:stop] = torch.arange(len(turn.ids))
                first = 1 if everywhere else turn.asked
                found += [(i, at + j - 1, turn.ids[j], k) for j in range(first, len(turn.ids))]
                at = stop
        embedded = F.embedding(ids.to(self.device), self.embeddings)
        positions = (self.offset + place + (0 if tokens is None else side + 2)).expand(3, -1, -1)
        if tokens is not None:
            marks = [self.embeddings[mark].expand(rows, 1, -1) for mark in (self.start, self.end)]
            embedded = torch.cat([marks[0], tokens.to(embedded.dtype), marks[1], embedded], dim=1)
            positions = torch.cat([self._grid(side).unsqueeze(1).expand(-1, rows, -1), positions], dim=2)
        out = self.text(
            inputs_embeds=embedded,
            position_ids=positions.to(self.device),
            attention_mask=self._mask(part, head),
            past_key_values=self._cache(rows),
            use_cache=True,
        ).last_hidden_state[:, head:]
        row, column, wanted, turn = torch.tensor(found, device=self.device).unbind(1)
        return Read(out[row, column], wanted, row, turn)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Next-token logits `(n, vocabulary)` in float32."""
        return self.model.lm_head(hidden).float()

    def _grid(self, side: int) -> torch.Tensor:
        """Positions `(3, side * side + 2)` of start mark, picture and end mark, as `get_rope_index` lays them out."""
        line = torch.arange(side)
        zero = torch.zeros(side * side, dtype=torch.long)
        inner = torch.stack([zero, line.repeat_interleave(side), line.repeat(side)]) + 1
        ends = torch.tensor([[0], [side + 1]])
        return self.offset + torch.cat([ends[0].expand(3, 1), inner, ends[1].expand(3, 1)], dim=1)

    def _mask(self, part: torch.Tensor, head: int) -> torch.Tensor:
        """What each position sees `(rows, 1, length, offset + length)`: what is before it, of its own turn."""
        rows, longest = part.shape
        length = head + longest
        whose = torch.cat([torch.full((rows, head), -2), part], dim=1)
        same = (whose[:, :, None] == whose[:, None, :]) | (whose == -2)[:, None, :]
        seen = same & torch.ones(length, length, dtype=torch.bool).tril()
        seen = torch.cat([torch.ones(rows, length, self.offset, dtype=torch.bool), seen], dim=2)
        lowest = torch.finfo(self.dtype).min
        return torch.where(seen, 0.0, lowest)[:, None].to(self.device, self.dtype)

    def _cache(self, rows: int) -> DynamicCache:
        cache = DynamicCache()
        for i, layer in enumerate(self._prefix.layers):
            cache.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), i)
        return cache
