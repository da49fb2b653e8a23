"""`arttune info | serve-command | models | tasks`: what there is, and what made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from arttune.cli.base import app, out
from arttune.errors import BadInput


@app.command()
def info(
    painting: Annotated[Path, typer.Argument(help="The PNG, or a run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what made a painting, and check that its pixels are still the painted ones."""
    from dataclasses import asdict

    from arttune.canvas import Painting, sha256
    from arttune.scoring import painting_file

    painting = painting_file(str(painting))
    found = Painting.load(painting)
    made = found.provenance
    if made is None:
        raise BadInput(
            f"{painting} is a {found.size[0]}x{found.size[1]} picture without provenance; arttune did not save it"
        )
    if as_json:
        print(json.dumps(asdict(made) | {"intact": found.intact()}))
    else:
        table = Table(show_header=False, box=None)
        for name, value in asdict(made).items():
            if name == "scores":
                for score in value:
                    low, high = score["ci95"]
                    shown = f"{score['accuracy']:.1%} [{low:.1%}, {high:.1%}] of {score['n']} ({score.get('split')})"
                    table.add_row(escape(f"score, {score.get('adapter')}"), escape(shown))
            elif value not in (None, {}):
                shown = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
                table.add_row(name, escape(shown))
        table.add_row("pixels", "as painted" if found.intact() else "CHANGED since they were painted")
        out.print(table)
    if not found.intact():
        raise BadInput(f"{painting}: the pixels hash to {sha256(found.pixels)}, not to the sha256 in its provenance")


@app.command("serve-command")
def serve_command(
    painting: Annotated[Path | None, typer.Argument(help="The PNG, or a run folder; none for the start alone.")] = None,
    model: Annotated[str | None, typer.Option(help="Default: the model the painting was made for.")] = None,
    port: Annotated[int, typer.Option(help="Port of the server.")] = 8000,
    question: Annotated[
        str | None, typer.Option(help="Default: the first test problem of the painting's task.")
    ] = None,
) -> None:
    """Print how to start vLLM for a painting's model, and a ready curl with the picture in place."""
    from arttune.scoring import painted_for, painting_file
    from arttune.serving import request_line, start_line

    if painting is None:
        if model is None:
            raise BadInput("name a painting, or with --model the model to serve")
        print(start_line(model, port))
        return
    name = model or painted_for(painting)
    print(start_line(name, port))
    print(request_line(painting_file(str(painting)), name, port, question))


@app.command()
def models() -> None:
    """List the embedded models and the families that any other model may be of."""
    from arttune.families import FAMILIES
    from arttune.models import EMBEDDED

    table = Table("model", "what it is", box=None)
    for name, embedded in EMBEDDED.items():
        table.add_row(name, embedded.title)
    table.add_row("FOLDER or owner/name", "any model of the families " + ", ".join(f.title for f in FAMILIES.values()))
    out.print(table)


@app.command()
def tasks() -> None:
    """List the tasks: the built-in ones and all of reasoning-gym."""
    from reasoning_gym.factory import DATASETS

    from arttune.tasks import BUILT_IN

    table = Table("task", "what it is", box=None)
    for name, make in BUILT_IN.items():
        table.add_row(name, make(None).about)
    table.add_row("FILE.jsonl", "your own: prompt or messages, completion and/or answer on each line")
    table.add_row("reasoning_gym:<name>", "generated; <name> is one of:")
    out.print(table)
    out.print(", ".join(sorted(DATASETS)), highlight=False)
