"""What a comparison found: `compare.json`, a Markdown table a task with paired tests, and plots.

The same problems are put to all, so differences are tested in pairs: of each problem the share of seeds that got it
right, in one arm less in the other. By chance each such difference might as well have the other sign; the p-value is
how often signs drawn at random make a mean difference as large (a permutation test), and the interval of the
difference comes from problems drawn again with replacement (a bootstrap). Problems, not seeds, are what is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from arttune.adapters import ART
from arttune.compare.plan import CONTROLS, Cell
from arttune.compare.result import Answered, Result
from arttune.evaluate import wilson
from arttune.records import METRICS, read_metrics, write_whole
from arttune.report import learning_curves
from arttune.report.plots import ACCENT, INK, Lines

DRAWS, AT_ONCE = 10_000, 500
AGAINST = {"none": "text only", "lora": "LoRA", "soft-prompt": "a soft prompt"}  # each with a column in a table

NOTE = (
    "Intervals (95 %) and p (two-sided, of problems in pairs, not corrected for the number of rows) say what other "
    "problems might give with these seeds. Training is the median step times their number, in this implementation, "
    "which shares more of a step where there is a picture. To ship is the file as it is saved: 8 bits a value of a "
    "picture, 32 bits of what PEFT trains, half of which would do. In brackets are the learning rates that were tried. "
    "Instruction and worked examples are those of the first task, wherever they are put."
)

Found = Mapping[Cell, Result]
Arm = dict[str, list[Answered]]  # of one task: adapters and controls with a score for each seed


def write(found: Found, out: Path, title: str, rates: Mapping[str, Sequence[float]]) -> None:
    """`compare.json`, `compare.md`, `compare.png` and `curves.png` in the comparison's folder `out`.

    `rates` are those that were tried, by adapter.
    """
    arms = by_task(found)
    scores = [
        score.score | _beside(result, score)
        for at in range(len(arms))
        for result in found.values()
        for score in [result.answered[at]]
    ]
    tests = {task: pairs(arm) for task, arm in arms.items()}
    told = [{"task": task} | test for task, made in tests.items() for test in made]
    text = json.dumps({"scores": scores, "pairs": told}, indent=2) + "\n"
    write_whole(out / "compare.json", text)
    write_whole(out / "compare.md", markdown(found, tests, title, rates))
    plot(found, out / "compare.png", title)
    runs: dict[str, list[Lines]] = {}
    for cell in found:
        if cell.name not in CONTROLS:
            runs.setdefault(cell.name, []).append(read_metrics(out / cell.folder / METRICS))
    if runs:
        learning_curves(runs, out / "curves.png", title)


def _beside(result: Result, answered: Answered) -> dict[str, Any]:
    return {
        "learning_rate": result.rate,
        "trained_parameters": result.parameters,
        "bytes": result.size,
        "training_seconds": round(result.seconds, 1),
        "tokens_a_request": round(_tokens(answered), 1),
        "right": "".join("01"[one] for one in answered.right),  # problem by problem
        **({"wording": result.wording} if result.wording else {}),
    } | result.made


def _tokens(answered: Answered) -> float:
    return float(answered.score["tokens"] / max(1, answered.score["n"]))


def by_task(found: Found) -> dict[str, Arm]:
    """The scores of each task, the trained one first, under the names of the cells in their order."""
    arms: dict[str, Arm] = {}
    for cell, result in found.items():
        for one in result.answered:
            arms.setdefault(one.score["task"], {}).setdefault(cell.name, []).append(one)
    return arms


def shares(answered: list[Answered]) -> np.ndarray:
    """`(problems,)`: the share of seeds with which each problem was got right."""
    return np.mean([one.right for one in answered], axis=0)


def paired(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, tuple[float, float], float]:
    """The mean difference, its 95 % interval, and the p-value, two-sided."""
    chance, difference = np.random.default_rng(0), ours - theirs
    mean, n = float(difference.mean()), len(difference)
    if not difference.any():  # so no draw differs either; how often problems do is bounded as of none seen in n
        most = 1 - 0.025 ** (1 / n)  # Clopper and Pearson 1934
        return 0.0, (-most, most), 1.0
    flipped, drawn = [], []
    for _ in range(DRAWS // AT_ONCE):
        flipped.append(np.abs(chance.choice([-1.0, 1.0], size=(AT_ONCE, n)) @ difference / n))
        drawn.append(difference[chance.integers(0, n, size=(AT_ONCE, n))].mean(axis=1))
    p = float((1 + (np.concatenate(flipped) >= abs(mean) - 1e-12).sum()) / (1 + DRAWS))
    low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975))
    return mean, (float(low), float(high)), p


def pairs(arm: Arm) -> list[dict[str, Any]]:
    """Each adapter and control against those in `AGAINST`, and the picture against each of them."""
    made = []
    for name, answered in arm.items():
        for other in arm:
            if other != name and (other in AGAINST or name == ART):
                mean, interval, p = paired(shares(answered), shares(arm[other]))
                made.append({"name": name, "against": other, "difference": mean, "ci95": list(interval), "p": p})
    return made


def pooled(answered: list[Answered]) -> tuple[float, tuple[float, float]]:
    """Accuracy over all seeds, and its 95 % interval.

    Wilson's, of as many answers as there would be if each were to another problem: answers to the same problem resemble
    each other, and count for less the more they do (the design effect of a sample of clusters, Kish 1965).
    """
    of_problem = shares(answered)
    share, n, most = float(of_problem.mean()), len(of_problem), len(of_problem) * len(answered)
    spread = float(of_problem.var()) / n
    worth = min(max(share * (1 - share) / spread, n), most) if spread else n
    return share, wilson(share * worth, worth)


def markdown(
    found: Found, pairs: Mapping[str, list[dict[str, Any]]], title: str, rates: Mapping[str, Sequence[float]]
) -> str:
    """The tables that go into a document; `pairs` are each task's tests, `rates` those that were tried."""
    took = {cell.name: [other for same, other in found.items() if same.name == cell.name] for cell in found}
    lines = [f"### {title}"]
    for task, arm in by_task(found).items():
        tests = {(one["name"], one["against"]): one for one in pairs[task]}
        n = next(iter(arm.values()))[0].score["n"]
        lines += ["", f"{task}, {n} test problems:", ""]
        others = [other for other in AGAINST if other in arm]
        columns = ["", "accuracy", "by seed", "format", *(f"against {AGAINST[other]}" for other in others)]
        columns += ["rate", "trained", "to ship", "training", "tokens a request"]
        lines += ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
        for name, answered in arm.items():
            share, (low, high) = pooled(answered)
            results = took[name]
            cells = [
                CONTROLS.get(name, name),
                f"{share:.1%} [{low:.1%}, {high:.1%}]",
                ", ".join(f"{one.score['accuracy']:.1%}" for one in answered),
                f"{np.mean([one.score['format_rate'] for one in answered]):.0%}",
                *(_difference(tests.get((name, other))) for other in others),
                _rate(results[0].rate, rates.get(name, ())),
                f"{results[0].parameters:,}" if results[0].parameters else "",
                f"{results[0].size / 1024:,.0f} KiB" if results[0].size else "",
                f"{np.mean([one.seconds for one in results]):.0f} s" if results[0].seconds else "",
                f"{np.mean([_tokens(one) for one in answered]):.0f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    best = [result.wording for result in found.values() if result.wording]
    notes = [NOTE, *(f"The best instruction: `{' '.join(one.split())}`" for one in best)]
    return "\n".join([*lines, "", " ".join(notes)]) + "\n"


def _rate(chosen: float | None, tried: Sequence[float]) -> str:
    if chosen is None:
        return ""
    return f"{chosen:g} ({', '.join(f'{rate:g}' for rate in tried)})" if len(tried) > 1 else f"{chosen:g}"


def _difference(test: dict[str, Any] | None) -> str:
    if test is None:
        return ""
    low, high = test["ci95"]
    return f"{100 * test['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], {_told(test['p'])}"


def _told(p: float) -> str:
    return f"p {p:.2g}" if p >= 0.001 else "p < 0.001"  # of so few draws


def plot(found: Found, path: Path, title: str) -> None:
    """Accuracy of each with its interval over all seeds, a dot a seed, a panel a task."""
    arms = by_task(found)
    most = max(len(arm) for arm in arms.values())
    figure, axes = plt.subplots(
        1, len(arms), figsize=(3.5 + 3.5 * len(arms), 1.3 + 0.4 * most), sharey=True, squeeze=False
    )
    for axis, (task, arm) in zip(axes[0], arms.items(), strict=True):
        names = [*arm][::-1]
        for line, name in enumerate(names):
            share, (low, high) = pooled(arm[name])
            colour = ACCENT if name == ART else INK
            axis.plot(
                [100 * low, 100 * high], [line, line], color=colour, linewidth=6, alpha=0.25, solid_capstyle="butt"
            )
            axis.plot([100 * share], [line], "|", color=colour, markersize=14, markeredgewidth=2)
            each = [100 * one.score["accuracy"] for one in arm[name]]
            axis.plot(each, [line] * len(each), "o", color=colour, markersize=4, alpha=0.8)
        axis.set_yticks(range(len(names)), [CONTROLS.get(name, name) for name in names])
        axis.set_ylim(-0.6, len(names) - 0.4)
        axis.set_xlim(left=0)
        axis.set_title(task, fontsize=10, parse_math=False)
        axis.set_xlabel("test problems right, %")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", alpha=0.15)
    figure.suptitle(title, fontsize=11, parse_math=False)  # names may have dollar signs
    figure.tight_layout()
    figure.savefig(path, dpi=140)
    plt.close(figure)
