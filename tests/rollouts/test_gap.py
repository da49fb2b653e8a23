"""The distance between a server's log-probabilities and ours: nothing for the same picture, something for another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import get_peft_model

import zoo
from arttune import ArtConfig
from arttune.prompts import with_picture
from arttune.rollouts import Asked
from arttune.rollouts.gap import logprob_gap
from arttune.rollouts.server import Reply
from arttune.tuner import vision_tokens

WARM = 0.7


def painted(seed: int) -> Any:
    return get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start="noise", seed=seed)).eval()


def one_by_one(model: Any, prompt: list[int], said: list[int]) -> list[float]:
    """As a server has them: each token's log-probability when it was sampled, none of a picture's tokens among them."""
    found, banned = [], vision_tokens(model.config)
    for at, token in enumerate(said):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + said[:at]])).logits[0, -1] / WARM
        allowed = [one for one in range(len(logits)) if one not in banned]
        found.append(float(logits[token] - logits[allowed].logsumexp(0)))
    return found


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    tokenizer, made = zoo.tokenizer(), []
    for question in ("Why?", "Name a colour, any colour at all."):
        turns = with_picture([{"role": "user", "content": question}], 64)
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
        made.append(Asked(turns, "", list(ids), 0, 1, seed=0))
    return made


def test_there_is_none_where_the_same_is_seen_and_some_where_not(asked):
    model, said = painted(3), [[5, 9, 200, 31], [77, 8]]
    replies = [Reply(ids, one_by_one(model, one.prompt_ids, ids), "") for one, ids in zip(asked, said, strict=True)]
    assert logprob_gap(model, asked, replies, WARM) == pytest.approx(0, abs=1e-5)
    assert logprob_gap(painted(4), asked, replies, WARM) > 1e-2, "another picture"
    assert logprob_gap(model, asked, replies) > 1e-2, "before temperature"
    off = [Reply(one.ids, [p - 0.25 for p in one.logprobs], "") for one in replies]
    assert logprob_gap(model, asked, off, WARM) == pytest.approx(0.25, abs=1e-5), "nats a token"
