"""Controls: what needs no training, and what a painting has to beat.

Texts are put into the prompts, pictures are shown as they are. A random string and a grey or noise picture take as much
room as a painting; an instruction and worked examples are what one writes who has none.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from arttune.canvas import Painting
from arttune.compare.plan import Cell, Comparison
from arttune.errors import BadInput
from arttune.loading import shown
from arttune.models import Loaded
from arttune.objectives import Problems
from arttune.prompts import with_instruction, with_prefix
from arttune.style.starts import start_pixels
from arttune.tasks import Problem, Task
from arttune.tasks.task import Message
from arttune.tuner import ArtConfig

PICTURES = {"blank": "grey", "noise": "noise"}

Put = Callable[[Problem], Problem]


@contextmanager
def seeing(plan: Comparison, cell: Cell, loaded: Loaded, canvas: ArtConfig) -> Iterator[tuple[Any, int]]:
    """The model as a control has it, and how many tokens its picture is, 0 for none."""
    if cell.name not in ("blank", "noise", "artwork"):
        yield loaded.model, 0
        return
    start = PICTURES.get(cell.name) or str(plan.artwork)
    model = shown(loaded.model, Painting(start_pixels(start, canvas.canvas_size, canvas.ground, cell.seed)))
    try:
        yield model, canvas.tokens
    finally:
        model.unload()


def wording(
    plan: Comparison, cell: Cell, loaded: Loaded, canvas: ArtConfig, problems: Problems, right: Callable[[Put], int]
) -> Put:
    """How a control words a problem. `right` says how many validation problems a wording gets right."""
    if cell.name == "instruction":
        tried: list[Put] = [told(text) for text in plan.instructions]
        return tried[0] if len(tried) == 1 else max(tried, key=right)
    if cell.name == "few-shot":
        examples = random.Random(cell.seed).sample(solved(plan, problems), plan.shots)
        return lambda one: replace(one, prompt=with_examples(one, examples))
    if cell.name == "random-string":
        text = random_string(loaded.tokenizer, canvas.tokens, cell.seed)
        return lambda one: replace(one, prompt=with_prefix(one.prompt, text))
    return lambda one: one


def told(instruction: str) -> Put:
    """Problems that end with an instruction."""
    return lambda one: replace(one, prompt=with_instruction(one.prompt, instruction))


def solved(plan: Comparison, problems: Problems) -> list[Problem]:
    """The training problems that can be worked examples, replies and all. Raises `BadInput` for fewer than `shots`."""
    told_right = ((one, solution(problems.task, one)) for one in problems.train)
    found = [replace(one, completion=reply) for one, reply in told_right if reply is not None]
    if len(found) < plan.shots:
        raise BadInput(f"shots is {plan.shots}, but {len(found)} training problems have a reply that is right")
    return found


def solution(task: Task, problem: Problem) -> str | None:
    """A reply to a training problem that the task's own grade finds right: the worked one, or else the answer."""
    told = (problem.completion, problem.columns.get("chosen"), problem.answer, f"Answer: {problem.answer}")
    return next((one for one in told if isinstance(one, str) and task.grade(problem, one).correct), None)


def with_examples(problem: Problem, examples: list[Problem]) -> list[Message]:
    """The conversation with problems and their completions before it, as earlier turns.

    What their system turns say is theirs too.
    """
    first = 1 if problem.prompt[0]["role"] == "system" else 0
    before: list[Message] = []
    for one in examples:
        system = one.prompt[0]["content"] if one.prompt[0]["role"] == "system" else None
        turns = one.prompt[system is not None :]
        before += with_prefix(turns, f"{system}\n") if system else turns
        before.append({"role": "assistant", "content": str(one.completion)})
    return [*problem.prompt[:first], *before, *problem.prompt[first:]]


def random_string(tokenizer: PreTrainedTokenizerBase, tokens: int, seed: int) -> str:
    """A text that the tokenizer reads as so many tokens, drawn from its vocabulary."""
    chance, special = random.Random(seed), set(tokenizer.all_special_ids)
    ids: list[int] = []
    while len(ids) < tokens:
        more = [one for one in (chance.randrange(len(tokenizer)) for _ in range(tokens)) if one not in special]
        text = str(tokenizer.decode([*ids, *more]))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:tokens]
        if tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] != ids:
            ids = []
    return str(tokenizer.decode(ids))
