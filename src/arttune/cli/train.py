"""`arttune train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from arttune.cli.base import DryRun, app, out, program, rehearsed, resumable, say, with_settings, written_to
from arttune.errors import BadInput
from arttune.settings import CONFIG, Settings


@app.command()
@with_settings
def train(
    *,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Run folder to write; must not exist.", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any of the settings below; flags win.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out from its checkpoint.")] = False,
    dry_run: DryRun = False,
    **settings: Any,
) -> None:
    """Paint a picture for a task and score it.

    Writes a folder with the painting (art.png), its adapter for PEFT, the scores before and after, and plots.
    """
    from arttune import training
    from arttune.finishing import next_command
    from arttune.records import PICTURE, resume_command
    from arttune.report import score_table
    from arttune.report.gallery import PAGE

    flags = {name: value for name, value in settings.items() if value is not None}
    if resume and config is not None:
        raise BadInput("--resume takes its settings from the run folder; leave --config out")
    if dry_run and resume:
        raise BadInput("a run that is gone on with was rehearsed; --dry-run is for one that has not begun")
    if dry_run:
        rehearsed(Settings.read(config, flags))
        return
    out_folder = written_to(out_folder)
    with resumable(out_folder / CONFIG, f"{program()} {resume_command(out_folder)}"):
        if resume:
            scores = training.resume(out_folder, flags, say)
        else:
            scores = training.train(Settings.read(config, flags), out_folder, say)
    out.print(score_table(scores))
    made = out_folder / PICTURE
    page = out_folder / PAGE
    for line in (
        f"The painting: {made}, and on a page: {page}" if made.is_file() else f"The adapter: {out_folder}",
        f"Next: {program()} {next_command(out_folder)}",
    ):
        out.print(line, soft_wrap=True, highlight=False, markup=False)
