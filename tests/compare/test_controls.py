"""Controls take as much room as a painting, and say what they should where they should."""

from __future__ import annotations

import json

import pytest

import zoo
from arttune.compare.controls import random_string, solution, with_examples
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


def test_an_example_is_a_reply_that_is_right(tmp_path):
    """The worked one, or the chosen one, or the answer in the form that the file asks for."""
    path = tmp_path / "own.jsonl"
    rows = [
        {"prompt": "1 + 1? Reply with Answer: <number>", "answer": "2"},
        {"prompt": "Hi", "chosen": "So be it.\nAnswer: 7", "rejected": "Answer: 9"},
        {"prompt": "Two?", "completion": "One and one.\nAnswer: 2", "answer": "2"},
        {"prompt": "Wrong?", "completion": "Answer: 3", "answer": "two"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = get_task(str(path))
    found = [solution(task, one) for one in task.load("train") + task.load("test")]
    assert sorted(found) == ["Answer: 2", "Answer: two", "One and one.\nAnswer: 2", "So be it.\nAnswer: 7"]


def test_the_system_turn_stays_first():
    prompt = [{"role": "system", "content": "be"}, {"role": "user", "content": "ask"}]
    assert with_prefix(prompt, "xyz") == [prompt[0], {"role": "user", "content": "xyz\nask"}]
    one = Problem([{"role": "system", "content": "tools"}, {"role": "user", "content": "x"}], "y")
    turns = with_examples(Problem(prompt), [one])
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert [turn["content"] for turn in turns] == ["be", "tools\n\nx", "y", "ask"]
