"""How much faster are the model's own completions where passes of one token are recorded (`recording.py`)?

    ARTTUNE_DATA=FOLDER python benchmarks/recording.py MODEL ART --task gsm8k

Needs a GPU: on CPU nothing is recorded, and the two are alike. Both ways sample as many completions of the same length
in turns; the share of greedy tokens that are the same in both says whether it is the same model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from arttune import filling
from arttune.machine import describe
from arttune.prompts import with_picture
from arttune.scoring import Request, open_request

WAYS = {"recorded": filling.replays, "plain": lambda text_model: False}


def generated(way: str, model: Any, prompt: Any, tokens: int, **how: Any) -> tuple[torch.Tensor, float]:
    """`(rows, tokens)` new tokens, and the seconds they took."""
    filling.replays = WAYS[way]
    begun = time.perf_counter()
    with torch.no_grad():
        found = model.generate(**prompt, max_new_tokens=tokens, min_new_tokens=tokens, **how)[:, -tokens:].cpu()
    return found, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("art", help="a painting of it")
    parser.add_argument("--task", default="svamp")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    ready = open_request(Request(args.model, args.task, args.art, split="train", limit=args.rows))
    tokenizer, model = ready.loaded.tokenizer, ready.model.eval()
    turns = [with_picture(problem.prompt, ready.picture_tokens) for problem in ready.problems]
    texts = [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in turns]
    read = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    prompt = {name: read[name].to(model.device) for name in ("input_ids", "attention_mask")}
    pad = {"pad_token_id": tokenizer.pad_token_id}
    greedy = [generated(way, model, prompt, min(args.tokens, 24), do_sample=False, **pad)[0] for way in WAYS]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way, found in seconds.items():
            found.append(generated(way, model, prompt, args.tokens, do_sample=True, top_k=0, **pad)[1])
    print(f"{describe()}; {len(texts)} completions of {args.tokens} tokens")
    middle = {way: statistics.median(found) for way, found in seconds.items()}
    for way, found in middle.items():
        print(f"  {way:9} {found:7.2f} s  {found / middle['plain']:.2f} of plain")
    alike = float((greedy[0] == greedy[1]).float().mean())
    print(f"  greedy tokens that are the same: {alike:.1%}")
    if args.json:
        ratios = {"recorded/plain": middle["recorded"] / middle["plain"]}
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
