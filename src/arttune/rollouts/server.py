"""One inference server with the OpenAI chat API: what is asked of it, and whether its answer can be learned from.

A policy gradient needs more than text: the very tokens that were read and written, and the log-probability each was
sampled with. vLLM gives them (`return_token_ids`, `logprobs`); a server that does not is found out by `check`.
"""

from __future__ import annotations

import base64
import math
import os
from dataclasses import dataclass, field
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from arttune.errors import BadInput
from arttune.tasks import Message

# Bad request, not authorised, forbidden, too large, cannot be processed: the same request would fail again.
REFUSALS = (400, 401, 403, 413, 422)


@dataclass(frozen=True)
class Sampling:
    """How replies are sampled; the names are vLLM's. `forbidden` tokens are never sampled."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    forbidden: tuple[int, ...] = ()
    template: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One prompt to be answered `n` times with the picture `uri` (a `data:` URI of a PNG) in its first user turn.

    `prompt_ids` are the tokens that the model must see: chat template applied, picture expanded into `pad` tokens.
    """

    messages: list[Message]
    uri: str
    prompt_ids: list[int]
    pad: int
    n: int
    seed: int


@dataclass(frozen=True)
class Reply:
    """One sampled completion: its tokens, the end token with them, and the log-probability of each."""

    ids: list[int]
    logprobs: list[float]
    text: str


class Unusable(Exception):
    """A server failed, or answered something that cannot be used."""


class Unreachable(Unusable):
    """A server did not answer."""


class Refused(Unusable):
    """A server will not answer this request, now or later: too long, not allowed, no pictures."""


class Server:
    """A server at `url` (with or without `/v1`). A request may take `timeout` seconds, a connection five."""

    def __init__(self, url: str, timeout: float = 600.0) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        key = os.environ.get("OPENAI_API_KEY", "none")
        limits = openai.Timeout(timeout, connect=min(5.0, timeout))
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, timeout=limits, max_retries=0)
        self.model: str | None = None

    def sample(self, asked: Asked, sampling: Sampling) -> list[Reply]:
        """The `n` replies. Raises `Unusable`, whatever goes wrong."""
        try:
            return self._sample(asked, sampling)
        except Unusable as error:
            raise Unusable(f"{self.url}: {error}") from None
        except openai.OpenAIError as error:
            self.model = None  # it may come back with another name
            kind = Unreachable if isinstance(error, openai.APIConnectionError) else Unusable
            if isinstance(error, openai.APIStatusError) and error.status_code in REFUSALS:
                kind = Refused
            raise kind(f"{self.url}: {_told(error)}") from error
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            raise Unusable(f"{self.url}: no answer of the OpenAI chat API ({type(error).__name__}: {error})") from error

    def _sample(self, asked: Asked, sampling: Sampling) -> list[Reply]:
        if self.model is None:
            self.model = self.client.models.list().data[0].id
        found = self.client.chat.completions.create(
            model=self.model,
            # Plain dicts where openai wants its own typed ones.
            messages=with_uri(asked.messages, asked.uri),  # type: ignore[arg-type]
            n=asked.n,
            seed=asked.seed,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            presence_penalty=sampling.presence_penalty,
            logprobs=True,
            logit_bias={str(token): -100 for token in sampling.forbidden},
            extra_body={
                "return_token_ids": True,
                "top_k": sampling.top_k,
                "min_p": sampling.min_p,
                "repetition_penalty": sampling.repetition_penalty,
                "chat_template_kwargs": sampling.template,
            },
        )
        return _checked(found, asked, sampling)

    def check(self, asked: Asked, sampling: Sampling) -> list[Reply]:
        """Try the server with one small request. Raises `BadInput` that says what it lacks."""
        try:
            return self.sample(asked, sampling)
        except Unusable as error:
            raise BadInput(f"cannot use {error}") from error


def data_uri(png: bytes) -> str:
    """A PNG as the URI it travels as."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def with_uri(messages: list[Message], uri: str) -> list[dict[str, Any]]:
    """The conversation with the picture at the start of its first user turn, as the OpenAI chat API has it."""
    shown: list[dict[str, Any]] = [dict(message) for message in messages]
    turn = next(message for message in shown if message["role"] == "user")
    turn["content"] = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": turn["content"]}]
    return shown


def _checked(found: Any, asked: Asked, sampling: Sampling) -> list[Reply]:
    read = getattr(found, "prompt_token_ids", None)
    if not isinstance(found, ChatCompletion):
        raise Unusable(f"no answer of the OpenAI chat API but {str(found)[:80]!r}")
    if read is None:
        raise Unusable("the answer has no prompt_token_ids; vLLM from 0.10.2 on gives them (return_token_ids)")
    if list(read) != asked.prompt_ids:
        raise Unusable(_difference(list(read), asked))
    if len(found.choices) != asked.n:
        raise Unusable(f"{len(found.choices)} completions came back, {asked.n} were asked for (n)")
    replies = []
    for choice in found.choices:
        ids = getattr(choice, "token_ids", None)
        if not ids:
            raise Unusable("a completion has no token_ids")
        if len(ids) > sampling.max_tokens or choice.finish_reason not in ("stop", "length"):
            raise Unusable(
                f"a completion of {len(ids)} tokens ended with {choice.finish_reason!r}; at most "
                f"{sampling.max_tokens} were asked for, to end with 'stop' or 'length'"
            )
        banned = sorted({*ids} & {*sampling.forbidden})
        if banned:
            raise Unusable(f"a completion has the vision token {banned[0]}, which was forbidden (logit_bias)")
        if choice.logprobs is None or not choice.logprobs.content:
            raise Unusable("a completion has no log-probabilities (logprobs)")
        logprobs = [float(token.logprob) for token in choice.logprobs.content]
        if len(logprobs) != len(ids):
            raise Unusable(f"{len(logprobs)} log-probabilities for a completion of {len(ids)} tokens")
        if not all(math.isfinite(value) and value <= 1e-3 for value in logprobs):
            raise Unusable("a log-probability is not a number below 0")
        replies.append(Reply(list(ids), logprobs, choice.message.content or ""))
    return replies


def _difference(read: list[int], asked: Asked) -> str:
    wanted = asked.prompt_ids
    shown, ours = read.count(asked.pad), wanted.count(asked.pad)
    if shown != ours:
        return f"it saw the picture as {shown} tokens, but it has {ours}: it was resized on its way, or left out"
    at = next((i for i, (a, b) in enumerate(zip(read, wanted, strict=False)) if a != b), min(len(read), len(wanted)))
    return (
        f"it read a prompt of {len(read)} tokens, not the {len(wanted)} of this model, different from token {at} on: "
        "it has another model or chat template"
    )


def _told(error: openai.OpenAIError) -> str:
    """What went wrong, in one line."""
    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    if isinstance(error, openai.APIConnectionError):
        return f"no connection ({error.__cause__ or error})"
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(said or error).split()) or type(error).__name__
