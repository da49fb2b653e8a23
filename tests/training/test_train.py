"""Training the tower: the language model stays bit-identical, and a killed run ends where an unbroken one does."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest
import torch

import reading
import seeing
import train
from arttune.errors import BadInput
from arttune.models import load_model
from arttune.models.graft import FAMILY, read_tower
from scenes import scene


class Killed(Exception):
    pass


@pytest.fixture
def start(tiny_folder, monkeypatch):
    """`train.py` on a tiny model, a few steps a stage; the texts are two problems instead of whole tasks."""
    monkeypatch.setattr(reading, "TEXTS", ("reasoning_gym:chain_sum",))

    def run(out: Path, die: tuple[str, int] | None = None, more: list[str] | None = None) -> None:
        steps = dict.fromkeys(["--spell", "--codes", "--see", "--write", "--read"], 3)
        few = steps | {"--patches": 64, "--rows": 2, "--threads": 1, "--save-every": 0}
        flags = [str(item) for pair in few.items() for item in pair] + ["--sides", "1", "0", "0", "0", *(more or [])]
        monkeypatch.setattr(sys, "argv", ["train.py", "--model", str(tiny_folder), "--out", str(out), *flags])
        whole = train.Run.steps

        def mortal(self, stage, *rest):
            for step in whole(self, stage, *rest):
                if (stage, step) == die:
                    raise Killed
                yield step

        with monkeypatch.context() as patch:
            patch.setattr(train.Run, "steps", mortal)
            train.main()

    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)


def test_a_killed_run_goes_on_to_the_same_tower_and_the_language_model_is_untouched(start, tiny_folder, tmp_path):
    before = {n: w.clone() for n, w in load_model(str(tiny_folder), "float32").model.state_dict().items()}
    start(tmp_path / "whole")
    for die in (("spell", 1), ("codes", 1), ("see", 2), ("write", 1), ("read", 1)):
        with pytest.raises(Killed):
            start(tmp_path / "broken", die)
    start(tmp_path / "broken")
    whole, broken = (read_tower(tmp_path / name / "tower.safetensors")[1] for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    grown = train.Reader(tiny_folder, tower=tmp_path / "whole" / "tower.safetensors").model.state_dict()
    for name, weight in before.items():
        if ".visual." not in name:
            assert torch.equal(weight, grown[name]), f"{name} belongs to the language model and changed"
    untrained = train.Reader(tiny_folder)
    train.begin(untrained, argparse.Namespace(tower=None, trunk=None, seed=0))
    moved = [
        n for n, weight in untrained.tower.state_dict().items() if not torch.equal(weight.half().float(), whole[n])
    ]
    assert len(moved) == len(whole), "some of the tower was never trained"


def test_a_finished_tower_is_read_with_further_and_nothing_else_is_done(start, tiny_folder, tmp_path):
    start(tmp_path / "first")
    tower = tmp_path / "first" / "tower.safetensors"
    start(tmp_path / "none", more=["--tower", str(tower), "--read", "0"])
    start(tmp_path / "more", more=["--tower", str(tower)])
    start(tmp_path / "thin", more=["--tower", str(tower), "--read", "0", "--grain", "32"])
    assert not list((tmp_path / "more").glob("see.*"))
    first, none, more = (read_tower(tmp_path / name / "tower.safetensors")[1] for name in ("first", "none", "more"))
    bare = train.Reader(tiny_folder)
    train.begin(bare, argparse.Namespace(tower=None, trunk=None, seed=0))
    shape, thin = read_tower(tmp_path / "thin" / "tower.safetensors")
    assert shape["hidden_size"] == train.SHAPE["hidden_size"] + 32
    trained, again, thinned = (train.without_grain(weights, bare.tower) for weights in (first, none, thin))
    assert all(torch.equal(trained[name], again[name]) for name in trained)
    # A norm's weights are scaled by the channels beside them, and rounded so.
    assert all(torch.allclose(trained[name], thinned[name], rtol=1e-3, atol=1e-6) for name in trained)
    # The grain is measured out anew, by a tower that was rounded for its file.
    assert all(torch.allclose(first[name], none[name], rtol=2e-3, atol=1e-6) for name in first)
    assert any(not torch.equal(first[name], more[name]) for name in first)


def test_with_a_finished_trunk_only_the_merger_is_trained(start, tmp_path):
    start(tmp_path / "first")
    tower = tmp_path / "first" / "tower.safetensors"
    start(tmp_path / "second", more=["--trunk", str(tower)])
    first, second = (read_tower(tmp_path / name / "tower.safetensors")[1] for name in ("first", "second"))
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert changed == {name for name in first if name.startswith("merger.")}


def test_marks_stand_in_the_order_of_the_towers_patches():
    one = scene(1, 112, {"dense": 1})
    labels = seeing.marks([one])
    plane = torch.zeros(3, 112, 112)
    for (left, top, right, bottom), letter in one.marks:
        columns, rows = (
            slice(max(0, round(a / 14)) * 14, max(0, round(b / 14)) * 14) for a, b in ((left, right), (top, bottom))
        )
        plane[:, rows, columns] = (seeing.MARKS.index(letter) + 1) / 100
    # The family's own order of patches: undo its normalisation and read a pixel of each.
    mean, std = FAMILY.mean[0], FAMILY.std[0]
    expected = ((FAMILY.patches(plane)[:, 0] * std + mean) * 100).round().long()
    assert labels.tolist() == expected.tolist()


def test_a_folder_of_other_settings_is_left_alone(tmp_path):
    train.Run(tmp_path, 1e9, {"seed": 0, "tower": Path("a")})
    train.Run(tmp_path, 1e9, {"tower": Path("a"), "seed": 0})
    with pytest.raises(BadInput, match="run of other settings"):
        train.Run(tmp_path, 1e9, {"seed": 1, "tower": Path("a")})


def test_steps_that_a_kill_undid_are_logged_once(tmp_path):
    layer = torch.nn.Linear(1, 1)

    def go(steps: int) -> None:
        run = train.Run(tmp_path, 0 if steps < 5 else 1e9, {"seed": 0})
        optimizer = torch.optim.SGD(layer.parameters())
        for step in run.steps("see", 9, layer, optimizer):
            if step == steps:
                raise Killed
            run.log(stage="see", step=step + 1, loss=1.23456)

    for steps in (3, 6):  # the second is killed three steps after its last checkpoint
        with pytest.raises(Killed):
            go(steps)
    go(9)
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged] == [*range(1, 10)]
    assert logged[0] == {"stage": "see", "step": 1, "loss": 1.2346}
