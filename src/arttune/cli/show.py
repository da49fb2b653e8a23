"""`arttune gallery | film`: paintings to be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arttune.cli.base import app, out
from arttune.errors import BadInput


@app.command()
def gallery(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    page: Annotated[Path | None, typer.Option("--out", help="The HTML file. Default: gallery.html of one run.")] = None,
) -> None:
    """Make one HTML page of one or more paintings, which needs nothing but itself.

    It has the picture at its start and through training, its change amplified, how it learned, likeness against
    accuracy, problems before and after, and what made it. `train` writes that of its own run.
    """
    from arttune.report import gallery as galleries

    if page is None:
        if len(runs) > 1:
            raise BadInput("a page of several runs needs a name: --out FILE.html")
        page = runs[0] / galleries.PAGE
    galleries.write(runs, page)
    out.print(str(page), highlight=False, soft_wrap=True)


@app.command()
def film(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    gif: Annotated[Path | None, typer.Option("--out", help="The GIF. Default: film.gif in the run's folder.")] = None,
    side: Annotated[
        int, typer.Option(help="About how long the longer side is to be, in pixels; at least the canvas's own.", min=1)
    ] = 448,
) -> None:
    """Make a GIF of a painting while it was painted."""
    from arttune.report.film import film as filmed

    path = gif or run / "film.gif"
    filmed(run, path, side)
    out.print(str(path), highlight=False, soft_wrap=True)
