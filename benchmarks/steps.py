"""Training steps of several kinds of adapter on the same problems, for `step_time.py` and `scaling.py`.

All have the same frozen model in the same precision and TRL's head. LoRA and soft prompt are PEFT's; they read the text
without a picture. Each is as fast as it can be made here: what follows the backbone sees labelled positions alone (on a
CPU TRL's head would go through the vocabulary at every position; so it does in `trl lora`), and LoRA's weights have the
model's precision. Those of `float32 lora` are PEFT's default.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from trl.trainer.utils import add_fused_lm_head

from arttune import ArtConfig
from arttune.adapters import LINEAR
from arttune.models import Loaded, load_model
from arttune.objectives.head import suit_cpu
from arttune.objectives.sft import ByLength
from arttune.optimizer import CanvasMuon
from arttune.prompts import with_picture
from arttune.tasks import Problem, get_task
from arttune.tree import stand_in
from arttune.tuner import ArtModel, art_layer

Batch = dict[str, torch.Tensor]
RANK = 16


def parser(about: str | None) -> argparse.ArgumentParser:
    """The options that both benchmarks have."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="smol")
    made.add_argument("--task", default="svamp")
    made.add_argument("--dtype", default="bfloat16")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--json", type=Path)
    made.add_argument("--plot", type=Path)
    return made


class Naive(torch.nn.Module):
    """A trainable picture without arttune: it is a part of every row, as a processor would have it."""

    def __init__(self, model: Any, art: Any) -> None:
        super().__init__()
        self.model, self.family = model, art.family
        self.canvas = torch.nn.Parameter(art.pixels().detach().clone())

    def forward(self, input_ids: torch.Tensor, **inputs: Any) -> Any:
        """The model's forward on pixels."""
        rows, size = len(input_ids), (self.canvas.shape[1], self.canvas.shape[2])
        grid = torch.tensor([self.family.grid(size)], device=input_ids.device)
        return self.model(
            input_ids=input_ids,
            mm_token_type_ids=(input_ids == self.model.config.image_token_id).long(),
            pixel_values=self.family.patches(self.canvas).repeat(rows, 1),
            image_grid_thw=grid.repeat(rows, 1),
            **inputs,
        )


class Arm:
    """One kind of adapter on a model of its own, ready to be trained."""

    def __init__(self, name: str, source: str, tokens: int, dtype: str, looks: dict[str, Any] | None = None) -> None:
        self.name, self.tokens, self.looks = name, tokens, looks or {}
        self.loaded: Loaded = load_model(source, dtype)
        base = self.loaded.model
        if base.device.type == "cpu":
            suit_cpu()
        add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))
        self.shows = name in ("art", "unshared", "naive")
        self.model, self.optimizer = self._adapted(base)
        self.model.train()

    def _adapted(self, base: Any) -> tuple[Any, torch.optim.Optimizer]:
        if self.name.endswith("lora"):
            config = LoraConfig(r=RANK, target_modules=LINEAR, task_type="CAUSAL_LM")
            model = get_peft_model(base, config, autocast_adapter_dtype=self.name.startswith("float32"))
            return model, torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-4)
        if self.name == "soft prompt":
            model = get_peft_model(base, PromptTuningConfig(num_virtual_tokens=self.tokens, task_type="CAUSAL_LM"))
            return model, torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
        side = round(self.tokens**0.5) * self.loaded.family.unit
        model = get_peft_model(base, ArtConfig(family=self.loaded.family.name, size=(side, side), **self.looks))
        layer = art_layer(model)
        if self.name == "naive":
            naive = Naive(model.unload(), layer)
            return naive, CanvasMuon([naive.canvas], 0.02, unit=layer.family.unit)
        return model, CanvasMuon([layer.canvas().weight], 0.02, unit=layer.family.unit)

    def batch(self, problems: list[Problem]) -> Batch:
        """Token ids, mask and labels of the completions alone, padded on the right."""
        tokenizer, rows = self.loaded.tokenizer, []
        for problem in problems:
            turns = with_picture(problem.prompt, self.tokens) if self.shows else problem.prompt
            answer = [{"role": "assistant", "content": problem.completion}]
            prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            whole = tokenizer.apply_chat_template([*turns, *answer], tokenize=False)
            rows.append((len(tokenizer(prompt, add_special_tokens=False)["input_ids"]), whole))
        read = tokenizer([whole for _, whole in rows], return_tensors="pt", padding=True, add_special_tokens=False)
        made = {name: read[name] for name in ("input_ids", "attention_mask")}
        made["labels"] = made["input_ids"].masked_fill(made["attention_mask"] == 0, -100)
        for labels, (length, _) in zip(made["labels"], rows, strict=True):
            labels[:length] = -100
        return {name: value.to(self.loaded.model.device) for name, value in made.items()}

    def backward(self, batch: Batch) -> None:
        """Forward and backward pass."""
        how = {"use_cache": False, "fused_lm_head": True}
        if self.name in ("art", "trl lora"):
            self.model(**batch, **how).loss.backward()
        elif self.name == "unshared":
            with patch.object(ArtModel, "_may_share", lambda *_: False):
                self.model(**batch, **how).loss.backward()
        else:
            given, labels = batch.copy(), batch["labels"][:, 1:]
            del given["labels"]
            rows, columns = (labels != -100).nonzero(as_tuple=True)
            before = self.tokens if self.name == "soft prompt" else 0
            wanted = rows[None], columns[None] + before
            with stand_in(self.loaded.model.base_model, wanted):
                self.model(**given, shift_labels=labels[rows, columns][None], **how).loss.backward()

    def step(self, batch: Batch) -> float:
        """One training step; its seconds."""
        begun = time.perf_counter()
        self.backward(batch)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    def flops(self, batch: Batch) -> int:
        """Floating-point operations of one forward and backward pass, as torch counts them."""
        with FlopCounterMode(display=False) as counter:
            self.backward(batch)
        self.optimizer.zero_grad()
        return int(counter.get_total_flops())


def batches(task: str, size: int, words: int = 0, seed: int = 0) -> Iterator[list[Problem]]:
    """Training problems in batches of like length, as `sft` has them; with `words` more in front of each question."""
    problems = [problem for problem in get_task(task).load("train") if problem.completion]
    if words:
        filler = " ".join(itertools.islice(itertools.cycle(re.findall(r"\w+", problems[0].question)), words))
        problems = [
            Problem(**vars(one) | {"prompt": [{"role": "user", "content": f"{filler}. {one.prompt[-1]['content']}"}]})
            for one in problems
        ]
    order = ByLength([len(one.prompt[-1]["content"]) for one in problems], size, seed)

    def epoch(number: int) -> Iterator[int]:
        order.set_epoch(number)
        return iter(order)

    rows = itertools.chain.from_iterable(map(epoch, itertools.count()))
    while True:
        yield [problems[row] for row in itertools.islice(rows, size)]


def interleaved(arms: Mapping[str, Arm], rounds: int, work: Iterator[list[Problem]], warm: int = 1) -> dict[str, float]:
    """Median seconds a step of each arm. They take turns on the same batches, after `warm` rounds to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + warm):
        problems = next(work)
        for name, arm in arms.items():
            taken = arm.step(arm.batch(problems))
            if turn >= warm:
                seconds[name].append(taken)
    return {name: statistics.median(found) for name, found in seconds.items()}


def rate(dtype: torch.dtype, device: torch.device, side: int = 2048) -> float:
    """Floating-point operations a second of square matrix products: what the machine can do at best."""
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    times = []
    for _ in range(12):
        begun = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return 2 * side**3 / statistics.median(times[2:])


def peak(work: Callable[[], Any], device: torch.device) -> int:
    """The most bytes in use during `work`, all told: on a GPU of torch's, on Linux of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far (man 5 proc)
    work()
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024
