"""Make the rows of `sgd` and `seal_tools`, which the Hugging Face hub does not have in this form, out of what their
authors have on GitHub. Nothing but Python is needed, and no field of theirs is changed.

    git clone https://github.com/google-research-datasets/dstc8-schema-guided-dialogue upstream/sgd
    git clone https://github.com/fairyshine/Seal-Tools upstream/seal_tools
    python scripts/tool_use_data.py upstream data
    export ARTTUNE_DATA=data    # what is not in there still comes from the hub

`sgd`: turns of the system that call a service, and turns that do nothing but ask back, five to one: 4,800 to train on,
and 360 to score on of as many dialogues, drawn by seed 0. `seal_tools`: `dev` and `test_in_domain` to train on,
`test_out_domain` to score on, which are not the splits of their paper.
A repository that is not there is left out.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
CALLS, ASKS = 5, 1  # of the turns of `sgd`
SGD = {"train": 4800, "test": 360}
SEAL_TOOLS = {"train": ("dev", "test_in_domain"), "test": ("test_out_domain",)}


def turns(clone: Path, split: str) -> Iterator[Row]:
    """Every turn of the system that calls a service or only asks back, as arttune's `sgd` has it."""
    for path in sorted((clone / split).glob("dialogues_*.json")):
        for dialogue in json.loads(path.read_text(encoding="utf-8")):
            spoken = dialogue["turns"]
            for index, turn in enumerate(spoken):
                if turn["speaker"] == "SYSTEM" and (calls(turn) or only_asks(turn)):
                    yield {
                        "id": f"{split}-{dialogue['dialogue_id']}-{index}",
                        "services": dialogue["services"],
                        "history": [{key: one[key] for key in ("speaker", "utterance")} for one in spoken[:index]],
                        "user_frames": spoken[index - 1]["frames"],
                        "turn": turn,
                    }


def calls(turn: Row) -> bool:
    return any("service_call" in frame for frame in turn["frames"])


def only_asks(turn: Row) -> bool:
    return {action["act"] for frame in turn["frames"] for action in frame["actions"]} == {"REQUEST"}


def drawn(rows: list[Row], number: int, once: bool) -> list[Row]:
    """About `number` of the rows, calls and questions back as above; `once`: at most one of a dialogue."""
    random.Random(0).shuffle(rows)
    if once:
        rows = list({row["id"].rsplit("-", 1)[0]: row for row in rows}.values())
    calling = [row for row in rows if calls(row["turn"])]
    asking = [row for row in rows if not calls(row["turn"])]
    whole = CALLS + ASKS
    found = calling[: number * CALLS // whole] + asking[: number * ASKS // whole]
    random.Random(0).shuffle(found)
    return found


def sgd(clone: Path, out: Path) -> None:
    for split, number in SGD.items():
        schema = json.loads((clone / split / "schema.json").read_text(encoding="utf-8"))
        write(out / f"schema_{split}.jsonl", schema)
        write(out / f"{split}.jsonl", drawn(list(turns(clone, split)), number, split == "test"))


def seal_tools(clone: Path, out: Path) -> None:
    folder = clone / "Seal-Tools_Dataset"
    for split, names in SEAL_TOOLS.items():
        rows: list[Row] = []
        for name in names:
            prompts = json.loads((folder / "dataset_for_finetune" / f"{name}.json").read_text(encoding="utf-8"))
            told = {one["id"]: one["conversations"] for one in prompts}
            with open(folder / f"{name}.jsonl", encoding="utf-8") as lines:
                rows += [row | {"conversations": told[row["id"]]} for row in map(json.loads, lines)]
        write(out / f"{split}.jsonl", rows)


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows)} lines")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("upstream", type=Path, help="folder with the clones sgd and seal_tools, or one of them")
    parser.add_argument("out", type=Path, help="folder to write into, for ARTTUNE_DATA")
    given = parser.parse_args()
    made = [make for make in (sgd, seal_tools) if (given.upstream / make.__name__).is_dir()]
    if not made:
        print(f"{given.upstream} has neither sgd nor seal_tools in it: clone them as --help says", file=sys.stderr)
        return 2
    for make in made:
        make(given.upstream / make.__name__, given.out / make.__name__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
