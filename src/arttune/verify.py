"""`arttune verify`: does a server do with the painting what the model here does?

The same problems are answered greedily by both. The server's log-probabilities of its own answers are then compared
with what the model here gives those answers, shown the painting, and shown what a meddling server would have made of
it: where such a copy explains the server better than the painting does, the picture was changed on its way.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

from peft import PeftModel
from PIL import Image
from tqdm.auto import tqdm

from arttune.canvas import Painting, pixels_of
from arttune.errors import BadInput, Failed
from arttune.evaluate import Score, graded, scored
from arttune.prompts import with_picture
from arttune.rollouts.gap import FAR, logprob_gap
from arttune.rollouts.server import Asked, Reply, Sampling, Server, Unusable, data_uri
from arttune.scoring import Ready
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

    @property
    def fault(self) -> str | None:
        """What is wrong with the server, if anything."""
        if self.changed:
            return f"it does not see the painting as it is: its answers fit {self.changed} better"
        gap = self.gaps["the painting"]
        if gap > FAR:
            return (
                f"its log-probabilities are {gap:.2f} nats a token from those here: another model, or another picture"
            )
        return None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "scores": [self.local.as_dict(), self.server.as_dict()],
            "agreement": self.agreement,
            "logprob_gap": self.gaps,
            "picture_changed": self.changed,
            "fault": self.fault,
        }


def verify(ready: Ready, url: str, concurrency: int = 8) -> Verdict:
    """Answer the problems of `ready`, a request with a painting, through the server at `url` and here.

    Raises `BadInput` for a server that cannot be used, and `Failed` for one that fails later.
    """
    if ready.art is None:
        raise BadInput("there is no painting to verify; give a PNG")
    server, request, task, problems = Server(url), ready.request, ready.task, ready.problems
    model, tokenizer = ready.model, ready.loaded.tokenizer
    uri = data_uri(ready.art.read_bytes())
    sampling = Sampling(
        request.max_new_tokens or task.max_new_tokens,
        temperature=0.0,
        presence_penalty=request.presence_penalty,
        forbidden=tuple(vision_tokens(model.config)),
        template=ready.template,
    )
    shown = [with_picture(p.prompt, ready.picture_tokens) for p in problems]
    ids = tokenizer.apply_chat_template(shown, add_generation_prompt=True, tokenize=True, return_dict=True)["input_ids"]
    pad = model.config.image_token_id
    asked = [Asked(p.prompt, uri, list(i), pad, 1, seed=0) for p, i in zip(problems, ids, strict=True)]
    begun, first = time.perf_counter(), server.check(asked[0], sampling)
    with ThreadPoolExecutor(concurrency) as threads:
        answers = chain(first, threads.map(lambda one: server.sample(one, sampling)[0], asked[1:]))
        try:
            replies = list(tqdm(answers, total=len(asked), unit="answer", desc="server", leave=False))
        except Unusable as error:
            raise Failed(str(error)) from error
    seconds = time.perf_counter() - begun
    local, here = ready.run()
    there = [graded(task, p, reply.text.strip()) for p, reply in zip(problems, replies, strict=True)]
    read = sum(len(one.prompt_ids) for one in asked) + sum(len(reply.ids) for reply in replies)
    remote = scored(
        task,
        there,
        split=request.split,
        model_name=f"{request.model} at {server.url}",
        adapter="art",
        seed=request.seed,
        seconds=seconds,
        tokens=read,
    )
    same = sum(a.completion == b.completion for a, b in zip(here, there, strict=True))
    gaps = _gaps(model, Painting.load(ready.art), asked[:PROBED], replies[:PROBED])
    return Verdict(local, remote, same / len(problems), gaps)


def _gaps(model: PeftModel, painting: Painting, asked: list[Asked], replies: list[Reply]) -> dict[str, float]:
    """Mean distance of the server's log-probabilities from those here, by what the model here is shown."""
    found = {"the painting": logprob_gap(model, asked, replies)}
    for name, change in COPIES.items():
        art_layer(model).show("default", Painting(pixels_of(change(painting.picture))))
        found[name] = logprob_gap(model, asked, replies)
    art_layer(model).show("default", painting)
    return found


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return Image.open(data)


def _halved(picture: Image.Image) -> Image.Image:
    small = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
    return small.resize(picture.size, Image.Resampling.BICUBIC)
