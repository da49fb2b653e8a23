"""A painting at work on a stock server: how to start one, and what to send it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from arttune.canvas import Painting
from arttune.errors import BadInput
from arttune.models import load_model, source_of
from arttune.prompts import worded
from arttune.rollouts.server import with_uri
from arttune.tasks import Message, get_task

FLAGS = (
    *("--limit-mm-per-prompt", '{"image": 1, "video": 0}'),
    # What a policy gradient needs: the log-probabilities that were sampled from, whatever the temperature.
    *("--logprobs-mode", "processed_logprobs"),
)
ANY = [{"role": "user", "content": "What is 7 + 5?\n\nEnd your response with: Answer: <number>"}]


def start_line(model: str, port: int) -> str:
    """The shell command that starts vLLM with a model, embedded, local or of the hub. Raises `BadInput`."""
    return shlex.join(["vllm", "serve", source_of(model), "--served-model-name", model, "--port", str(port), *FLAGS])


def request_line(path: Path, model: str, port: int, question: str | None) -> str:
    """The shell command that asks that server something with the painting `path` in place.

    `question` stands in for the first problem of the painting's task. Raises `BadInput`.
    """
    made = Painting.load(path).provenance
    asked = [{"role": "user", "content": question}] if question else _first_problem(made.task if made else None, model)
    mark = "data:image/png;base64,"
    template = {"chat_template_kwargs": made.template} if made and made.template else {}
    asks = {"model": model, "messages": with_uri(asked, mark), "temperature": 0, "max_tokens": 256}
    body = json.dumps(asks | template)
    # printf is part of the shell, so the picture may be longer than a command line.
    text = body.replace("\\", "\\\\").replace("%", "%%").replace(f'"{mark}"', f'"{mark}%s"')
    return (
        f"printf {shlex.quote(text)} \"$(base64 < {shlex.quote(str(path))} | tr -d '\\n')\" |\n"
        f"  curl -s http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' -d @-"
    )


def _first_problem(task: str | None, model: str) -> list[Message]:
    """The first held-out problem of the task as `model` is asked it, or a sum where its data is not here."""
    try:
        first = get_task(task).load("test")[0] if task else None
        if first is not None and first.tools:
            (first,) = worded([first], load_model(model, "auto", weightless=True).tokenizer)
        return first.prompt if first else ANY
    except BadInput:
        return ANY
