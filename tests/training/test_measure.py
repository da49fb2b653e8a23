"""What the card says of a bed is counted on the model's own generate, and an empty picture's cost on both routes."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch.nn import functional as F

import measure
from arttune.models.graft import FAMILY
from arttune.tasks import get_task
from painter import HELD_OUT
from reader import Reader
from scenes import scene


@pytest.fixture
def reader(tiny_folder):
    return Reader(tiny_folder)


def test_an_answer_counts_whole_but_for_case_and_full_stop(reader, monkeypatch):
    shown = [scene(f"held-out object {i}", 112, {"object": 1}, HELD_OUT) for i in range(4)]
    gold = [dict(one.facts)["object"] for one in shown]
    said = [f" {gold[0].upper()}.", gold[1], gold[2].split()[0], f"a {gold[3]}"]
    monkeypatch.setattr(measure, "replies", lambda *_: said)
    row = measure.vision(reader, "object", 4, 112, 0)
    assert (row["correct"], row["n"], row["accuracy"]) == (2, 4, 0.5)


@torch.no_grad()
def test_replies_are_the_greedy_tokens_of_each_picture_alone(reader):
    """Batched and left-padded, against one forward pass a token without any cache."""
    shown = [scene(i, 112, {"object": 1}).pixels for i in range(2)]
    questions = ["What?", "What color is it, then?"]
    said = measure.replies(reader, questions, shown, 3)
    for picture, question, reply in zip(shown, questions, said, strict=True):
        turn = reader.turn(question, "").ids[:-1]
        for _ in range(3):
            whole = type(reader.turn("", ""))([*turn, 0], len(turn))
            logits = reader.logits(reader.read(reader.see([picture]), [[whole]]).hidden)
            turn = [*turn, int(logits[0].argmax())]
        assert reply == reader.tokenizer.decode(turn[-3:], skip_special_tokens=True)


def test_the_whole_table_is_written(tiny_folder, tmp_path, monkeypatch, capsys):
    flags = ["--model", str(tiny_folder), "--n", "2", "--kinds", "object", "word", "--side", "112", "--texts", "2"]
    monkeypatch.setattr(sys, "argv", ["measure.py", *flags, "--json", str(tmp_path / "m.json")])
    threads = torch.get_num_threads()
    monkeypatch.setattr(measure, "get_task", lambda _: get_task("reasoning_gym:chain_sum"))
    measure.main()
    torch.set_num_threads(threads)
    found = json.loads((tmp_path / "m.json").read_text())
    assert [(row["kind"], row["n"]) for row in found["vision"]] == [("object", 2), ("word", 2)]
    assert [(cost["picture"], cost["problems"]) for cost in found["text"]] == [("blank", 2), ("noise", 2), ("word", 2)]
    assert "nats a token" in capsys.readouterr().out


@torch.no_grad()
def test_divergence_is_the_mean_over_all_tokens(reader):
    """Against both distributions written out, on the ordinary route with pixels."""
    task = get_task("reasoning_gym:chain_sum")
    cost = measure.text(reader, "blank", task.load("test")[:3], 112, [], [])
    empty, sums, count = scene("empty", 112, {"blank": 1}).pixels, 0.0, 0
    for problem in task.load("test")[:3]:
        turn = reader.turn(problem.question, problem.completion or "")
        rows = []
        for front in ("", "<|vision_start|>" + "<|image_pad|>" * 16 + "<|vision_end|>"):
            conversation = [{"role": "user", "content": front + "QUESTION"}]
            text = reader.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
            before = reader.tokenizer(text.partition("QUESTION")[0], add_special_tokens=False)["input_ids"]
            ids = torch.tensor([before + turn.ids])
            seen = {}
            if front:
                seen = {"pixel_values": FAMILY.patches(empty), "image_grid_thw": torch.tensor([[1, 8, 8]])}
                seen["mm_token_type_ids"] = (ids == reader.model.config.image_token_id).long()
            rows.append(F.log_softmax(reader.model(input_ids=ids, **seen).logits[0, -len(turn.ids) : -1], dim=-1))
        alone, beside = rows
        sums += float((alone.exp() * (alone - beside)).sum())
        count += len(alone)
    assert cost["tokens"] == count
    assert cost["kl"] == pytest.approx(sums / count, rel=1e-3)
