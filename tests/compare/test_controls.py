"""Controls take as much room as a painting, and say what they should where they should."""

from __future__ import annotations

import pytest

import zoo
from arttune.compare.controls import random_string, with_examples
from arttune.prompts import with_prefix
from arttune.tasks import Problem, get_task


@pytest.mark.parametrize("seed", range(4))
def test_a_random_string_is_as_long_as_the_picture(seed):
    tokenizer = zoo.tokenizer()
    text = random_string(tokenizer, 64, seed)
    assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 64
    assert text == random_string(tokenizer, 64, seed) != random_string(tokenizer, 64, seed + 1)


@zoo.REAL
def test_examples_are_earlier_turns():
    first, second, asked = get_task("svamp").load("train")[:3]
    turns = with_examples(asked, [first, second])
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2 + ["user"]
    assert (turns[0], turns[2], turns[4]) == (first.prompt[0], second.prompt[0], asked.prompt[0])
    assert (turns[1]["content"], turns[3]["content"]) == (first.completion, second.completion)


def test_the_system_turn_stays_first():
    prompt = [{"role": "system", "content": "be"}, {"role": "user", "content": "ask"}]
    assert with_prefix(prompt, "xyz") == [prompt[0], {"role": "user", "content": "xyz\nask"}]
    one = Problem([{"role": "system", "content": "tools"}, {"role": "user", "content": "x"}], answer="y")
    turns = with_examples(Problem(prompt), [one])
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert [turn["content"] for turn in turns] == ["be", "tools\n\nx", "y", "ask"]
