"""The command line: `arttune train | eval | info | models | tasks`.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed while running, 2 bad usage or input.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import datasets
import transformers
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from arttune.errors import BadInput
from arttune.settings import Settings, read_yaml

app = typer.Typer(
    help="Fine-tune a frozen multimodal LLM by painting one image.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)


def _say(line: str) -> None:
    err.print(f"arttune: {line}", markup=False, highlight=False, soft_wrap=True)


def _program() -> str:
    """How to call this program again: by its name where the shell finds it, else by its path (`make demo`'s .venv)."""
    return "arttune" if shutil.which("arttune") else sys.argv[0]


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` one option for each field of `Settings`, so flags and config.yaml cannot drift apart."""
    hints = inspect.get_annotations(Settings, eval_str=True)
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = []
    for item in fields(Settings):
        default = "" if item.default is None else f" Default: {item.default}."
        option = typer.Option(help=item.metadata["help"] + default, show_default=False)
        # Built at run time, so the type checker cannot follow this, nor the signature set below.
        kind = Annotated.__class_getitem__((hints[item.name] | None, option))  # type: ignore[attr-defined]
        added.append(inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    signature = inspect.Signature([*own, *added])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return command


def _defaults_from(context: typer.Context, path: Path | None) -> Path | None:
    """Take a command's defaults from a YAML file, so that flags given on the command line win."""
    if path is not None and not context.resilient_parsing:
        values = read_yaml(path)
        names = {option.lstrip("-").replace("-", "_"): p.name for p in context.command.params for option in p.opts}
        unknown = sorted(set(values) - set(names) - {str(n) for n in names.values()})
        if unknown:
            raise BadInput(
                f"{path}: unknown option {', '.join(unknown)}; `arttune {context.info_name} --help` lists them"
            )
        context.default_map = {names.get(name, name): value for name, value in values.items()}
    return path


@app.command()
@_with_settings
def train(
    *,
    out_folder: Annotated[Path, typer.Option("--out", help="Run folder to write; must not exist.")],
    config: Annotated[Path | None, typer.Option(help="YAML file with any of the settings below; flags win.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out from its checkpoint.")] = False,
    **settings: Any,
) -> None:
    """Paint a picture for a task and score it.

    Writes a folder with the painting (art.png), its adapter for PEFT, the scores before and after, and plots.
    """
    from arttune import training
    from arttune.report import score_table
    from arttune.rollouts import NoServer

    flags = {name: value for name, value in settings.items() if value is not None}
    try:
        if resume:
            if config is not None:
                raise BadInput("--resume takes its settings from the run folder; leave --config out")
            scores = training.resume(out_folder, flags, _say)
        else:
            scores = training.train(Settings.read(config, flags), out_folder, _say)
    except NoServer as error:
        _say(f"{error}; start one, and go on with: {_program()} train --resume --out {out_folder}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        if (out_folder / training.CONFIG).is_file():
            _say(f"interrupted; go on with: {_program()} train --resume --out {out_folder}")
        raise typer.Exit(1) from None
    out.print(score_table(scores))
    for line in (
        f"The painting: {out_folder / training.ART}",
        f"Next: {_program()} {training.next_command(out_folder)}",
    ):
        out.print(line, soft_wrap=True, highlight=False, markup=False)


@app.command("eval")
def evaluate(
    *,
    model: Annotated[str, typer.Option(help="Embedded model, local folder or hub id.")] = "smol",
    task: Annotated[str, typer.Option(help="svamp, gsm8k, reasoning_gym:<name> or your own FILE.jsonl.")] = "svamp",
    adapter: Annotated[str, typer.Option(help="A run folder, a painting (PNG), or none for the text alone.")] = "none",
    data: Annotated[Path | None, typer.Option(help="Test file that stands in for the task's own.")] = None,
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Score only the first so many problems.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Problems answered at once.")] = 50,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer. Default: the task's own.")] = None,
    grader: Annotated[str | None, typer.Option(help="Grade of your own task: number, exact or math.")] = None,
    reward: Annotated[str | None, typer.Option(help="Python grade of your own task, module:function.")] = None,
    dtype: Annotated[str, typer.Option(help="bfloat16, float32, or auto: the faster here.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: torch's own choice.")] = None,
    seed: Annotated[int, typer.Option(help="Recorded with the score; decoding is greedy.")] = 0,
    config: Annotated[
        Path | None,
        typer.Option(is_eager=True, callback=_defaults_from, help="YAML file with any of these options; flags win."),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Show so many right and so many wrong answers.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the score as JSON.")] = False,
) -> None:
    """Score a painting, or the text-only model, on a task's held-out problems."""
    from arttune import scoring
    from arttune.report import score_table

    with err.status("loading"):
        request = scoring.Request(
            model,
            task,
            adapter,
            data,
            split,
            limit,
            batch_size,
            max_new_tokens,
            grader,
            reward,
            dtype,
            threads,
            seed,
        )
        ready = scoring.open_request(request)
    for warning in ready.warnings:
        _say(warning)
    score, graded = ready.run()
    if as_json:
        print(json.dumps({"scores": [score.as_dict()]}))
        return
    out.print(score_table([score]))
    for right in (True, False):
        for sample in [s for s in graded if s.correct is right][:samples]:
            mark = "[green]right[/]" if right else "[red]wrong[/]"
            err.print(f"\n{mark}  expected {escape(str(sample.answer))}", highlight=False)
            err.print(sample.question, style="dim", markup=False, highlight=False)
            err.print(sample.completion or "(nothing)", markup=False, highlight=False)


@app.command()
def info(
    painting: Annotated[Path, typer.Argument(help="The PNG.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what made a painting, and check that its pixels are still the painted ones."""
    from dataclasses import asdict

    from arttune.canvas import Painting, sha256

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
            elif value is not None:
                shown = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
                table.add_row(name, escape(shown))
        table.add_row("pixels", "as painted" if found.intact() else "CHANGED since they were painted")
        out.print(table)
    if not found.intact():
        raise BadInput(f"{painting}: the pixels hash to {sha256(found.pixels)}, not to the sha256 in its provenance")


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


def main() -> None:
    """Entry point: turns exceptions into one line and an exit code."""
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        app()
    except BadInput as error:
        _say(str(error))
        sys.exit(2)
    except Exception as error:
        if os.environ.get("ARTTUNE_DEBUG"):
            raise
        _say(f"failed: {type(error).__name__}: {' '.join(str(error).split())} (ARTTUNE_DEBUG=1 shows where)")
        sys.exit(1)
