"""What all commands share: the app itself, where output goes, and options made from the settings."""

from __future__ import annotations

import inspect
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from arttune.errors import BadInput, Failed
from arttune.given import KINDS, checked, read_yaml
from arttune.settings import Settings
from arttune.style.looks import Looks

app = typer.Typer(
    help="Fine-tune a frozen multimodal LLM by painting one image.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)


def say(line: str) -> None:
    err.print(f"arttune: {line}", markup=False, highlight=False, soft_wrap=True)


def program() -> str:
    """How to call this program again: by its name where the shell finds it, else by its path (`make demo`'s .venv)."""
    return "arttune" if shutil.which("arttune") else shlex.quote(sys.argv[0])


DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Read and check the input, and say what it takes in tokens and memory; do not train."
    ),
]


@contextmanager
def resumable(begun: Path, go_on: str) -> Iterator[None]:
    """Exit with 1 and the command to `go_on` with on a failure, or on Ctrl-C once the file `begun` is there."""
    try:
        yield
    except Failed as error:
        say(f"{error}. Once that is mended, go on with: {go_on}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        if begun.is_file():
            say(f"interrupted; go on with: {go_on}")
        raise typer.Exit(1) from None


def written_to(folder: Path | None) -> Path:
    """The folder of a command that writes one unless it is a dry run. Raises `BadInput` if it has none."""
    if folder is None:
        raise BadInput("there is no folder to write; name one with --out FOLDER, or try with --dry-run")
    return folder


def rehearsed(settings: Settings, crowded: bool = False) -> None:
    """Print what a run of `settings` would be."""
    from arttune.rehearsal import rehearse

    table = Table.grid(padding=(0, 2))
    for name, text in rehearse(settings, crowded).lines():
        table.add_row(f"[bold]{name}[/]", escape(text))
    out.print(table, highlight=False)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` one option for each field of `Settings`, so flags and config.yaml cannot drift apart."""
    hints = get_type_hints(Settings)
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = []
    looks = {item.name for item in fields(Looks)}
    for item in Settings.listed():
        default = "" if item.default is None else f" Default: {item.default}."
        panel = "Looks of the painting" if item.name in looks else "Options"
        option = typer.Option(help=item.metadata["help"] + default, show_default=False, rich_help_panel=panel)
        # Built at run time, so the type checker cannot follow this, nor the signature set below.
        kind = Annotated[hints[item.name] | None, option]  # type: ignore[name-defined, valid-type]
        added.append(inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    signature = inspect.Signature([*own, *added])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return command


def defaults_from(context: typer.Context, path: Path | None) -> Path | None:
    """Take a command's defaults from a YAML file, so that flags given on the command line win."""
    if path is not None and not context.resilient_parsing:
        values = read_yaml(path)
        names = {option.lstrip("-").replace("-", "_"): p.name for p in context.command.params for option in p.opts}
        unknown = sorted(set(values) - set(names) - {str(n) for n in names.values()})
        if unknown:
            raise BadInput(
                f"{path}: unknown option {', '.join(unknown)}; `arttune {context.info_name} --help` lists them"
            )
        hints = get_type_hints(context.command.callback)
        for name, value in values.items():  # or the flag would be blamed
            hint = hints[names.get(name) or name]
            if {*KINDS} & {hint, *get_args(hint)}:
                checked(f"{path}: {name}", value, hint)
        context.default_map = {names.get(name, name): value for name, value in values.items()}
    return path
