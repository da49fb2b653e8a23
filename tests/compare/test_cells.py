"""A comparison runs its cells once each, goes on after an interruption, and scores all on the same problems."""

from __future__ import annotations

import datetime
import json
import re
from dataclasses import replace

import peft
import pytest
import torch
import yaml

import zoo
from arttune import Painting, training
from arttune.compare import Comparison, cells, compare, summary
from arttune.compare.plan import CONTROLS, Cell
from arttune.errors import BadInput, Failed
from arttune.evaluate import wilson
from arttune.records import read_samples, read_scores
from arttune.scoring import Request, open_request
from test_cli import run as command
from test_training import problems, settings

__all__ = ["command", "problems"]


@pytest.fixture
def other(tmp_path):
    """Further problems, to be scored on alone."""
    path = tmp_path / "other.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"count all the way to {i}", "answer": str(i)}) + "\n" for i in range(40))
    )
    return path


def plan(tiny_folder, problems, **changes) -> Comparison:
    run = settings(tiny_folder, problems, steps=4, test_limit=6)
    chosen = {"seeds": [0, 1], "rates": {"art": [0.02, 0.2], "lora": [1e-3], "soft-prompt": [1e-2]}}
    return Comparison(run=run, **(chosen | changes))


def test_all_cells_are_scored_on_the_same_problems(tiny_folder, problems, other, tmp_path):
    chosen = plan(
        tiny_folder,
        problems,
        controls=[*CONTROLS],
        artwork="recipes/compare/orchard.png",
        instructions=["Say a word.", "Say it loud."],
        shots=2,
        also=[str(other)],
    )
    out, seen = tmp_path / "out", []
    found = compare(chosen, out, shown=lambda found: seen.append(len(found)))
    assert [*found] == chosen.cells()
    assert seen == list(range(1, len(found) + 1))
    searched = [*(out / "search").iterdir()]
    assert {path.name for path in searched} == {"art-0.02", "art-0.2"}
    tested = {
        json.loads(line)["question"] for line in (out / "none-0" / "answers" / "own.jsonl").read_text().splitlines()
    }
    for path in searched:
        assert {score["split"] for score in read_scores(path)} == {"validation"}
        assert tested.isdisjoint(line["question"] for line in read_samples(path))
    for cell, result in found.items():
        own, further = result.answered
        assert (own.score["task"], own.score["n"], len(own.right)) == ("own", 6, 6)
        assert (further.score["task"], further.score["n"]) == ("other", 6)
        assert (own.score["adapter"], own.score["seed"], own.score["split"]) == (cell.name, cell.seed, "test")
        assert sum(own.right) == own.score["correct"]
        assert (result.parameters > 0, result.size > 0) == (cell.name not in CONTROLS,) * 2
    assert found[Cell("art", 0)].parameters == 3 * 224 * 224
    summary.write(found, out, "a title", chosen.rates)
    assert (out / "curves.png").is_file()
    scores = json.loads((out / "compare.json").read_text())["scores"]
    assert [(s["task"], s["adapter"], s["seed"]) for s in scores] == [
        (task, cell.name, cell.seed) for task in ("own", "other") for cell in found
    ]
    assert (scores[0]["adapter"], scores[len(found) - 1]["adapter"]) == ("none", "soft-prompt")
    for score, one in zip(scores, (result.answered[0] for result in found.values()), strict=False):
        assert score["right"] == "".join("1" if right else "0" for right in one.right)
        assert f"torch {torch.__version__}" in score["machine"]
        assert f"peft {peft.__version__}" in score["versions"]
        assert datetime.date.fromisoformat(score["date"]) <= datetime.date.today()
    assert f"| {found[Cell('art', 0)].rate:g} (0.02, 0.2) |" in (out / "compare.md").read_text()


def test_a_trained_cell_is_what_eval_says_of_its_folder(tiny_folder, problems, other, tmp_path):
    chosen = plan(tiny_folder, problems, seeds=[1], rates={name: [0.01] for name in ("art", "lora", "soft-prompt")})
    found = compare(replace(chosen, also=[str(other)]), tmp_path / "out")
    for name in ("art", "lora", "soft-prompt"):
        request = Request(
            str(tiny_folder),
            str(other),
            str(tmp_path / "out" / f"{name}-1"),
            limit=6,
            dtype="float32",
            threads=1,
        )
        score, samples = open_request(request).run()
        assert found[Cell(name, 1)].answered[1].right == [sample.correct for sample in samples]
        assert found[Cell(name, 1)].answered[1].score["tokens"] == score.tokens


def test_every_answer_is_kept(tiny_folder, problems, other, tmp_path):
    """As long as the run says for its own task, and as long as another task says itself."""
    chosen = plan(tiny_folder, problems, adapters=[], controls=["blank"], seeds=[0], also=[str(other)])
    found, longest = compare(chosen, tmp_path / "out")[Cell("blank", 0)].answered, []
    for one, task in zip(found, ("own", "other"), strict=True):
        with (tmp_path / "out" / "blank-0" / "answers" / f"{task}.jsonl").open() as kept:
            said = [json.loads(line)["completion"] for line in kept]
        assert len(said) == len(one.right) == 6
        longest.append(max(len(ids) for ids in zoo.tokenizer()(said)["input_ids"]))
    assert longest[1] > 5 * longest[0]  # 256 and 8 tokens, which their text is not read as


def test_an_interrupted_comparison_goes_on(tiny_folder, problems, tmp_path, monkeypatch):
    chosen = plan(tiny_folder, problems, adapters=["art"], controls=[])
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = compare(chosen, whole)
    train, begun = training.train, []

    def failing(settings, out, *rest):
        begun.append(out.name)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return train(settings, out, *rest)

    monkeypatch.setattr(training, "train", failing)
    with pytest.raises(KeyboardInterrupt):
        compare(chosen, cut)
    found = compare(chosen, cut)
    assert begun == ["art-0.02", "art-0.2", "art-0", "art-0", "art-1"]
    assert [one.rate for one in found.values()] == [one.rate for one in expected.values()]
    painted = [[Painting.load(out / name / "art.png").pixels for name in ("art-0", "art-1")] for out in (whole, cut)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*painted, strict=True))
    assert not torch.equal(*painted[0])
    assert compare(chosen, cut).keys() == found.keys()
    assert len(begun) == 5


def test_another_comparison_is_not_mixed_in(tiny_folder, problems, tmp_path):
    chosen = plan(tiny_folder, problems, adapters=[], controls=["blank"], seeds=[0])
    compare(chosen, tmp_path / "out")
    with pytest.raises(BadInput, match="another comparison"):
        compare(replace(chosen, seeds=[1]), tmp_path / "out")
    auto = replace(chosen, run=replace(chosen.run, dtype="auto", patience=7))
    assert compare(auto, tmp_path / "out").keys() == compare(chosen, tmp_path / "out").keys()
    with pytest.raises(BadInput, match="another comparison"):
        compare(replace(chosen, run=replace(chosen.run, dtype="bfloat16")), tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").write_text("mine")
    with pytest.raises(BadInput, match="no comparison"):
        compare(chosen, tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thing"]


def test_a_comparison_that_is_still_going_is_not_gone_on_with(tiny_folder, problems, tmp_path):
    chosen = plan(tiny_folder, problems, adapters=[], controls=["blank"], seeds=[0])
    refused = []

    def meanwhile(found) -> None:
        with pytest.raises(BadInput, match="another process is at work"):
            compare(chosen, tmp_path / "out")
        refused.append(found)

    compare(chosen, tmp_path / "out", shown=meanwhile)
    assert refused


def test_what_a_comparison_was_begun_with_may_not_change(tiny_folder, problems, tmp_path):
    picture = tmp_path / "art.png"
    Painting(torch.zeros(3, 224, 224, dtype=torch.uint8)).save(picture)
    controls = ["none", "blank", "artwork"]
    chosen = plan(tiny_folder, problems, adapters=[], controls=controls, artwork=str(picture), seeds=[0])
    out = tmp_path / "out"
    compare(chosen, out)
    (out / "blank-0" / "cell.json").unlink()
    kept = {path: path.read_bytes() for path in (picture, problems, tiny_folder / "tokenizer.json")}
    Painting(torch.ones(3, 224, 224, dtype=torch.uint8)).save(picture)
    with pytest.raises(BadInput, match=f"artwork changed since {out} was begun"):
        compare(chosen, out)
    picture.write_bytes(kept[picture])
    told = json.loads(kept[tiny_folder / "tokenizer.json"])
    letters = told["model"]["vocab"]
    letters["s"], letters["y"] = letters["y"], letters["s"]
    other = {
        problems: kept[problems].replace(b"3: say grey", b"3: say gray"),
        tiny_folder / "tokenizer.json": json.dumps(told).encode(),
    }
    for path, text in other.items():
        path.write_bytes(text)
        with pytest.raises(BadInput, match=f"problems changed since {out} was begun"):
            compare(chosen, out)
        path.write_bytes(kept[path])
    model = zoo.tiny("qwen2_5_vl")
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    model.save_pretrained(tiny_folder)
    with pytest.raises(BadInput, match=f"model changed since {out} was begun"):
        compare(chosen, out)
    zoo.tiny("qwen2_5_vl").save_pretrained(tiny_folder)
    assert compare(chosen, out).keys() == {Cell(name, 0) for name in controls}


def test_the_rate_is_chosen_without_the_test_problems(tiny_folder, problems, tmp_path, monkeypatch):
    chosen = plan(tiny_folder, problems, adapters=["art"], controls=[])
    hall = cells.Hall(chosen, tmp_path, str)
    asked = []
    monkeypatch.setattr(cells.Hall, "_run", lambda self, settings, folder, split: asked.append(split) or made[folder])
    made = {}
    for rate, correct, losses in ((0.02, 5, [3, 2]), (0.2, 6, [3, 2.5])):
        folder = tmp_path / "search" / f"art-{rate:g}"
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(f'{{"loss": {loss}}}\n' for loss in losses))
        made[folder] = [{"accuracy": correct / 20, "ci95": wilson(correct, 20)}]
    assert hall._rate("art") == 0.02  # both do as well, but for chance, and it learned more
    made[tmp_path / "search" / "art-0.2"] = [{"accuracy": 0.9, "ci95": wilson(18, 20)}]
    assert cells.Hall(chosen, tmp_path, str)._rate("art") == 0.2
    assert set(asked) == {"validation"}


def test_a_rate_at_which_a_run_fails_is_not_chosen(tiny_folder, problems, tmp_path, monkeypatch):
    chosen = plan(tiny_folder, problems, adapters=["lora"], controls=[], rates={"lora": [1e-3, 1e3]}, seeds=[0])
    train = training.train

    def failing(settings, *rest):
        if settings.learning_rate == 1e3:
            raise FloatingPointError("the gradient is not finite")
        return train(settings, *rest)

    monkeypatch.setattr(training, "train", failing)
    assert compare(chosen, tmp_path / "out")[Cell("lora", 0)].rate == 1e-3


def test_a_rate_that_fails_a_later_seed_is_struck_out_for_all(tiny_folder, problems, tmp_path, monkeypatch):
    """And stays so when the comparison is interrupted thereafter."""
    rates = {"lora": [1e-3, 1e-2]}
    chosen = plan(tiny_folder, problems, adapters=["lora"], controls=[], rates=rates)
    train, begun = training.train, []
    monkeypatch.setattr(cells.Hall, "_tried", lambda self, name, rate: (rate, 0.0, 1.0, rate))  # the higher, the better

    def failing(settings, out, *rest):
        begun.append((out.name, settings.learning_rate))
        if begun[-1] == ("lora-1", 1e-2):
            raise FloatingPointError("the gradient is not finite")
        if len(begun) == 3:
            raise KeyboardInterrupt
        return train(settings, out, *rest)

    monkeypatch.setattr(training, "train", failing)
    said = []
    with pytest.raises(KeyboardInterrupt):
        compare(chosen, tmp_path / "out", said.append)
    assert any("lora went astray at 0.01" in line for line in said)
    found = compare(chosen, tmp_path / "out")
    assert {cell: result.rate for cell, result in found.items()} == {
        Cell("none", 0): None,
        Cell("lora", 0): 1e-3,
        Cell("lora", 1): 1e-3,
    }
    assert begun == [("lora-0", 1e-2), ("lora-1", 1e-2), *[("lora-0", 1e-3)] * 2, ("lora-1", 1e-3)]


def test_what_would_fail_late_is_found_at_once(tiny_folder, problems, other, tmp_path):
    (tmp_path / "no.png").write_text("no picture")
    for changes, told in (
        ({"also": [str(problems)]}, "own is there already"),
        ({"controls": ["few-shot"], "shots": 29}, "28 training problems have a reply that is right"),
        ({"controls": ["artwork"], "artwork": str(tmp_path / "no.png")}, "no.png"),
    ):
        with pytest.raises(BadInput, match=told):
            compare(plan(tiny_folder, problems, **changes), tmp_path / "out")
    short = plan(tiny_folder, problems, also=[str(other)])
    few = replace(short, run=replace(short.run, max_prompt=32))
    with pytest.raises(BadInput, match="also: other has no test problem with a prompt this short"):
        compare(few, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_finds_it_too_and_makes_nothing(command, tiny_folder, problems, other, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = {*tmp_path.iterdir(), tmp_path / "c.yaml"}
    peaks = []
    for also, code in (([], 0), ([str(other)], 0), (["gsm9k"], 2)):
        (tmp_path / "c.yaml").write_text(plan(tiny_folder, problems, also=also, controls=["none"]).as_yaml())
        found, said, complaint = command("compare", "c.yaml", "--dry-run")
        assert found == code, complaint
        assert ("cells" in said) == (code == 0)
        assert ("unknown task 'gsm9k'" in complaint) == (code == 2)
        peaks += [float(re.search(r"memory +about ([0-9.]+) GiB", said)[1])] if code == 0 else []
    assert peaks[1] > peaks[0]  # who knows how long the other task's prompts are
    assert {*tmp_path.iterdir()} == there


def test_the_command_goes_on_and_ends_in_tables_and_plots(command, tiny_folder, problems, other, tmp_path, monkeypatch):
    file, out = tmp_path / "c.yaml", tmp_path / "out"
    chosen = plan(tiny_folder, problems, controls=["blank"], seeds=[0], also=[str(other)])
    file.write_text(replace(chosen, rates={name: [1e-2] for name in chosen.rates}).as_yaml())
    train = training.train

    def failing(settings, *rest):
        if settings.adapter == "lora":
            raise KeyboardInterrupt
        return train(settings, *rest)

    monkeypatch.setattr(training, "train", failing)
    code, said, complaint = command("compare", file, "--out", out)
    assert (code, said) == (1, "")
    assert f"compare {file} --out {out}" in complaint.replace("\n", " ").replace("  ", " ")
    assert len(json.loads((out / "compare.json").read_text())["scores"]) == 6  # what is there after three of five cells
    monkeypatch.setattr(training, "train", train)
    code, said, complaint = command("compare", file, "--out", out, "--json")
    assert code == 0
    told = json.loads(said)
    assert told == json.loads((out / "compare.json").read_text())
    assert [one["adapter"] for one in told["scores"]] == ["none", "blank", "art", "lora", "soft-prompt"] * 2
    against = {(one["name"], one["against"]) for one in told["pairs"]}
    assert against >= {("art", "none"), ("art", "blank"), ("art", "lora"), ("art", "soft-prompt"), ("lora", "none")}
    assert ("lora", "blank") not in against
    assert "5 of 5 cells" in complaint
    code, said, _ = command("compare", file, "--out", out)
    assert (code, said) == (0, (out / "compare.md").read_text())
    assert "| against text only | against LoRA | against a soft prompt |" in said
    assert command("compare", file)[0] == 2
    assert command("compare", tmp_path / "none.yaml", "--out", out)[0] == 2


def test_rates_that_all_go_astray_are_said(tiny_folder, problems, tmp_path, monkeypatch):
    chosen = plan(tiny_folder, problems, adapters=["lora"], controls=[], rates={"lora": [1, 2]}, seeds=[0])

    def failing(*_):
        raise FloatingPointError("the gradient is not finite")

    monkeypatch.setattr(training, "train", failing)
    with pytest.raises(Failed, match="lora goes astray at all of 1, 2; name lower ones"):
        compare(chosen, tmp_path / "out")


def test_what_goes_missing_on_the_way_is_no_bad_input(command, tiny_folder, problems, tmp_path, monkeypatch):
    """As a server that was there for the first arm."""
    file, out = tmp_path / "c.yaml", tmp_path / "out"
    file.write_text(plan(tiny_folder, problems, adapters=["lora"], controls=[], rates={"lora": [1e-3]}).as_yaml())

    def failing(*_):
        raise BadInput("cannot take rollouts from http://127.0.0.1:9: no connection")

    monkeypatch.setattr(training, "train", failing)
    code, said, complaint = command("compare", file, "--out", out)
    assert (code, said) == (1, "")
    assert "no connection. Once that is mended, go on with: " in " ".join(complaint.split())


def test_a_file_is_read_as_it_was_written(tiny_folder, problems, other, tmp_path):
    chosen = plan(tiny_folder, problems, also=[str(other)])
    (tmp_path / "c.yaml").write_text(chosen.as_yaml())
    assert Comparison.read(tmp_path / "c.yaml") == chosen


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adapter": "lora"}, "adapter is what a comparison varies"),
        ({"colour": "red"}, "unknown setting colour"),
        ({"adapters": ["lora", "dora"]}, "there is no dora"),
        ({"controls": ["nothing"]}, "there is no nothing"),
        ({"controls": ["instruction"]}, "add instructions"),
        ({"controls": ["artwork"]}, "artwork is None"),
        ({"seeds": [1, 1]}, "name each once"),
        ({"seeds": 1}, "must be a list"),
        ({"rates": {"art": [0]}}, "numbers above 0"),
        ({"rates": {"ink": [1]}}, "there is no ink"),
        ({"rates": {1: [1]}}, "there is no 1"),
        ({"rates": {"art": [0.01, float("inf")]}}, "learning_rate is inf"),
        ({"validation": 0}, "give one each"),
        ({"steps": 0}, "steps is 0"),
        ({"shots": 0}, "shots is 0"),
        ({"search_steps": -1}, "search_steps is -1"),
        ({"seeds": [-1]}, "seed is -1"),
        ({"objective": "grpo"}, "soft-prompt learns by sft alone"),
        ({"objective": "grpo", "adapters": ["lora"], "batch_size": 6}, "no multiple of generations"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(changes, told, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(changes))
    with pytest.raises(BadInput, match=told) as raised:
        Comparison.read(path)
    assert str(path) in str(raised.value)
