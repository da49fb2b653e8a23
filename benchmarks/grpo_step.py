"""Where the time of a GRPO step goes, and what has to travel for it: the picture, against an adapter or the weights.

    scripts/vllm_cpu.sh serve MODEL --port 8000 &
    export ARTTUNE_DATA=FOLDER
    python benchmarks/grpo_step.py --rollouts http://127.0.0.1:8000 | tee benchmarks/grpo_step.txt

A short run on SVAMP with rollouts from the server. `rollout` is the time until all completions are there; of it,
`encoding` is what it takes to make a PNG of the canvas, and `picture` what one adds to a request for a single token:
carrying it, and the server's own look at it. `training` is the rest of the step. Bytes are those of all the pictures
sent in a step, of a LoRA adapter of rank 16 on all linear layers of the same model, and of its weights, as they are
saved in the model's precision.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from openai import OpenAI
from peft import LoraConfig, get_peft_model

from arttune import training
from arttune.canvas import Painting
from arttune.machine import describe
from arttune.models import load_model
from arttune.rollouts.server import data_uri, with_uri
from arttune.settings import Settings


def transfer(url: str, art: Path, times: int) -> tuple[float, float]:
    """Seconds that a picture takes to encode, and that it adds to a request; medians of `times`."""
    client = OpenAI(base_url=f"{url.rstrip('/')}/v1", api_key="none")
    model = client.models.list().data[0].id
    painting, asked = Painting.load(art), [{"role": "user", "content": "Say yes."}]
    encoding, found = [], []
    for i in range(times):
        # A server keeps what it has seen of a picture, so each is a little different.
        painting.pixels[0, 0, 0] = i
        begun = time.perf_counter()
        uri = data_uri(painting.png())
        encoding.append(time.perf_counter() - begun)
        seconds = []
        for shown in (True, False):
            begun = time.perf_counter()
            messages = with_uri(asked, uri) if shown else asked
            client.chat.completions.create(model=model, messages=messages, max_tokens=1)
            seconds.append(time.perf_counter() - begun)
        found.append(seconds[0] - seconds[1])
    return statistics.median(encoding), statistics.median(found)


def saved(model: object) -> int:
    """Bytes of what `save_pretrained` writes as tensors."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", required=True, help="URL of the server")
    parser.add_argument("--model", default="smol")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        # Noise is as hard to compress as a painting gets.
        same = {"model": args.model, "task": "svamp", "objective": "grpo", "rollouts": args.rollouts, "start": "noise"}
        few = {"steps": args.steps, "batch_size": args.batch_size, "validation": 0, "test_limit": 1}
        training.train(Settings(**same, **few), out)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][1:]
        encoding, carried = transfer(args.rollouts, out / "art.png", 9)
    step = statistics.median(line["step_time"] for line in lines)
    rollout = statistics.median(line["rollout/seconds"] for line in lines)
    picture = int(lines[0]["rollout/picture_bytes"])
    model = load_model(args.model).model
    weights = saved(model)
    lora = saved(get_peft_model(model, LoraConfig(r=16, target_modules="all-linear")))
    gap = statistics.mean(line["sampling/sampling_logp_difference/mean"] for line in lines)
    print(describe())
    print(f"a step of {args.batch_size} completions: {step:.2f} s, of which")
    for name, seconds in (
        ("rollout", rollout),
        ("  encoding", encoding),
        ("  picture", carried),
        ("training", step - rollout),
    ):
        print(f"  {name:12} {seconds:7.3f} s  {seconds / step:6.1%}")
    print(f"bytes a step: pictures {picture:,}, LoRA adapter {lora:,}, weights {weights:,}")
    print(f"mean distance of log-probabilities from the server's: {gap:.4f}")
    if args.json:
        ratios = {"picture/lora bytes": picture / lora, "picture/weights bytes": picture / weights}
        ratios |= {"rollout/step": rollout / step, "encoding/step": encoding / step, "picture/step": carried / step}
        args.json.write_text(json.dumps({"ratios": ratios, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
