"""Brings comparisons that were run here into the documentation.

    python benchmarks/collect.py NAME...

Of `runs/compare/NAME`, which `arttune compare recipes/compare/NAME.yaml --out runs/compare/NAME` wrote, the scores and
paired tests go to docs/compare.json, the plots to docs/compare, and the table is printed, for docs/results.md. Of one
that is not finished, the cells and rates that are go to docs/compare/unfinished/NAME: copied back, on any machine,
the command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from arttune.compare.cells import ASTRAY, CONFIG, DONE
from arttune.compare.origin import ORIGIN
from arttune.compare.plan import Comparison
from arttune.records import METRICS, RESULTS, write_whole
from arttune.settings import CONFIG as SETTINGS

RUNS, DOCS = Path("runs/compare"), Path("docs")
UNFINISHED = DOCS / "compare" / "unfinished"
KEPT = (
    CONFIG,
    ORIGIN,
    f"*/{DONE}",
    f"*/{METRICS}",
    *(f"search/*/{name}" for name in (RESULTS, METRICS, SETTINGS, ASTRAY)),
)


def main() -> None:
    reads = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reads.add_argument("names", nargs="+", metavar="NAME")
    for name in reads.parse_args().names:
        run, kept = RUNS / name, UNFINISHED / name
        plan = Comparison.read(run / CONFIG)
        missing = [cell for cell in plan.cells() if not (run / cell.folder / DONE).is_file()]
        if missing:
            keep(run, kept)
            print(f"{name}: {len(missing)} cells to go, the rest is in {kept}")
        else:
            publish(run, name, len(plan.cells()) * (1 + len(plan.also)))
            shutil.rmtree(kept, ignore_errors=True)


def keep(run: Path, kept: Path) -> None:
    """What a comparison goes on from, but for trained weights and half-done trainings, in place of what was kept."""
    scratch = kept.with_name(f".{kept.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    done = {path.parent for name in (DONE, RESULTS) for path in run.rglob(name)}
    for pattern in KEPT:
        for path in run.glob(pattern):
            if path.name not in (METRICS, SETTINGS) or path.parent in done:
                there = scratch / path.relative_to(run)
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, there)
    shutil.rmtree(kept, ignore_errors=True)
    scratch.rename(kept)


def publish(run: Path, name: str, scores: int) -> None:
    """The scores, so many, tests, plots and table of a finished comparison."""
    file = DOCS / "compare.json"
    told, found = (json.loads(path.read_text(encoding="utf-8")) for path in (file, run / "compare.json"))
    if len(found["scores"]) != scores:
        raise SystemExit(
            f"{run / 'compare.json'} lacks cells that are there; run the comparison again, which adds them"
        )
    for key, ours in found.items():
        told[key] = [one for one in told[key] if one["recipe"] != name] + [one | {"recipe": name} for one in ours]
    write_whole(file, json.dumps(told, indent=1) + "\n")
    shutil.copyfile(run / "compare.png", DOCS / "compare" / f"{name}.png")
    if (run / "curves.png").is_file():  # there is none where nothing is trained
        shutil.copyfile(run / "curves.png", DOCS / "compare" / f"{name}_curves.png")
    print((run / "compare.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
