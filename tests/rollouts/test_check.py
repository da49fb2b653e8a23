"""Before a run every server is tried: one that does not fit is refused, one that is silent may come up later."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arttune.errors import BadInput
from arttune.prompts import with_picture
from arttune.rollouts import Pool, Server
from arttune.rollouts.rollouts import Rollouts
from rollouts.test_gap import one_by_one, painted
from rollouts.test_rollouts import trainer
from rollouts.test_server import completion, serve

__all__ = ["serve"]
NOBODY = "http://127.0.0.1:9"
IDS = [5, 6, 7]
TURNS = [{"role": "user", "content": "say red"}]


@pytest.fixture
def painter() -> SimpleNamespace:
    """What is read of TRL's trainer, with a model that looks at a canvas."""
    made = trainer()
    made.model = painted(3)
    made.train_dataset = {"prompt": [with_picture(TURNS, 64)]}
    made.max_completion_length, made.temperature, made.top_p, made.top_k = 8, 0.7, 1.0, 0
    made.min_p, made.repetition_penalty = None, 1.0
    return made


def answer(painter: SimpleNamespace, off: float) -> dict[str, Any]:
    """A server's, of log-probabilities that are `off` nats a token from the model's."""
    (asked,) = Rollouts(None, Path(), 0)._asked(painter.train_dataset["prompt"], painter, "data:", 0)
    logprobs = [
        {"token": "a", "logprob": p - off, "top_logprobs": [], "bytes": None}
        for p in one_by_one(painter.model, asked.prompt_ids, IDS)
    ]
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a"}, "token_ids": IDS}
    choice |= {"logprobs": {"content": logprobs}}
    return completion(whole__prompt_token_ids=asked.prompt_ids, whole__choices=[choice, choice | {"index": 1}])


def test_one_that_fits_is_taken_and_a_silent_one_is_told_of(serve, painter, tmp_path):
    told: list[str] = []
    good = answer(painter, 0.01)
    fits = serve(lambda: (200, good))
    Rollouts(Pool([Server(fits), Server(NOBODY)], warn=told.append), tmp_path, 0).check(painter)
    (line,) = told
    assert line.startswith(f"{NOBODY}: no connection")
    assert line.endswith("going on without it until it answers")


def test_one_whose_log_probabilities_are_far_off_is_refused(serve, painter, tmp_path):
    bad = answer(painter, 0.6)
    far = serve(lambda: (200, bad))
    with pytest.raises(BadInput, match=rf"cannot take rollouts from {far}.* 0\.60 nats a token .*another model"):
        Rollouts(Pool([Server(far)]), tmp_path, 0).check(painter)


def test_one_that_cannot_be_used_is_refused_beside_a_good_one(serve, painter, tmp_path):
    good = answer(painter, 0.01)
    fits, other = serve(lambda: (200, good)), serve(lambda: (200, completion()))
    with pytest.raises(BadInput, match=rf"cannot take rollouts from {other}: it saw the picture as "):
        Rollouts(Pool([Server(fits), Server(other)]), tmp_path, 0).check(painter)


def test_silence_all_round_is_refused(painter, tmp_path):
    with pytest.raises(BadInput, match=r"127\.0\.0\.1:9: no connection.*A slow server wants a larger patience"):
        Rollouts(Pool([Server(NOBODY)]), tmp_path, 0).check(painter)
