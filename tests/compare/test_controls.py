"""Controls take as much room as a painting, and say what they should where they should."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

import zoo
from arttune import ArtConfig
from arttune.compare.controls import random_string, seeing, solution, with_examples, wording
from arttune.compare.plan import CONTROLS, Cell, Comparison
from arttune.objectives import Problems
from arttune.prompts import with_prefix
from arttune.settings import Settings
from arttune.style.starts import start_pixels
from arttune.tasks import Problem, get_task
from arttune.tuner import art_layer

ORCHARD = "recipes/compare/orchard.png"
TEXTS = ["Say a word.", "Say it loud.", "Whisper."]


@pytest.fixture
def put(tmp_path):
    """What a control makes of a problem, as the list of its turns' texts; the second instruction gets most right."""
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}?", "completion": f"{i}!"}) + "\n" for i in range(20)))
    task, loaded = get_task(str(path)), SimpleNamespace(tokenizer=zoo.tokenizer())
    problems = Problems(task, task.load("train"), [], task.load("test"))
    chosen = Comparison(
        run=Settings(task=str(path)), controls=[*CONTROLS], artwork=ORCHARD, instructions=TEXTS, shots=2
    )

    def best(put):
        return 3 if put(problems.train[0]).question.endswith(TEXTS[1]) else 2

    def made(name: str, seed: int = 0) -> list[str]:
        put = wording(chosen, Cell(name, seed), loaded, ArtConfig(family="qwen2_5_vl"), problems, best)
        return [turn["content"] for turn in put(problems.test[0]).prompt]

    return made


def test_each_control_words_a_problem_as_it_says(put):
    (plain,) = put("none")
    assert put("blank") == put("noise") == put("artwork") == [plain], "pictures leave the words as they are"
    (told,) = put("instruction")
    assert told.startswith(plain)
    assert told.endswith(TEXTS[1])
    first, reply, second, further, asked = put("few-shot")
    assert asked == plain
    assert {reply, further} == {first.replace("?", "!"), second.replace("?", "!")}
    assert first != second
    assert put("few-shot", 1) != put("few-shot")
    (strange,) = put("random-string")
    assert strange.endswith(f"\n{plain}")
    assert len(zoo.tokenizer()(strange.removesuffix(f"\n{plain}"), add_special_tokens=False)["input_ids"]) == 64


@pytest.mark.parametrize(("name", "start"), [("blank", "grey"), ("noise", "noise"), ("artwork", ORCHARD)])
def test_each_control_shows_its_picture_and_leaves_the_model_as_it_was(name, start):
    config, model = ArtConfig(family="qwen2_5_vl"), zoo.tiny("qwen2_5_vl")
    chosen = Comparison(run=Settings(), controls=[*CONTROLS], artwork=ORCHARD, instructions=TEXTS)
    with seeing(chosen, Cell(name, 3), SimpleNamespace(model=model), config) as (shown, tokens):
        assert tokens == 64
        painting = art_layer(shown).painting()
        assert torch.equal(painting.pixels, start_pixels(start, (224, 224), seed=3))
    with pytest.raises(StopIteration):
        art_layer(model)
    with seeing(chosen, Cell("none", 0), SimpleNamespace(model=model), config) as found:
        assert found == (model, 0)


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
