"""The rows of the tool-use tasks as a script makes them of what is published, and that the tasks read them."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import zoo
from arttune.tasks import get_task
from tasks.test_tasks import lines
from tasks.test_tools import BUSES, TURN

SCRIPT = Path(__file__).parent.parent / "scripts" / "tool_use_data.py"


def convert(upstream: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(upstream), str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def said(speaker: str, utterance: str, act: str, **frame: Any) -> dict[str, Any]:
    frames = [{"service": "Buses_1", "actions": [{"act": act}]} | frame]
    return {"speaker": speaker, "utterance": utterance, "frames": frames}


def test_a_dialogue_becomes_one_row_a_call_or_question_back(tmp_path, monkeypatch):
    """The dialogue has a question back (turn 1), a call (3) and one more thing said (5)."""
    turns = [
        said("USER", "A bus to Rome", "INFORM", state={"slot_values": {"to": ["Rome"]}}),
        said("SYSTEM", "When?", "REQUEST"),
        said("USER", "Next Friday", "INFORM", state=TURN["user_frames"][0]["state"]),
        said("SYSTEM", "Here is one.", "OFFER", **TURN["turn"]["frames"][0]),
        said("USER", "Thanks", "THANK_YOU", state=TURN["user_frames"][0]["state"]),
        said("SYSTEM", "Bye", "GOODBYE"),
    ]
    dialogues = [{"dialogue_id": f"1_{n:05}", "services": ["Buses_1"], "turns": turns} for n in range(30)]
    for split in ("train", "test"):
        (tmp_path / "sgd" / split).mkdir(parents=True)
        (tmp_path / "sgd" / split / "schema.json").write_text(json.dumps([BUSES]))
        (tmp_path / "sgd" / split / "dialogues_001.json").write_text(json.dumps(dialogues))
    assert convert(tmp_path, tmp_path / "data").returncode == 0

    found = rows(tmp_path / "data" / "sgd" / "train.jsonl")
    assert sorted(row["id"] for row in found) == sorted(f"train-1_{n:05}-{turn}" for n in range(30) for turn in (1, 3))
    (call,) = [row for row in found if row["id"] == "train-1_00004-3"]
    assert call["history"] == TURN["history"]
    assert call["turn"] == turns[3], "as published"
    assert call["user_frames"] == turns[2]["frames"]
    asked = rows(tmp_path / "data" / "sgd" / "test.jsonl")
    assert len({row["id"].split("-")[1] for row in asked}) == len(asked) == 30, "one of a dialogue"

    monkeypatch.setenv("ARTTUNE_DATA", str(tmp_path / "data"))
    assert len(get_task("sgd").load("train")) == 60


@zoo.REAL
def test_the_two_records_of_an_id_become_one_row(tmp_path):
    """Real rows, taken apart as their authors' repository has them, are what the script makes again."""
    real = Path(os.environ["ARTTUNE_DATA"]) / "seal_tools"
    train = [json.loads(line) for line in gzip.decompress((real / "train.jsonl.gz").read_bytes()).splitlines()]
    published = {"dev": train[:700], "test_in_domain": train[700:], "test_out_domain": rows(real / "test.jsonl")}
    folder = tmp_path / "seal_tools" / "Seal-Tools_Dataset"
    (folder / "dataset_for_finetune").mkdir(parents=True)
    for name, some in published.items():
        lines(folder / f"{name}.jsonl", *({key: one[key] for key in ("id", "query", "calling")} for one in some))
        told = [{key: one[key] for key in ("id", "conversations")} for one in reversed(some)]
        (folder / "dataset_for_finetune" / f"{name}.json").write_text(json.dumps(told))
    assert convert(tmp_path, tmp_path / "data").returncode == 0
    assert rows(tmp_path / "data" / "seal_tools" / "train.jsonl") == train
    assert rows(tmp_path / "data" / "seal_tools" / "test.jsonl") == published["test_out_domain"]


def test_a_folder_without_clones_is_refused(tmp_path):
    done = convert(tmp_path, tmp_path / "data")
    assert done.returncode == 2
    assert "neither sgd nor seal_tools" in done.stderr
