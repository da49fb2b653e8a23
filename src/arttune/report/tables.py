"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from arttune.evaluate import Score

NAMES = {"none": "text only", "art": "with painting", "instruction": "with instruction"}


def score_table(scores: Sequence[Score]) -> Table:
    """Scores under one another, with their intervals."""
    first = scores[0]
    apart = len({score.adapter for score in scores}) == len(scores)
    table = Table(
        title=escape(f"{first.task} · {first.split} · {first.model} · {first.n} problems, strict"),
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    for name in ("correct", "accuracy", "95 %", "format", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for score in scores:
        low, high = score.ci95
        table.add_row(
            NAMES.get(score.adapter, score.adapter) if apart else escape(score.model),
            f"{score.correct}/{score.n}",
            f"{score.accuracy:.1%}",
            f"{low:.1%} - {high:.1%}",
            f"{score.format_rate:.0%}",
            f"{score.seconds:.0f}",
        )
    return table
