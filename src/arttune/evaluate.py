"""Scores: greedy answers to held-out problems, strictly graded, with a 95 % Wilson interval."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from peft import LoraModel, PeftModel
from transformers import GenerationConfig, PreTrainedTokenizerBase

from arttune.decoding import decoded, growing
from arttune.filling import Filling
from arttune.prompts import with_picture
from arttune.tasks.task import Problem, Task

Z95 = 1.959963984540054


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), as fractions; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = correct / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends the formula gives exactly 0 or 1, but for rounding.
    return centre - half if correct else 0.0, centre + half if correct < n else 1.0


@dataclass
class Score:
    """One line of every table: who was scored on what, and how it went. Times in seconds, tokens all told."""

    task: str
    split: str
    n: int
    correct: int
    accuracy: float
    ci95: tuple[float, float]
    format_rate: float
    model: str
    adapter: str
    seed: int
    seconds: float
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"ci95": list(self.ci95)}


@dataclass
class Sample:
    """One graded answer."""

    question: str
    answer: str | None
    completion: str
    correct: bool
    formatted: bool


@contextmanager
def _contiguous_head(model: Any) -> Iterator[None]:
    """Within the block the vocabulary projection gets a contiguous input.

    In a prefill, `generate` slices out the last position, and on CPU torch multiplies such a strided slice as a batch
    of single rows, copying the whole projection for each: half of an evaluation's time.
    """
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0].contiguous(),))
    try:
        yield
    finally:
        hook.remove()


def greedy(model: Any, prompt: dict[str, Any], max_new_tokens: int, pad_token_id: int | None) -> torch.Tensor:
    """The likeliest continuations `(rows, new tokens)` of a left-padded `prompt`, as `generate` takes it.

    Of the checkpoint's own generation settings only its end tokens count: some penalise repetition, which is neither
    what was trained nor what a server is asked for.
    """
    own = model.generation_config
    plain = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=pad_token_id,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
    )
    given = prompt | {"generation_config": plain}
    with _contiguous_head(model):
        tuned = isinstance(model, PeftModel) and not isinstance(model.base_model, LoraModel)
        if tuned or prompt.keys() - {"input_ids", "attention_mask"}:  # there is more to a row than its tokens
            output = model.generate(**given)
        else:
            base = model.get_base_model() if isinstance(model, PeftModel) else model
            given |= Filling()(base, given) or {"past_key_values": growing(base.base_model.language_model.config)}
            output = decoded(base, given)
    return output[:, given["input_ids"].shape[1] :]


@torch.inference_mode()
def answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    max_new_tokens: int,
    picture_tokens: int = 0,
    batch_size: int = 150,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[list[str], int]:
    """Greedy completions in the order of `problems`, and how many tokens were read and written in all.

    `picture_tokens` is the canvas's token count, 0 for the text alone. Prompts of similar length share a batch, which
    is fixed by the problems themselves: the same problems give the same answers.
    """
    shown = [with_picture(p.prompt, picture_tokens) if picture_tokens else p.prompt for p in problems]
    texts = [tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in shown]
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    found: list[str] = [""] * len(texts)
    tokens = 0
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = tokenizer(
            [texts[i] for i in chosen],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(model.device)
        prompt = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        fresh = greedy(model, prompt, max_new_tokens, tokenizer.pad_token_id)
        tokens += int(batch["attention_mask"].sum()) + int((fresh != tokenizer.pad_token_id).sum())
        for i, text in zip(chosen, tokenizer.batch_decode(fresh, skip_special_tokens=True), strict=True):
            found[i] = text.strip()
        progress(min(start + batch_size, len(order)))
    return found, tokens


def evaluate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: Sequence[Problem],
    *,
    split: str,
    model_name: str,
    adapter: str,
    seed: int,
    picture_tokens: int = 0,
    max_new_tokens: int | None = None,
    batch_size: int = 150,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Score, list[Sample]]:
    """Score `model` on `problems`; see `answers` for the decoding."""
    begun = time.perf_counter()
    was_training = model.training
    model.eval()
    texts, tokens = answers(
        model,
        tokenizer,
        problems,
        max_new_tokens or task.max_new_tokens,
        picture_tokens,
        batch_size,
        progress,
    )
    model.train(was_training)
    samples = [graded(task, problem, text) for problem, text in zip(problems, texts, strict=True)]
    seconds = time.perf_counter() - begun
    score = scored(
        task,
        samples,
        split=split,
        model_name=model_name,
        adapter=adapter,
        seed=seed,
        seconds=seconds,
        tokens=tokens,
    )
    return score, samples


def graded(task: Task, problem: Problem, text: str) -> Sample:
    """`text` as an answer to `problem`, graded strictly."""
    grade = task.grade(problem, text)
    return Sample(problem.question, problem.answer, text, grade.correct, grade.formatted)


def scored(
    task: Task,
    samples: Sequence[Sample],
    *,
    split: str,
    model_name: str,
    adapter: str,
    seed: int,
    seconds: float,
    tokens: int,
) -> Score:
    """The score that graded answers make."""
    n, correct = len(samples), sum(s.correct for s in samples)
    return Score(
        task=task.name,
        split=split,
        n=n,
        correct=correct,
        accuracy=correct / n if n else 0.0,
        ci95=wilson(correct, n),
        format_rate=sum(s.formatted for s in samples) / n if n else 0.0,
        model=model_name,
        adapter=adapter,
        seed=seed,
        seconds=round(seconds, 3),
        tokens=tokens,
    )
