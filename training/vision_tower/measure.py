"""What a test bed sees, and what a picture costs its text: the tables of the model card.

    python training/vision_tower/measure.py --model smol --json measured.json

Held-out renders: fonts that were never trained on, layouts drawn from other seeds, at 224 pixels; greedy answers of the
model's own `generate`, exact match but for case and a full stop. Text: GSM8K test problems with a picture in front that
has nothing to do with them (empty, noisy, or a word), against the model without one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from arttune.evaluate import Decoding, greedy, wilson
from arttune.machine import describe
from arttune.models.graft import FAMILY
from arttune.prompts import placeholder
from arttune.tasks import get_task
from arttune.tasks.task import Problem
from painter import HELD_OUT
from parts import Scene
from reader import Reader
from reading import distributions
from scenes import scene

KINDS = ("object", "number", "word", "phrase", "sum", "count", "pair", "chart", "blank", "noise")
# The figures of the card are about these kinds' own facts; the others are asked all their questions.
OWN = ("object", "number", "word")


def plain(text: str) -> str:
    return text.strip().rstrip(".").lower()


@torch.inference_mode()
def replies(reader: Reader, questions: list[str], pictures: list[torch.Tensor] | None, tokens: int) -> list[str]:
    """Greedy answers of transformers' generate on the ordinary pixel route, or without a picture."""
    tokenizer, found = reader.tokenizer, []
    for at in range(0, len(questions), 16):
        some = questions[at : at + 16]
        seen: dict[str, Any] = {}
        front = ""
        if pictures is not None:
            shown = pictures[at : at + 16]
            size = (shown[0].shape[1], shown[0].shape[2])
            front = placeholder(FAMILY.tokens(size))
            seen["pixel_values"] = torch.cat([FAMILY.patches(p) for p in shown]).to(reader.device)
            seen["image_grid_thw"] = torch.tensor([FAMILY.grid(size)] * len(shown), device=reader.device)
        turns = [[{"role": "user", "content": front + question}] for question in some]
        texts = [tokenizer.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in turns]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(reader.device)
        if pictures is not None:
            seen["mm_token_type_ids"] = (batch["input_ids"] == reader.model.config.image_token_id).long()
        fresh = greedy(reader.model, {**batch, **seen}, Decoding(tokens), tokenizer.pad_token_id)
        found += tokenizer.batch_decode(fresh, skip_special_tokens=True)
    return found


def vision(reader: Reader, kind: str, n: int, side: int, show: int) -> dict[str, Any]:
    """Exact match on `n` held-out renders of one kind."""
    found: list[Scene] = [scene(f"held-out {kind} {i}", side, {kind: 1}, HELD_OUT) for i in range(n)]
    asked = []
    for i, one in enumerate(found):
        one.facts = [fact for fact in one.facts if fact[0] == kind or kind not in OWN]
        asked.append(one.ask(random.Random(f"question {i}")))
    said = replies(reader, [question for question, _ in asked], [one.pixels for one in found], 16)
    right = [plain(reply) == plain(answer) for reply, (_, answer) in zip(said, asked, strict=True)]
    for reply, (question, answer), ok in list(zip(said, asked, right, strict=True))[:show]:
        print(f"    {'right' if ok else 'wrong'}: {question} -> {reply!r} ({answer})")
    low, high = wilson(sum(right), n)
    return {"kind": kind, "n": n, "correct": sum(right), "accuracy": sum(right) / n, "ci95": [low, high]}


@torch.inference_mode()
def text(
    reader: Reader, kind: str, problems: list[Problem], side: int, questions: list[str], bare: list[str]
) -> dict[str, Any]:
    """What a picture of one kind changes: mean divergence a token of `problems`, and how many greedy answers.

    `bare` are the answers to `questions` without a picture.
    """
    picture = scene("empty", side, {kind: 1}, HELD_OUT).pixels
    divergence, changed, count = 0.0, 0, 0
    tokens = reader.see([picture])
    for problem in problems:
        turn = reader.turn(problem.question, problem.completion or "")
        alone, beside = distributions(reader, tokens, [turn])
        divergence += F.kl_div(beside, alone, log_target=True, reduction="sum").item()
        changed += int((alone.argmax(-1) != beside.argmax(-1)).sum())
        count += len(alone)
    with_picture = replies(reader, questions, [picture] * len(questions), 48)
    return {
        "picture": kind,
        "problems": len(problems),
        "tokens": count,
        "kl": divergence / count,
        "likeliest_changed": changed / count,
        "answers": len(questions),
        "answers_changed": sum(a != b for a, b in zip(bare, with_picture, strict=True)) / max(1, len(questions)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smol", help="smol, or a folder that benchmarks/make_qwen.py made")
    parser.add_argument("--tower", type=Path, help="tower.safetensors of a run, in place of the model's own")
    parser.add_argument("--n", type=int, default=200, help="renders of each kind")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--texts", type=int, default=100, help="GSM8K problems for the divergence; half are answered")
    parser.add_argument("--front", nargs="*", default=["blank", "noise", "word"], help="kinds of picture before these")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--show", type=int, default=0, help="answers of each kind to print")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reader = Reader(args.model, tower=args.tower)
    began, rows = time.monotonic(), []
    for kind in args.kinds:
        row = vision(reader, kind, args.n, args.side, args.show)
        rows.append(row)
        low, high = (100 * value for value in row["ci95"])
        print(
            f"{kind:8} {row['correct']:4}/{row['n']} {100 * row['accuracy']:5.1f} % [{low:.1f}, {high:.1f}]", flush=True
        )
    problems = get_task("gsm8k").load("test")[: args.texts] if args.texts else []
    questions = [problem.question for problem in problems[: len(problems) // 2]]
    bare = replies(reader, questions, None, 48)
    costs = []
    for kind in args.front if problems else []:
        cost = text(reader, kind, problems, args.side, questions, bare)
        costs.append(cost)
        print(
            f"{kind} in front of {cost['problems']} GSM8K problems: {cost['kl']:.4f} nats a token, likeliest changed "
            f"{100 * cost['likeliest_changed']:.1f} %, greedy answers changed {100 * cost['answers_changed']:.0f} %",
            flush=True,
        )
    print(f"{time.monotonic() - began:.0f} s on {describe()}")
    if args.json:
        args.json.write_text(json.dumps({"vision": rows, "text": costs, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
