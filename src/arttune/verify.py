"""`arttune verify`: does a server do with the painting what the model here does?

The same problems are answered greedily by both. The server's log-probabilities of its own answers are then compared
with what the model here gives those answers, shown the painting, and shown what a meddling server would have made of
it: where such a copy explains the server better than the painting does, the picture was changed on its way.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from PIL import Image

from arttune.canvas import Painting
from arttune.evaluate import Score, evaluate, graded, scored
from arttune.loading import load
from arttune.models import Loaded
from arttune.prompts import with_picture
from arttune.rollouts.server import Asked, Reply, Sampling, Server
from arttune.tasks import Problem, Task
from arttune.tuner import art_layer, vision_tokens

COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG at quality 95": lambda picture: _jpeg(picture, 95),
    "JPEG at quality 75": lambda picture: _jpeg(picture, 75),
    "halved and enlarged again": lambda picture: _halved(picture),
    "a grey square": lambda picture: Image.new("RGB", picture.size, "#808080"),
}
PROBED = 8  # answers whose log-probabilities are compared
CLEARLY = 0.8  # a copy explains the server better if its gap is below this share of the painting's


@dataclass
class Verdict:
    """Both scores, how the answers agree, and the mean log-probability gap under the painting and each copy of it."""

    local: Score
    server: Score
    agreement: float
    gaps: dict[str, float]

    @property
    def changed(self) -> str | None:
        """Which copy the server seems to see instead of the painting, if any."""
        best = min(COPIES, key=lambda name: self.gaps[name])
        return best if self.gaps[best] < CLEARLY * self.gaps["the painting"] else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "scores": [self.local.as_dict(), self.server.as_dict()],
            "agreement": self.agreement,
            "logprob_gap": self.gaps,
            "picture_changed": self.changed,
        }


def verify(
    art: Path,
    url: str,
    loaded: Loaded,
    task: Task,
    problems: list[Problem],
    *,
    model_name: str,
    concurrency: int = 8,
    progress: Callable[[int], None] = lambda done: None,
) -> Verdict:
    """Answer `problems` through the server at `url` and here. Raises `BadInput` for a server that cannot be used."""
    server = Server(url)
    model = load(loaded.model, art)
    layer, tokenizer = art_layer(model), loaded.tokenizer
    tokens = layer.configs["default"].tokens
    uri = "data:image/png;base64," + base64.b64encode(art.read_bytes()).decode()
    sampling = Sampling(task.max_new_tokens, 0.0, forbidden=tuple(vision_tokens(model.config)))
    shown = [with_picture(p.prompt, tokens) for p in problems]
    ids = tokenizer.apply_chat_template(shown, add_generation_prompt=True, tokenize=True, return_dict=True)["input_ids"]
    pad = model.config.image_token_id
    asked = [Asked(p.prompt, uri, list(i), pad, 1, seed=0) for p, i in zip(problems, ids, strict=True)]
    begun = time.perf_counter()
    server.check(asked[0], sampling)
    with ThreadPoolExecutor(concurrency) as threads:
        replies = [found[0] for found in threads.map(lambda one: server.check(one, sampling), asked)]
    seconds = time.perf_counter() - begun
    progress(len(problems))
    local, here = evaluate(
        model,
        tokenizer,
        task,
        problems,
        split="test",
        model_name=model_name,
        adapter="art",
        seed=0,
        picture_tokens=tokens,
        progress=lambda done: progress(len(problems) + done),
    )
    there = [graded(task, p, reply.text.strip()) for p, reply in zip(problems, replies, strict=True)]
    read = sum(len(one.prompt_ids) for one in asked) + sum(len(reply.ids) for reply in replies)
    remote = scored(
        task,
        there,
        split="test",
        model_name=f"{model_name} at {server.url}",
        adapter="art",
        seed=0,
        seconds=seconds,
        tokens=read,
    )
    same = sum(a.completion == b.completion for a, b in zip(here, there, strict=True))
    return Verdict(local, remote, same / len(problems), _gaps(model, art, asked[:PROBED], replies[:PROBED]))


def _gaps(model: PeftModel, art: Path, asked: list[Asked], replies: list[Reply]) -> dict[str, float]:
    """Mean distance of the server's log-probabilities from those here, by what the model here is shown."""
    painting = Painting.load(art)
    picture = Image.fromarray(painting.pixels.permute(1, 2, 0).numpy())
    found = {"the painting": _gap(model, asked, replies)}
    for name, change in COPIES.items():
        copied = torch.tensor(list(change(picture).convert("RGB").tobytes()), dtype=torch.uint8)
        copied = copied.view(picture.height, picture.width, 3).permute(2, 0, 1)
        art_layer(model).show("default", Painting(copied))
        found[name] = _gap(model, asked, replies)
    art_layer(model).show("default", painting)
    return found


@torch.no_grad()
def _gap(model: PeftModel, asked: list[Asked], replies: list[Reply]) -> float:
    banned = vision_tokens(model.config)
    off, count = 0.0, 0
    for one, reply in zip(asked, replies, strict=True):
        ids = torch.tensor([one.prompt_ids + reply.ids], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, len(one.prompt_ids) - 1 : -1].float()
        logits[:, banned] = -torch.inf
        ours = logits.log_softmax(-1).gather(1, ids[0, len(one.prompt_ids) :, None])[:, 0]
        off += float((ours.cpu() - torch.tensor(reply.logprobs)).abs().sum())
        count += len(reply.ids)
    return off / count


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return Image.open(data)


def _halved(picture: Image.Image) -> Image.Image:
    small = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
    return small.resize(picture.size, Image.Resampling.BICUBIC)
