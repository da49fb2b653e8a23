"""What looks cost: a training step with each limit, style and brush, beside one of a plain canvas.

    ARTTUNE_DATA=FOLDER python benchmarks/style_time.py --artwork A.png --style-picture B.png --json style_time.json

All arms start from the artwork and take turns on the same batches in one process; what counts is the ratio of their
median steps, since absolute times drift.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from arttune.machine import describe, keep_freed_memory
from steps import Arm, batches, interleaved, parser

LOOKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "limit 24": {"limit": 24},
    "likeness 0.9": {"likeness": 0.9},
    "likeness 0.98": {"likeness": 0.98},
    "palette of 24": {"palette": "{artwork}:24"},
    "variation": {"style": "variation=0.1"},
    "texture": {"style": "texture=1", "style_picture": "{style}"},
    "patches": {"style": "patches=1", "style_picture": "{style}"},
    "tower": {"style": "tower=1", "style_picture": "{style}"},
    "mosaic:4": {"brush": "mosaic:4"},
    "strokes:3000": {"brush": "strokes:3000"},
    "robust": {"robust": True},
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--artwork", required=True)
    options.add_argument("--style-picture", required=True)
    options.add_argument("--batch-size", type=int, default=8)
    options.add_argument("--rounds", type=int, default=25)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    named = {"{artwork}": args.artwork, "{artwork}:24": f"{args.artwork}:24", "{style}": args.style_picture}
    arms = {}
    for title, looks in LOOKS.items():
        given = {name: named.get(value, value) if isinstance(value, str) else value for name, value in looks.items()}
        arms[title] = Arm("art", args.model, 64, args.dtype, {"start": args.artwork} | given)
    # Three rounds, till prices and caches have settled.
    found = interleaved(arms, args.rounds, batches(args.task, args.batch_size), warm=3)
    print(f"{args.model}, {args.task} in batches of {args.batch_size}, 64 tokens, {args.dtype}; {describe()}")
    print("                  seconds a step   of a plain canvas")
    for title, took in found.items():
        print(f"  {title:16} {took:14.3f} {took / found['plain']:19.3f}")
    if args.json:
        ratios = {f"{title}/plain".replace(" ", "-"): took / found["plain"] for title, took in found.items()}
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
