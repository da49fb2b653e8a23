"""Which test problems the published scores are of, so that who has the full data sets can ask the same.

    ARTTUNE_DATA=FOLDER python benchmarks/problems.py            # how many of them are among the test problems here
    ARTTUNE_DATA=FOLDER python benchmarks/problems.py --write    # docs/problems.json anew

A problem's mark is the first 12 digits of the SHA-256 of its question as it is asked, in UTF-8; marks are in the order
of asking.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from arttune.tasks import get_task

KEPT = Path(__file__).resolve().parents[1] / "docs/problems.json"
ASKED = {"svamp": 150, "gsm8k": 150, "aqua": 127, "bfcl:simple_python": 100, "bfcl:multiple": 100}


def marks(task: str) -> list[str]:
    """Of all test problems of a task here."""
    return [hashlib.sha256(one.question.encode()).hexdigest()[:12] for one in get_task(task).load("test")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        found = {task: marks(task)[:n] for task, n in ASKED.items()}
        rows = [f'  "{task}": {json.dumps(some)}' for task, some in found.items()]
        KEPT.write_text("{\n" + ",\n".join(rows) + "\n}\n")
        return
    for task, asked in json.loads(KEPT.read_text()).items():
        here = marks(task)
        print(f"{task}: {len(set(asked) & set(here))} of {len(asked)}, among the {len(here)} test problems here")


if __name__ == "__main__":
    main()
