"""Tokens that were never trained, where the supervised answers hold them."""

from __future__ import annotations

import json

import torch

from arttune.models import load_model, untrained
from arttune.scoring import Request, open_request
from arttune.settings import Settings
from arttune.training import train

ANSWER = "<|vision_start|>{}<|vision_end|>"


def test_tokens_with_one_output_row_are_told_where_answers_hold_them(tiny_folder):
    loaded = load_model(str(tiny_folder), "bfloat16")
    assert untrained(loaded, [ANSWER, "7"]) == []
    known = loaded.tokenizer.get_added_vocab()
    head = loaded.model.get_output_embeddings().weight
    row = head[known["<|vision_start|>"]]
    with torch.no_grad():
        for name in ("<|vision_end|>", "<|image_pad|>"):
            head[known[name]] = row * 1.001
    first, second = untrained(loaded, [ANSWER, None, "7"])
    assert first.startswith("the model can hardly write <|vision_")
    assert "that of 2 other tokens" in first
    assert {line.split()[5].rstrip(",") for line in (first, second)} == {"<|vision_start|>", "<|vision_end|>"}
    assert untrained(loaded, ["7", None]) == []


def test_training_and_scoring_say_so(tiny_folder, tmp_path):
    loaded = load_model(str(tiny_folder), "float32")
    known = loaded.tokenizer.get_added_vocab()
    head = loaded.model.get_output_embeddings().weight
    with torch.no_grad():
        head[known["<|vision_end|>"]] = head[known["<|vision_start|>"]]
    loaded.model.save_pretrained(tiny_folder)
    problems = tmp_path / "own.jsonl"
    rows = [{"prompt": f"say {i}", "completion": ANSWER.format(i)} for i in range(8)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said: list[str] = []
    few = {"steps": 1, "batch_size": 2, "validation": 0, "warmup": 0, "max_new_tokens": 4, "threads": 1}
    train(Settings(model=str(tiny_folder), task=str(problems), dtype="float32", **few), tmp_path / "run", said.append)
    assert sum(line.startswith("the model can hardly write <|vision_") for line in said) == 2
    ready = open_request(Request(str(tiny_folder), str(problems), "none", dtype="float32", threads=1))
    assert len(ready.warnings) == 2
