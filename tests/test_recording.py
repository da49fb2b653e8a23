"""Decoding on a GPU: a cache of fixed size and a recorded pass say what a growing cache and plain passes say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import StaticCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import zoo
from arttune import filling, recording
from arttune.recording import GROUPED, grouped, with_attention
from tuner.test_model import batch, painted

ASKED = {"max_new_tokens": 70, "min_new_tokens": 70, "do_sample": False}
# Those whose passes can be recorded; Qwen3.5 has recurrent layers.
FAMILIES = [name for name in zoo.NAMES if name != "qwen3_5"]


class Unrecorded:
    """What is recorded on a GPU, run plainly."""

    calls = 0

    def __init__(self, forward, given, config):
        self.forward, self.config = forward, config

    def __call__(self, given):
        Unrecorded.calls += 1
        assert isinstance(given["past_key_values"], StaticCache)
        assert given["past_key_values"].get_max_length() % 64 == 0
        with with_attention(self.config, GROUPED):
            return self.forward(**given)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fixed_cache_says_what_a_growing_one_says(name, monkeypatch):
    """Everything but the recording, which needs a GPU."""
    model = painted(name)
    made = batch(name, "left")
    growing = model.generate(**made, **ASKED)
    monkeypatch.setattr(filling, "replays", lambda text_model: True)
    monkeypatch.setattr(recording, "Recording", Unrecorded)
    monkeypatch.setattr(Unrecorded, "calls", 0)
    assert torch.equal(model.generate(**made, **ASKED), growing)
    assert Unrecorded.calls == ASKED["max_new_tokens"]


def test_heads_that_share_keys_may_stand_for_tokens():
    """Against transformers' own attention."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, heads, length, 16) for heads, length in ((6, 1), (2, 40), (2, 40)))
    mask = torch.rand(3, 1, 1, 40) < 0.7
    module = SimpleNamespace(num_key_value_groups=3)
    expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    found, _ = grouped(module, query, key, value, mask, scaling=0.3)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of NVIDIA's")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_recorded_pass_says_what_plain_passes_say(name, monkeypatch):
    model = painted(name).cuda()
    made = {key: value.cuda() for key, value in batch(name, "left").items()}
    recorded = model.generate(**made, **ASKED)
    monkeypatch.setattr(filling, "replays", lambda text_model: False)
    assert torch.equal(recorded, model.generate(**made, **ASKED))
