"""`arttune compare`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from arttune.cli.base import DryRun, app, err, out, program, rehearsed, resumable, say, written_to


@app.command()
def compare(
    config: Annotated[Path, typer.Argument(help="YAML file of the comparison, see above.")],
    *,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write; one of the same comparison is gone on with.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Train adapters side by side on the same problems and steps, and test whether they differ.

    The YAML file holds settings of `arttune train`, which all cells share (but for adapter, seed and learning_rate),
    and what is compared:

    adapters: art, lora, soft-prompt.
    controls: none, instruction, few-shot, random-string, blank, noise, artwork.
    seeds: [0, 1, 2].
    rates: of each adapter; of those that are, after search_steps, within a standard error of the best on validation
    problems, the one that has learned most is taken.
    also: further tasks to score all on.
    instructions: what one might write; the best on validation problems is the control.
    shots: worked examples of few-shot.

    Interrupt it as you like: what is finished stays, and the same command goes on.
    """
    from arttune.compare import Comparison, summary
    from arttune.compare import compare as run
    from arttune.compare.cells import check
    from arttune.compare.plan import Cell

    plan = Comparison.read(config)
    if dry_run:
        check(plan)
        trained = [cell for cell in plan.cells() if cell.name in plan.adapters]
        out.print(
            f"{len(plan.cells())} cells, {len(trained)} of them trained, after {plan.searches} shorter runs", "\n"
        )
        crowded = bool(plan.also) or "few-shot" in plan.controls
        for name in plan.adapters:
            rehearsed(plan.settings(Cell(name, plan.seeds[0]), plan.rates[name][0]), crowded)
        return
    folder = written_to(out_folder)
    settings = plan.run
    title = f"{settings.task} · {settings.model} · {settings.objective}, {settings.steps} steps of {settings.rows}"

    def shown(found: summary.Found) -> None:
        table = Table(title=f"{len(found)} of {len(plan.cells())} cells", title_justify="left")
        for name in ("", "seed", "correct", "accuracy", "training"):
            table.add_column(name)
        for cell in plan.cells():
            row = [cell.name, str(cell.seed)]
            if result := found.get(cell):
                score = result.answered[0].score
                row += [f"{score['correct']}/{score['n']}", f"{score['accuracy']:.1%}"]
                row += [f"{result.seconds:.0f} s"] if result.seconds else []
            table.add_row(*row)
        err.print(table)
        summary.write(found, folder, title, plan.rates)

    with resumable(config, f"{program()} {shlex.join(['compare', str(config), '--out', str(folder)])}"):
        run(plan, folder, say, shown)
    if as_json:
        print((folder / "compare.json").read_text(encoding="utf-8"))
    else:
        print((folder / "compare.md").read_text(encoding="utf-8"), end="")
    drawn = ", ".join(str(path) for path in sorted(folder.glob("*.png")))
    say(f"{folder / 'compare.json'}, {folder / 'compare.md'}, {drawn}")
