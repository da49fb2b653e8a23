"""A painting at work on a stock server: how to start one, and what to send it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from arttune.canvas import Painting
from arttune.errors import BadInput
from arttune.models import source_of
from arttune.rollouts.server import with_uri
from arttune.tasks import Message, get_task

FLAGS = (
    *("--limit-mm-per-prompt", '{"image": 1, "video": 0}'),
    # What a policy gradient needs: the log-probabilities that were sampled from, whatever the temperature.
    *("--logprobs-mode", "processed_logprobs"),
)
ANY = [{"role": "user", "content": "What is 7 + 5?\n\nEnd your response with: Answer: <number>"}]


def serve_command(path: Path, model: str | None, port: int, question: str | None) -> list[str]:
    """Two shell commands: vLLM's start line for the painting's model, and a request with the picture in place.

    `model` and `question` stand in for what the painting's provenance says. Raises `BadInput`.
    """
    made = Painting.load(path).provenance
    name = model or (made.model if made else None)
    if name is None:
        raise BadInput(f"{path} does not say which model it was painted for; name it with --model")
    start = ["vllm", "serve", source_of(name), "--served-model-name", name, "--port", str(port), *FLAGS]
    asked = [{"role": "user", "content": question}] if question else _first_problem(made.task if made else None)
    mark = "PICTURE"
    body = json.dumps({"model": name, "messages": with_uri(asked, mark), "temperature": 0, "max_tokens": 256})
    # printf is part of the shell, so the picture may be longer than a command line.
    text = body.replace("\\", "\\\\").replace("%", "%%").replace(mark, "data:image/png;base64,%s")
    send = (
        f"printf {shlex.quote(text)} \"$(base64 < {shlex.quote(str(path))} | tr -d '\\n')\" |\n"
        f"  curl -s http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' -d @-"
    )
    return [shlex.join(start), send]


def _first_problem(task: str | None) -> list[Message]:
    """The first held-out problem of the task, or a sum where its data is not here."""
    try:
        return get_task(task).load("test")[0].prompt if task else ANY
    except BadInput:
        return ANY
