"""What a comparison was begun with, so that it does not go on with anything else: its problems, model and artwork.

A folder's name stays the same when what is in it is made anew. So fingerprints of what the cells really had are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import torch

from arttune.errors import BadInput
from arttune.models import Loaded
from arttune.prompts import tokens
from arttune.records import write_whole
from arttune.tasks import Problem

ORIGIN = "origin.json"


def hold_to(out: Path, found: dict[str, str]) -> None:
    """Keep the fingerprints `found` in `out`, where there are none. Raises `BadInput` where there are others."""
    path = out / ORIGIN
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else found
    other = [name for name, mark in found.items() if kept.get(name) != mark]
    if other:
        raise BadInput(f"{' and '.join(other)} changed since {out} was begun; choose another folder")
    write_whole(path, json.dumps(found, indent=1) + "\n")


def fingerprints(loaded: Loaded, problems: Iterable[Problem], artwork: str | None) -> dict[str, str]:
    """Of the weights, of the problems as the model reads them, and of the artwork's file, each by its name."""
    found = {"model": _of_weights(loaded.model), "problems": _of_problems(loaded, list(problems))}
    return found | ({"artwork": _short(Path(artwork).read_bytes())} if artwork else {})


def _short(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _of_weights(model: torch.nn.Module) -> str:
    """One weight after the other, so that no more than one is copied from a GPU; tied ones count once."""

    def bits(weight: torch.Tensor) -> memoryview:
        return weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data

    return _short(json.dumps([(name, _short(bits(one))) for name, one in model.named_parameters()]).encode())


def _of_problems(loaded: Loaded, problems: list[Problem]) -> str:
    """Tokens, so that another tokenizer or chat template is seen too."""
    read = tokens(problems, loaded.tokenizer)
    whole = [[ids, one.completion, one.answer, one.columns] for ids, one in zip(read, problems, strict=True)]
    return _short(json.dumps(whole, default=str).encode())
