"""Which trees run in one pass, and that a question without a token of its own does no harm.

That the numbers are those of rows run whole is in `test_tree.py`.
"""

from __future__ import annotations

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

import zoo
from arttune import flat, prefix
from arttune.attention import PLAIN
from test_tree import FIELDS, attending, close, gradient, unshared, weigh
from tuner.test_model import batch, painted


@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("attention", ["sdpa", "eager", PLAIN])
def test_models_that_are_all_attention_and_our_own_run_so(name, attention):
    model = painted(name)
    attending(model, attention)
    assert flat.fits(model.config) == (attention == PLAIN and name != "qwen3_5")


def test_a_model_with_layers_of_an_unknown_kind_does_not():
    model = painted("qwen2_5_vl")
    attending(model, PLAIN)
    text = model.config.text_config
    text.layer_types, text.sliding_window = ["full_attention", "sliding_attention"], 10**6
    assert not flat.fits(model.config)


@pytest.mark.parametrize("overhead", [0, 10**6])
@pytest.mark.parametrize("attention", ["sdpa", PLAIN])
def test_a_question_may_end_with_the_prefix(overhead, attention, monkeypatch):
    """One that has no token of its own but the last, which runs with the completions, beside others that have."""
    weigh(monkeypatch, overhead)
    model = painted("qwen2_5_vl").train()
    attending(model, attention)
    add_fused_lm_head(model.get_base_model(), outputs=FIELDS)
    prompt = batch("qwen2_5_vl")["input_ids"][0, :80].tolist()  # all that there is of the shorter question
    rows = [[*prompt, *more, 50 + row, 60] for more in ([], [30, 31]) for row in range(3)]
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    labels = torch.where(ids >= 50, ids, -100)
    labels[:, : len(prompt)] = -100
    made = {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}
    with unshared(monkeypatch):
        theirs, naive = gradient(model, made, fused_lm_head=True)
    ours, shared = gradient(model, made, fused_lm_head=True)
    picture = (ids == model.config.image_token_id).long()
    plan = prefix.plan(ids, made["attention_mask"], picture, (labels[:, 1:] != -100).nonzero(as_tuple=True))
    assert plan is not None
    assert (plan.begin - plan.shared)[plan.heads].tolist() == [0, 2]
    assert (shared - naive).norm() <= 1e-5 * naive.norm()
    assert close(ours, theirs)
