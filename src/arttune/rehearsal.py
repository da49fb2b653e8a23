"""A dry run: all that can be known of a run before it is one, from its settings and the model's shapes alone.

The problems are read and checked, worded and counted in tokens as they will be; the weights are not loaded. Memory is
an estimate: weights, what is trained with its gradient and the optimiser's two moments, and the larger of what a
backward pass keeps and what rollouts or scoring take at once.
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass, replace
from typing import Any

from peft import get_peft_model

from arttune import adapters, training
from arttune.evaluate import Decoding
from arttune.machine import device, precision, total_memory
from arttune.models import Loaded
from arttune.objectives.grpo import MODEL
from arttune.prompts import PAD, lengths, with_picture
from arttune.settings import Settings
from arttune.style.brushes import brush
from arttune.style.starts import start_pixels
from arttune.tuner import ArtConfig

BYTES = {"bfloat16": 2, "float32": 4}
GIB = 2**30
RECURRENT = "linear_attention"  # transformers' name for the kind of a layer
GRADED = 200  # supervised answers that are put to the task's own grade
ROOM = 0.8  # of a machine's memory; the rest is for what the estimate leaves out


@dataclass(frozen=True)
class Lengths:
    """Tokens of many texts: the middle and the longest one."""

    middle: int
    longest: int

    @classmethod
    def of(cls, lengths: list[int]) -> Lengths:
        """From each text's own."""
        return cls(round(statistics.median(lengths)), max(lengths))

    def __str__(self) -> str:
        return f"{self.middle:,} (at most {self.longest:,})"


@dataclass(frozen=True)
class Memory:
    """Bytes of a run at its peak."""

    weights: int
    trained: int
    kept: int  # for the backward pass of one forward pass
    answering: int  # what is sampled or scored at once: keys and values, and what one layer makes of them all

    @property
    def peak(self) -> int:
        """All that is there at once."""
        return self.weights + self.trained + max(self.kept, self.answering)


@dataclass(frozen=True)
class Rehearsal:
    """What a run will be."""

    settings: Settings
    about: str  # the task
    problems: dict[str, int]
    graded: tuple[int, int]  # of how many supervised answers the task's own grade finds how many right
    canvas: tuple[int, int]  # height and width
    picture: int  # tokens
    parameters: int
    trained: int
    prompt: Lengths
    answer: Lengths  # in grpo the longest that may be sampled
    longest: int  # tokens of the longest row
    step: int  # tokens that a step trains on, of median problems
    sampled: int  # tokens that the rollouts of the run may write
    memory: Memory
    first: str

    def lines(self) -> list[tuple[str, str]]:
        """What it is and how much, to read."""
        s, m = self.settings, self.memory
        told = ", ".join(f"{n:,} {name}" for name, n in self.problems.items())
        right, tried = self.graded
        contract = f"; of {tried} supervised answers {right} are graded right" if tried else "; no supervised answers"
        shape = f", picture {self.picture} (3 x {self.canvas[0]} x {self.canvas[1]} pixels)"
        rows = f"{s.rows} rows in {s.accumulate} pass{'es' if s.accumulate > 1 else ''}"
        found = [
            ("task", f"{s.task}, {self.about}"),
            ("problems", told + contract),
            ("model", f"{s.model}: {self.parameters / 1e6:,.0f} M parameters, {s.dtype}"),
            ("adapter", f"{s.adapter}: {self.trained:,} numbers are trained, at a rate of {s.rate:g}"),
            (
                "tokens",
                f"prompt {self.prompt}, answer {self.answer}" + (shape if s.adapter == adapters.ART else ""),
            ),
            ("step", f"{rows} of at most {self.longest:,} tokens: about {self.step:,} tokens"),
            ("run", f"{s.steps:,} steps: about {self.step * s.steps / 1e6:,.2f} M tokens trained on"),
        ]
        if self.sampled:
            found.append(("rollouts", f"{s.generations} for each problem, at most {self.sampled / 1e6:,.2f} M tokens"))
        parts = (
            f"weights {_gib(m.weights)}, adapter {_gib(m.trained)}, "
            f"backward {_gib(m.kept)}, answering {_gib(m.answering)}"
        )
        there = total_memory()
        if m.peak > ROOM * there:
            parts += f"; too much for the {_gib(there)} here: a smaller batch_size with a larger accumulate takes less"
        return [*found, ("memory", f"about {_gib(m.peak)} ({parts})"), ("first prompt", self.first)]


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


def rehearse(settings: Settings, crowded: bool = False) -> Rehearsal:
    """Everything but the run. Raises `BadInput` for what is wrong with settings, problems, model or canvas.

    `crowded` says that longer prompts will be scored too, worked examples or another task's: as many tokens at once as
    scoring ever takes.
    """
    settings = replace(settings, dtype=precision(settings.dtype))
    problems, loaded = training.opened(settings, weightless=True)
    canvas = training.canvas_config(settings, problems, loaded)
    paints = settings.adapter == adapters.ART
    shown = canvas.tokens if settings.adapter != adapters.LORA else 0
    prompts = Lengths.of(lengths(problems.train, loaded.tokenizer))
    most = settings.max_new_tokens or problems.task.max_new_tokens
    sampling = settings.objective == "grpo"
    if sampling:
        answers = Lengths(most, most)
    else:
        texts = [str(one.columns.get("chosen", one.completion)) for one in problems.train]
        answers = Lengths.of([len(ids) for ids in loaded.tokenizer(texts, add_special_tokens=False)["input_ids"]])
    twice = 2 if settings.objective == "dpo" else 1
    rows = settings.batch_size * twice
    text = prompts.middle + answers.middle
    parameters = sum(one.numel() for one in loaded.model.parameters())
    trained = _trained(settings, canvas, loaded)
    size = BYTES[settings.dtype]
    longest = prompts.longest + answers.longest
    # A picture's tokens run once for all rows, a soft prompt's in each; LoRA has none.
    picture = shown if paints else rows * shown
    row = prompts.longest + most + shown
    scoring = Decoding(most)
    scored = min(len(problems.test), scoring.batch_size, max(1, scoring.batch_tokens // row))
    sampled = settings.rows * row if sampling and settings.rollouts == MODEL else 0
    at_once = max(sampled, scoring.batch_tokens if crowded else scored * row)
    memory = Memory(
        weights=parameters * size,
        trained=trained * 16,
        kept=(rows * longest + picture) * kept_a_token(loaded, settings.adapter, size, longest + shown),
        answering=at_once * _answering_a_token(loaded, size),
    )
    worked = [one for one in problems.train if one.completion is not None][:GRADED]
    turns = problems.train[0].prompt
    worded = str(
        loaded.tokenizer.apply_chat_template(
            with_picture(turns, shown) if paints else turns, tokenize=False, add_generation_prompt=True
        )
    )
    return Rehearsal(
        settings=settings,
        about=problems.task.about,
        graded=(sum(problems.task.grade(one, str(one.completion)).correct for one in worked), len(worked)),
        canvas=canvas.canvas_size,
        problems={
            "training": len(problems.train),
            "validation": len(problems.validation),
            "test problems": len(problems.test),
        },
        picture=shown,
        parameters=parameters,
        trained=trained,
        prompt=prompts,
        answer=answers,
        longest=longest + shown,
        step=settings.accumulate * (rows * text + picture),
        sampled=settings.steps * settings.rows * most if sampling else 0,
        memory=memory,
        first=re.sub(f"(?:{re.escape(PAD)})+", f"({shown} x {PAD})", worded),
    )


def _trained(settings: Settings, canvas: ArtConfig, loaded: Loaded) -> int:
    if settings.adapter == adapters.ART:
        begun = start_pixels(canvas.start, canvas.canvas_size, canvas.ground, canvas.seed)
        painted = brush(canvas.brush, canvas.canvas_size, canvas.seed)
        return begun.numel() if painted is None else painted.begin(begun).numel()
    model = get_peft_model(loaded.model, adapters.configured(settings.adapter, canvas, settings.rank))
    found = sum(one.numel() for one in model.parameters() if one.requires_grad)
    adapters.without(model)
    return found


def kept_a_token(loaded: Loaded, adapter: str, size: int, sees: int) -> int:
    """Bytes that the text model keeps of each token of a row of `sees` tokens for the backward pass.

    What operations save whose weights are frozen, in numbers of `size` bytes: the norms' inputs (in float32), queries,
    keys, values and output of attention, on a CPU also its weights, gate and its activation and the other branch of
    the MLP; LoRA's also save the inputs of all projections (PEFT casts them to float32). tests/test_rehearsal.py
    compares with what autograd saves. Recurrent layers are counted by the widths of their projections, which is a
    guess.
    """
    text, head, kinds = _shape(loaded)
    hidden, inner = text.hidden_size, text.intermediate_size
    wide, narrow = text.num_attention_heads * head, text.num_key_value_heads * head
    inputs = 4 * (5 * hidden + wide + inner) if adapter == adapters.LORA else 0
    around = 2 * 4 * hidden + size * 3 * inner + inputs
    weights = text.num_attention_heads * sees if device() == "cpu" else 0
    attention = size * (2 * wide + 2 * narrow + weights)
    return sum(around + (_recurrent(text, size) if kind == RECURRENT else attention) for kind in kinds)


def _shape(loaded: Loaded) -> tuple[Any, int, list[str]]:
    """The text model's config, the width of its heads, and of which kind each layer is."""
    text = loaded.model.config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return text, head, getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers


def _recurrent(text: Any, size: int) -> int:
    keys = text.linear_num_key_heads * text.linear_key_head_dim
    values = text.linear_num_value_heads * text.linear_value_head_dim
    return 2 * size * (2 * keys + values) + 2 * 4 * (2 * keys + values) + (size + 4) * values


def _answering_a_token(loaded: Loaded, size: int) -> int:
    """Bytes of keys and values, and of the widest that a layer makes: gate, its activation and the other branch.

    Recurrent layers keep a state whose size does not grow.
    """
    text, head, kinds = _shape(loaded)
    layers = sum(kind != RECURRENT for kind in kinds)
    return size * int(layers * 2 * text.num_key_value_heads * head + 3 * text.intermediate_size)
