"""Which task shows best, in a few minutes, what a painting does? The measurement behind the task of `make demo`.

    python benchmarks/demo_task.py | tee benchmarks/demo_task.txt

Tasks of reasoning-gym, so that nothing is fetched but the model, whose answers are words: relatives, colours, yes or
no, weekdays, sorted lists. Each is trained from grey for a minute or two, on two threads. What counts is how far the
trained score lies above the untrained one and above the commonest training answer given to every problem.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from arttune.machine import describe
from arttune.settings import Settings
from arttune.tasks import get_task
from arttune.tasks.gym import PREFIX
from arttune.training import train

SETTINGS = Settings(steps=120, batch_size=4, eval_every=60, threads=2)
TASKS = (
    "family_relationships",
    "color_cube_rotation",
    "syllogism",
    "calendar_arithmetic",
    "word_sorting",
)


def commonest(name: str, count: int) -> tuple[str, float]:
    """The training set's commonest answer, and the share of the first `count` test problems that it is right for."""
    task = get_task(name)
    answer = Counter(str(p.answer) for p in task.load("train")).most_common(1)[0][0]
    test = task.load("test")[:count]
    return answer, sum(task.grade(p, f"Answer: {answer}").correct for p in test) / len(test)


def run(settings: Settings) -> dict[str, Any]:
    answer, share = commonest(settings.task, settings.test_limit)
    with tempfile.TemporaryDirectory() as folder:
        before, after = train(settings, Path(folder) / "run")
    return {
        "task": settings.task,
        "commonest": answer,
        "commonest_share": share,
        "before": before.as_dict(),
        "after": after.as_dict(),
    }


def shown(score: dict[str, Any]) -> str:
    low, high = score["ci95"]
    return f"{score['accuracy']:6.1%} [{low:5.1%}, {high:5.1%}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", help="only this one, without its prefix (repeatable)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    print(
        f"{SETTINGS.steps} steps of {SETTINGS.batch_size}, {SETTINGS.test_limit} test problems, {describe()}",
        flush=True,
    )
    for name in options.task or TASKS:
        found = run(replace(SETTINGS, task=PREFIX + name))
        results.append(found)
        print(
            f"{name:22s} text only {shown(found['before'])}   always {found['commonest'][:12]!r:14} "
            f"{found['commonest_share']:6.1%}   painting {shown(found['after'])}",
            flush=True,
        )
    if options.json:
        gains = {
            f"{r['task']}: painting/commonest answer": r["after"]["accuracy"]
            / max(r["commonest_share"], 1 / r["after"]["n"])
            for r in results
        }
        options.json.write_text(json.dumps({"ratios": gains, "machine": describe(), "arms": results}, indent=2))


if __name__ == "__main__":
    main()
