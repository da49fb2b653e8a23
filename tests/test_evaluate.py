"""Scores: the interval against its definition, and decoding against one problem at a time."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
import torch
from peft import get_peft_model

import zoo
from arttune import ArtConfig, decoding
from arttune.evaluate import Z95, Decoding, answers, evaluate, wilson
from arttune.prompts import with_picture
from arttune.tasks import Grade, Problem, Task

PROBLEMS = [Problem([{"role": "user", "content": "x" * n}], answer="a") for n in (3, 30, 11, 7, 19)]


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (1, 10), (7, 48), (75, 150), (150, 150)])
def test_wilson_solves_its_own_equation(correct, n):
    """Wilson's bounds are the p for which the observed share lies z standard errors away: solved here by bisection."""

    def solve(low: float, high: float) -> float:
        def gap(p: float) -> float:
            return abs(correct / n - p) - Z95 * math.sqrt(p * (1 - p) / n)

        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if (gap(middle) > 0) == (gap(low) > 0) else (low, middle)
        return middle

    low, high = wilson(correct, n)
    share = correct / n
    assert low == pytest.approx(solve(1e-12, share) if correct else 0.0, abs=1e-9)
    assert high == pytest.approx(solve(share, 1 - 1e-12) if correct < n else 1.0, abs=1e-9)


def test_no_problems_say_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("rows", [0, 1, 60])
@pytest.mark.parametrize(("most", "tokens"), [(1, 3000), (20, 3000), (20, 500), (60, 10)])
def test_batches_are_as_large_as_their_tokens_allow(rows, most, tokens):
    def fits(batch: list[int]) -> bool:
        return len(batch) <= most and len(batch) * (batch[-1] + 10) <= tokens

    lengths = sorted(random.Random(rows).choices(range(1, 400), k=rows))
    made = [lengths[cut] for cut in Decoding(10, most, batch_tokens=tokens).batches(lengths)]
    assert [one for batch in made for one in batch] == lengths
    assert all(fits(batch) or len(batch) == 1 for batch in made)
    assert not any(fits([*batch, after[0]]) for batch, after in pairwise(made))


@pytest.mark.parametrize("pictured", [False, True])
def test_batched_answers_equal_one_at_a_time(pictured, monkeypatch):
    """Left padding, sorting and rows that are done must not change what is answered, nor its order."""
    monkeypatch.setattr(decoding, "STAGE", 2)
    model = zoo.tiny("qwen2_5_vl")
    if pictured:
        model = get_peft_model(model, ArtConfig(start="noise"))
    tokens = 64 if pictured else 0
    batched, read = answers(model, zoo.tokenizer(), PROBLEMS, Decoding(8, batch_size=3), tokens)
    for problem, found in zip(PROBLEMS, batched, strict=True):
        turns = with_picture(problem.prompt, tokens) if pictured else problem.prompt
        text = zoo.tokenizer().apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = zoo.tokenizer()([text], return_tensors="pt")
        alone = model.generate(
            **{k: ids[k] for k in ("input_ids", "attention_mask")}, max_new_tokens=8, do_sample=False
        )
        fresh = alone[0, ids["input_ids"].shape[1] :]
        assert found == zoo.tokenizer().decode(fresh, skip_special_tokens=True).strip()
    assert read > sum(len(p.question) for p in PROBLEMS)


@pytest.mark.parametrize("pictured", [False, True])
def test_a_checkpoints_own_penalty_on_repetition_is_not_asked_for(pictured):
    """As Qwen2.5's have one; a server is asked for none."""
    model = zoo.tiny("qwen2_5_vl")
    if pictured:
        model = get_peft_model(model, ArtConfig(start="noise"))
    said, _ = answers(model, zoo.tokenizer(), PROBLEMS, Decoding(8), 64 if pictured else 0)
    model.generation_config.repetition_penalty = 0.2
    assert answers(model, zoo.tokenizer(), PROBLEMS, Decoding(8), 64 if pictured else 0)[0] == said
    ids = zoo.tokenizer()(["say say say"], return_tensors="pt")["input_ids"]
    base, asked = model.get_base_model() if pictured else model, {"max_new_tokens": 8, "do_sample": False}
    own, none = base.generate(ids, **asked), base.generate(ids, **asked, repetition_penalty=1.0)
    assert not torch.equal(own, none), "it would have changed what is said"


@pytest.mark.parametrize("pictured", [False, True])
def test_a_presence_penalty_lowers_what_the_answer_has(pictured):
    """Against a loop over tokens: once, however often one came, and not for what only the prompt has."""
    model = zoo.tiny("qwen2_5_vl")
    if pictured:
        model = get_peft_model(model, ArtConfig(start="noise"))
    tokens, asked = 64 if pictured else 0, PROBLEMS[:2]
    plain, _ = answers(model, zoo.tokenizer(), asked, Decoding(8), tokens)
    found, _ = answers(model, zoo.tokenizer(), asked, Decoding(8, presence_penalty=0.5), tokens)
    assert found != plain
    for problem, said in zip(asked, found, strict=True):
        turns = with_picture(problem.prompt, tokens) if pictured else problem.prompt
        text = zoo.tokenizer().apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = zoo.tokenizer()([text], return_tensors="pt")["input_ids"]
        written: list[int] = []
        while len(written) < 8 and model.generation_config.eos_token_id not in written:
            given = torch.cat([ids, torch.tensor([written], dtype=torch.long)], dim=1)
            logits = model(input_ids=given, attention_mask=torch.ones_like(given)).logits[0, -1]
            logits[list(set(written))] -= 0.5
            written.append(int(logits.argmax()))
        assert said == zoo.tokenizer().decode(written, skip_special_tokens=True).strip()


def test_evaluate_counts_and_repeats():
    task = Task(
        "letters",
        "",
        lambda split: PROBLEMS,
        lambda p, t: Grade(len(p.question) > 10, len(p.question) > 5),
        lambda p, t: 0.0,
        4,
    )
    model = zoo.tiny("qwen2_5_vl").train()
    asked = {"split": "test", "model_name": "tiny", "adapter": "none", "seed": 7}
    score, samples = evaluate(model, zoo.tokenizer(), task, PROBLEMS, **asked)
    assert (score.n, score.correct, score.accuracy, score.format_rate) == (5, 3, 0.6, 0.8)
    assert score.ci95 == wilson(3, 5)
    assert model.training, "the model is left in the mode it was in"
    again, repeated = evaluate(model, zoo.tokenizer(), task, PROBLEMS, **asked)
    assert [s.completion for s in samples] == [s.completion for s in repeated]
    assert (again.correct, again.tokens) == (score.correct, score.tokens)
    assert set(score.as_dict()) == {
        *("task", "split", "n", "correct", "accuracy", "ci95", "format_rate"),
        *("model", "adapter", "seed", "seconds", "tokens"),
    }
