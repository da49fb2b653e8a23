"""How much faster are held-out problems answered than by plain `generate`?

    ARTTUNE_DATA=FOLDER python benchmarks/evaluation.py --model smol --json evaluation.json
    ARTTUNE_DATA=FOLDER python benchmarks/evaluation.py --art runs/svamp/art.png

Plain: transformers' `generate` in batches of 50 that stay whole until the last row is done, each row with a picture of
its own, with transformers' own attention. Ours: the prefix once, then rows of all problems, which leave when they are
done. Both answer greedily, in turns, without a picture and with one (a grey canvas, or the painting that is given).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import get_peft_model

from arttune import ArtConfig, evaluate, load
from arttune.filling import Filling
from arttune.machine import describe, fast_attention, keep_freed_memory
from arttune.models import load_model
from arttune.tasks import get_task
from arttune.tuner import art_layer

WAYS = ("plain generate", "arttune")


@contextmanager
def taking(way: str, base: Any) -> Iterator[int]:
    """Within the block problems are answered in this way; the value is how many at a time."""
    if way == "arttune":
        fast_attention(base)
        yield 150
        return
    usual = "eager" if base.device.type == "cpu" else "sdpa"
    base.set_attn_implementation({"text_config": usual, "vision_config": "sdpa"})

    def alone(model: Any, given: dict[str, Any]) -> Any:
        return model.generate(**{name: value for name, value in given.items() if name != "past_key_values"})

    with patch.object(Filling, "__call__", lambda *_: {}), patch.object(evaluate, "decoded", alone):
        yield 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smol")
    parser.add_argument("--task", default="svamp")
    parser.add_argument("--art", help="a painting of the model, instead of a grey canvas")
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    loaded = load_model(args.model, "auto")
    task = get_task(args.task)
    problems = task.load("test")[: args.problems]
    base = loaded.model.eval()
    print(f"{args.model}, {len(problems)} problems of {args.task}, {base.dtype}; {describe()}")
    ratios = {}
    for shown in ("text only", "picture"):
        model: Any = base
        if shown == "picture":
            model = load(base, args.art) if args.art else get_peft_model(base, ArtConfig(start="grey"))
        tokens = art_layer(model).configs["default"].tokens if model is not base else 0
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        written, said = {}, {}
        for _ in range(args.rounds):
            for way, taken in seconds.items():
                with taking(way, base) as size:
                    begun = time.perf_counter()
                    said[way], written[way] = evaluate.answers(
                        model, loaded.tokenizer, problems, evaluate.Decoding(task.max_new_tokens, size), tokens
                    )
                    taken.append(time.perf_counter() - begun)
        middle = {way: statistics.median(taken) for way, taken in seconds.items()}
        ratios[f"{shown}: plain/arttune"] = middle["plain generate"] / middle["arttune"]
        for way, found in middle.items():
            ratio = middle["plain generate"] / found
            print(f"  {shown:9}  {way:14} {found:7.2f} s  {written[way]:6} tokens  {ratio:5.2f} times as fast")
        alike = sum(a == b for a, b in zip(said["plain generate"], said["arttune"], strict=True))
        print(f"  {shown:9}  answers that are the same: {alike} of {len(problems)}", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
