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
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from arttune.decoding import decoded, growing
from arttune.filling import Filling
from arttune.machine import make_room
from arttune.prompts import with_picture
from arttune.tasks.task import Problem, Task

Z95 = 1.959963984540054


def wilson(correct: float, n: float) -> tuple[float, float]:
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


@dataclass(frozen=True)
class Decoding:
    """How answers are made: greedily, by the likeliest token each time.

    `batch_size` is how many problems are answered at once at most, and fewer where padded prompts and answers came to
    more than `batch_tokens`: keys, values and activations grow with those. `presence_penalty` is what a token loses in
    logits once the answer has it, as with vLLM's setting of that name.
    """

    max_new_tokens: int
    batch_size: int = 150
    presence_penalty: float = 0.0
    batch_tokens: int = 2**17

    def batches(self, lengths: Sequence[int]) -> Iterator[slice]:
        """Cuts rows of ascending `lengths`, in tokens, into batches of at least one row."""
        start, n = 0, len(lengths)
        while start < n:
            end = start + 1
            while end < min(n, start + self.batch_size) and self._padded(end + 1 - start, lengths[end]):
                end += 1
            yield slice(start, end)
            start = end

    def _padded(self, rows: int, longest: int) -> bool:
        """Whether so many rows, padded to the longest, are within `batch_tokens`."""
        return rows * (longest + self.max_new_tokens) <= self.batch_tokens


class Presence(LogitsProcessor):
    """The presence penalty: of tokens that stand at `start` or later."""

    def __init__(self, penalty: float, start: int) -> None:
        self.penalty, self.start = penalty, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores `(rows, vocabulary)` of the next token."""
        there = torch.zeros_like(scores).scatter_(1, input_ids[:, self.start :], self.penalty)
        return scores - there


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


def plainly(own: GenerationConfig, pad_token_id: int | None, **further: Any) -> GenerationConfig:
    """Greedy settings that have the end tokens of a checkpoint's `own` but not its penalty on repetition.

    That is neither what was trained nor what a server is asked for. `generate` takes from `own` what is not said here.
    """
    return GenerationConfig(
        do_sample=False,
        repetition_penalty=1.0,
        pad_token_id=pad_token_id,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        **further,
    )


def _soft_tokens(model: Any) -> int:
    """How many tokens of a soft prompt stand before each row."""
    soft = isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning
    return model.active_peft_config.num_virtual_tokens if soft else 0


def greedy(model: Any, prompt: dict[str, Any], decoding: Decoding, pad_token_id: int | None) -> torch.Tensor:
    """The likeliest continuations `(rows, new tokens)` of a left-padded `prompt`, as `generate` takes it."""
    plain = plainly(model.generation_config, pad_token_id, max_new_tokens=decoding.max_new_tokens)
    soft = _soft_tokens(model) > 0
    given = (_behind_soft_prompt(model, prompt) if soft else prompt) | {"generation_config": plain}
    width = 0 if soft else prompt["input_ids"].shape[1]
    if decoding.presence_penalty:
        given["logits_processor"] = LogitsProcessorList([Presence(decoding.presence_penalty, width)])
    with _contiguous_head(model):
        if soft:
            base = model.get_base_model()
            found = base.generate(**given)
            base.base_model.rope_deltas = None  # the next forward pass, of embeddings without tokens, would trust them
            return found
        tuned = isinstance(model, PeftModel) and not isinstance(model.base_model, LoraModel)
        if tuned or prompt.keys() - {"input_ids", "attention_mask"}:  # there is more to a row than its tokens
            output = model.generate(**given)
        else:
            base = model.get_base_model() if isinstance(model, PeftModel) else model
            given |= Filling()(base, given) or {"past_key_values": growing(base.base_model.language_model.config)}
            output = decoded(base, given)
    return output[:, width:]


def _behind_soft_prompt(model: PeftModel, prompt: dict[str, Any]) -> dict[str, Any]:
    """Left-padded rows as embeddings, the soft prompt right before the text, as it is in training.

    PEFT's own `generate` would put the padding between them.
    """
    ids, mask = prompt["input_ids"], prompt["attention_mask"]
    soft = model.get_prompt(batch_size=len(ids))
    text = model.get_base_model().get_input_embeddings()(ids)
    count, lead = soft.shape[1], mask.argmax(dim=1)[:, None]
    at = torch.arange(count + ids.shape[1], device=ids.device).expand(len(ids), -1)
    taken = torch.where(at < lead, at + count, torch.where(at < lead + count, at - lead, at))
    whole = torch.cat([soft.to(text.dtype), text], dim=1)
    return {
        "inputs_embeds": whole.gather(1, taken[:, :, None].expand_as(whole)),
        "attention_mask": (at >= lead).long(),
    }


@torch.inference_mode()
def answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    decoding: Decoding,
    picture_tokens: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[list[str], int]:
    """Greedy completions in the order of `problems`, and how many tokens were read and written in all.

    `picture_tokens` is the canvas's token count, 0 for the text alone. Prompts of similar length share a batch, which
    is fixed by the problems themselves: the same problems give the same answers.
    """
    shown = [with_picture(p.prompt, picture_tokens) if picture_tokens else p.prompt for p in problems]
    texts = [tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in shown]
    soft = _soft_tokens(model)
    lengths = [soft + len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: (lengths[i], i))
    found: list[str] = [""] * len(texts)
    tokens, done = soft * len(texts), 0
    for cut in decoding.batches([lengths[i] for i in order]):
        chosen = order[cut]
        batch = tokenizer(
            [texts[i] for i in chosen],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(model.device)
        prompt = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        fresh = greedy(model, prompt, decoding, tokenizer.pad_token_id)
        tokens += int(batch["attention_mask"].sum()) + int((fresh != tokenizer.pad_token_id).sum())
        for i, text in zip(chosen, tokenizer.batch_decode(fresh, skip_special_tokens=True), strict=True):
            found[i] = text.strip()
        done += len(chosen)
        make_room()
        progress(done)
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
    decoding: Decoding | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Score, list[Sample]]:
    """Score `model` on `problems`; see `answers`. `decoding` is by default as long as the task's answers may be."""
    begun = time.perf_counter()
    was_training = model.training
    model.eval()
    texts, tokens = answers(
        model,
        tokenizer,
        problems,
        decoding or Decoding(task.max_new_tokens),
        picture_tokens,
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
