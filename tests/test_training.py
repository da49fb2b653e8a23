"""A run from start to finish on a tiny model: what it writes, and that interruptions change nothing."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoTokenizer

import zoo
from arttune import Painting, cli, evaluate, training
from arttune.canvas import Provenance
from arttune.errors import BadInput
from arttune.evaluate import wilson
from arttune.finishing import Exam, next_command
from arttune.objectives import studio
from arttune.records import LOCK, read_metrics
from arttune.scoring import Request, open_request
from arttune.serving import request_line
from arttune.settings import Settings

WORDS = ("red", "green", "blue", "grey")
FILES = {
    *("art.png", "adapter_config.json", "adapter_model.safetensors", "config.yaml", "metrics.jsonl", "results.json"),
    *("samples.jsonl", "learning_curve.png", "start_and_end.png", "checkpoints"),
    *("frames", "gallery.html"),
}


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    rows = [{"prompt": f"{i}: say {w}", "completion": f"Answer: {w}", "answer": w} for i, w in enumerate(WORDS * 10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(tiny_folder: Path, problems: Path, **changes: object) -> Settings:
    chosen = {
        "model": str(tiny_folder),
        "task": str(problems),
        "steps": 12,
        "batch_size": 4,
        "accumulate": 2,
        "eval_every": 4,
        "validation": 4,
        "warmup": 2,
        "max_new_tokens": 8,
        "dtype": "float32",
        "threads": 1,
    }
    return Settings(**(chosen | changes))


def test_a_painting_keeps_the_arguments_of_its_chat_template(tiny_folder, problems, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.chat_template = "{% if loud %}LOUD {% endif %}" + tokenizer.chat_template
    tokenizer.save_pretrained(tiny_folder)
    run = settings(tiny_folder, problems, steps=1, template="loud=true")
    training.train(run, tmp_path / "run", str)
    assert Painting.load(tmp_path / "run" / "art.png").provenance.template == {"loud": True}

    def asked(**request: str) -> tuple[str, dict]:
        ready = open_request(Request(model=str(tiny_folder), task=str(problems), **request))
        turns = ready.problems[0].prompt
        return ready.loaded.tokenizer.apply_chat_template(turns, tokenize=False)[:5], ready.template

    assert asked(adapter=str(tmp_path / "run")) == ("LOUD ", {"loud": True})
    assert asked(adapter=str(tmp_path / "run"), template="loud=false")[0] != "LOUD "
    assert asked(adapter="none")[0] != "LOUD "
    assert '"chat_template_kwargs": {"loud": true}' in request_line(tmp_path / "run" / "art.png", "m", 80, "hi")


def test_a_run_writes_its_folder(tiny_folder, problems, tmp_path):
    out = tmp_path / "run"
    said: list[str] = []
    scores = training.train(settings(tiny_folder, problems), out, said.append)
    assert {p.name for p in out.iterdir()} - {LOCK} == FILES
    written = json.loads((out / "results.json").read_text())["scores"]
    assert [s["adapter"] for s in written] == ["none", "art"]
    assert written == [s.as_dict() for s in scores]
    assert written[0]["n"] == 8
    assert [line["step"] for line in read_metrics(out / "metrics.jsonl")] == list(range(1, 13))
    lines = read_metrics(out / "metrics.jsonl")
    assert [line["step"] for line in lines if "eval_accuracy" in line] == [4, 8, 12]
    assert sum(line["loss"] for line in lines[-3:]) < sum(line["loss"] for line in lines[:3])
    painting = Painting.load(out / "art.png")
    made = painting.provenance
    assert painting.intact()
    assert (made.model, made.family, made.task) == (str(tiny_folder), "qwen2_5_vl", "own")
    assert (made.objective, made.steps, made.seed) == ("sft", 12, 0)
    assert made.scores == written
    assert Settings.read(out / "config.yaml", {}) == settings(tiny_folder, problems, learning_rate=0.02)
    assert len((out / "samples.jsonl").read_text().splitlines()) == 8
    assert any("12 steps of 8" in line for line in said)


def test_memory_is_seen_to_after_each_step_and_each_batch_of_answers(tiny_folder, problems, tmp_path, monkeypatch):
    seen = []
    for room in (studio, evaluate):
        monkeypatch.setattr(room, "make_room", lambda room=room: seen.append(room))
    training.train(settings(tiny_folder, problems, steps=3, eval_every=3), tmp_path / "run")
    assert seen.count(studio) == 3
    assert seen.count(evaluate) == 3  # validation, the test problems, and those by the text alone


def test_the_same_settings_paint_the_same_picture(tiny_folder, problems, tmp_path):
    chosen = settings(tiny_folder, problems, steps=4, validation=0)
    for name in ("a", "b"):
        training.train(chosen, tmp_path / name)
    other = settings(tiny_folder, problems, steps=4, validation=0, seed=1)
    training.train(other, tmp_path / "c")
    a, b, c = (Painting.load(tmp_path / name / "art.png").pixels for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_best_validated_checkpoint_is_kept(tiny_folder, problems, tmp_path, monkeypatch):
    """With a judge that likes the second checkpoint best, that one becomes the painting."""
    shares = iter([0.1, 0.9, 0.2])
    real = studio.evaluate

    def judge(model, *rest, **kwargs):
        score, samples = real(model, *rest, **kwargs)
        if kwargs["split"] == "validation":
            score.accuracy = next(shares)
        return score, samples

    monkeypatch.setattr(studio, "evaluate", judge)
    out = tmp_path / "run"
    training.train(settings(tiny_folder, problems), out)
    best = Painting.load(out / "checkpoints" / "checkpoint-8" / "art.png").pixels
    last = Painting.load(out / "checkpoints" / "checkpoint-12" / "art.png").pixels
    assert torch.equal(Painting.load(out / "art.png").pixels, best)
    assert not torch.equal(best, last)
    for name in ("results.json", "art.png"):  # as if killed while it scored
        (out / name).unlink()
    training.resume(out, {})
    assert torch.equal(Painting.load(out / "art.png").pixels, best)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_ends_with_the_same_picture(tiny_folder, problems, tmp_path, how):
    config = tmp_path / "c.yaml"
    settings(tiny_folder, problems).write(config)
    reference = tmp_path / "reference"
    training.train(settings(tiny_folder, problems), reference)
    out = tmp_path / "run"
    arttune = [Path(sys.executable).with_name("arttune"), "train", "--out", str(out)]
    running = subprocess.Popen([*arttune, "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(read_metrics(out / "metrics.jsonl")) < 6 and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(how)
    _, stderr = running.communicate(timeout=60)
    assert not (out / "results.json").exists(), "it was stopped in time"
    if how is signal.SIGINT:
        assert running.returncode == 1
        assert f"arttune train --resume --out {out}" in " ".join(stderr.decode().split())
    assert (out / "checkpoints" / "checkpoint-4").is_dir()
    done = subprocess.run([*arttune, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "going on from checkpoint-" in done.stderr
    assert torch.equal(Painting.load(out / "art.png").pixels, Painting.load(reference / "art.png").pixels)
    assert [line["step"] for line in read_metrics(out / "metrics.jsonl")] == list(range(1, 13))
    ours, theirs = (json.loads((f / "results.json").read_text())["scores"][-1] for f in (out, reference))
    assert (ours["correct"], ours["tokens"]) == (theirs["correct"], theirs["tokens"])


def test_a_run_killed_while_it_scored_takes_no_further_step(tiny_folder, problems, tmp_path):
    """A constant rate: one more step would be seen in the picture."""
    out = tmp_path / "run"
    training.train(settings(tiny_folder, problems, schedule="constant", validation=0), out)
    finished = Painting.load(out / "art.png").pixels
    for name in ("results.json", "art.png"):
        (out / name).unlink()
    training.resume(out, {})
    assert torch.equal(Painting.load(out / "art.png").pixels, finished)
    assert [line["step"] for line in read_metrics(out / "metrics.jsonl")] == list(range(1, 13))


@pytest.mark.parametrize("objective", ["grpo", "dpo"])
def test_with_a_reference_beside_it_a_painting_is_resumed_too(objective, tiny_folder, tmp_path, monkeypatch):
    """Validation on, and a second adapter in each checkpoint, the starting canvas: resuming must not load that one."""
    path = tmp_path / "own.jsonl"
    pairs = [{"chosen": f"Answer: {w}", "rejected": "no"} for w in WORDS * 5]
    rows = [
        {"prompt": f"{i}: say one", "answer": "aa"} | (pair if objective == "dpo" else {})
        for i, pair in enumerate(pairs)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "vowels.py").write_text(
        "def share(completions, **_): return [c[0]['content'].count('a') for c in completions]"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "vowels", raising=False)
    more = {"objective": objective, "batch_size": 8, "generations": 4, "beta": 0.1, "rewards": "vowels:share"}
    chosen = settings(tiny_folder, path, steps=10, schedule="constant", **more)
    unbroken, out = tmp_path / "unbroken", tmp_path / "run"
    training.train(chosen, unbroken)
    training.train(chosen, out)
    for name in ("results.json", "art.png"):
        (out / name).unlink()
    for late in out.glob("checkpoints/checkpoint-10"):  # as if killed after step 8, in the second epoch
        shutil.rmtree(late)
    training.resume(out, {})
    assert not (out / "ref").exists()
    assert [line["step"] for line in read_metrics(out / "metrics.jsonl")] == list(range(1, 11))
    last = (Painting.load(f / "checkpoints" / "checkpoint-10" / "art.png").pixels for f in (out, unbroken))
    assert torch.equal(*last)


@pytest.mark.parametrize(("correct", "kept"), [((0, 0, 0), 12), ((10, 5, 9), 12), ((16, 5, 9), 4), ((3, 12, 6), 8)])
def test_an_earlier_checkpoint_is_kept_only_if_it_leads_by_more_than_chance(
    correct, kept, tiny_folder, problems, tmp_path, monkeypatch
):
    """Of 50 validation problems after steps 4, 8 and 12: a standard error is about five of them."""
    real, counts = studio.evaluate, iter(correct)

    def judge(model, *rest, split, **kwargs):
        score, samples = real(model, *rest, split=split, **kwargs)
        if split == "validation":
            right = next(counts)
            score = replace(score, n=50, correct=right, accuracy=right / 50, ci95=wilson(right, 50))
        return score, samples

    monkeypatch.setattr(studio, "evaluate", judge)
    out = tmp_path / "run"
    training.train(settings(tiny_folder, problems), out)
    assert Painting.load(out / "art.png").provenance.steps == kept


def test_the_text_alone_is_asked_once(tiny_folder, problems, tmp_path, monkeypatch):
    """A run told by one beside it writes what it would have found, unless that was asked other questions."""
    real, asked = studio.evaluate, []
    monkeypatch.setattr(studio, "evaluate", lambda *a, **k: asked.append((k["adapter"], k["split"])) or real(*a, **k))
    first, second, other = (tmp_path / name for name in ("a", "b", "c"))
    run = settings(tiny_folder, problems, steps=2, validation=0)
    training.train(run, first, exam=Exam.beside(first))
    training.train(replace(run, seed=1), second, exam=Exam.beside(second))
    training.train(replace(run, test_limit=3), other, exam=Exam.beside(other))
    assert [adapter for adapter, _ in asked] == ["none", "art", "art", "none", "art"]
    told, own = (json.loads((path / "results.json").read_text())["scores"][0] for path in (second, first))
    assert told == own | {"seed": 1}
    both = ([json.loads(line)["text_only"] for line in (path / "samples.jsonl").open()] for path in (second, first))
    assert next(both) == next(both)


def test_the_next_command_scores_the_same_problems(tiny_folder, problems, tmp_path, capsys, monkeypatch):
    out = tmp_path / "a run"
    test = tmp_path / "test.jsonl"
    rows = problems.read_text().splitlines(keepends=True)[:14]
    test.write_text("".join(rows))
    turns = [[{"role": "user", "content": json.loads(row)["prompt"]}] for row in rows]
    ids = zoo.tokenizer().apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    short = sum(len(one) <= 30 for one in ids)
    more = {"test_data": str(test), "test_limit": 0, "max_prompt": 30, "presence_penalty": 1.5}
    training.train(settings(tiny_folder, problems, steps=2, validation=0, **more), out)
    expected = json.loads((out / "results.json").read_text())["scores"][1]
    monkeypatch.setattr(sys, "argv", ["arttune", *shlex.split(next_command(out)), "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    found = json.loads(capsys.readouterr().out)["scores"][0]
    for name in ("task", "split", "n", "correct", "tokens", "adapter", "model"):
        assert found[name] == expected[name], name
    assert found["n"] == short
    assert 0 < short < len(rows)


@pytest.mark.parametrize(("task", "named"), [("toolmind", True), ("svamp", False)])
def test_the_next_command_names_data_that_both_splits_come_from(tmp_path, task, named):
    Settings(task=task, data="rows.jsonl").write(tmp_path / "config.yaml")
    assert ("--data rows.jsonl" in next_command(tmp_path)) is named


def test_a_poster_of_a_task_shows_its_two_shortest_problems_solved(tiny_folder, problems):
    chosen = settings(tiny_folder, problems, start="poster")
    opened, loaded = training.opened(chosen)
    name, *told = training.canvas_config(chosen, opened, loaded).start.split("\n")
    assert name == "poster:own"
    brief = sorted(opened.train, key=lambda one: (len(one.question + one.completion), one.question))[:2]
    assert told == [text for one in brief for text in (one.question, one.completion)]


def test_a_failed_set_up_leaves_nothing_behind(tiny_folder, problems, tmp_path, monkeypatch):
    monkeypatch.setattr(studio, "Recorder", lambda metrics: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training.train(settings(tiny_folder, problems), tmp_path / "run")
    assert not [p for p in tmp_path.iterdir() if "run" in p.name]


def test_a_kill_while_a_checkpoint_is_written_goes_back_to_the_one_before(tiny_folder, problems, tmp_path):
    out = tmp_path / "run"
    training.train(settings(tiny_folder, problems), out)
    finished = Painting.load(out / "art.png").pixels
    for name in ("results.json", "art.png"):
        (out / name).unlink()
    (out / "checkpoints" / "checkpoint-12" / "trainer_state.json").write_text('{"global_st')
    training.resume(out, {})
    assert torch.equal(Painting.load(out / "art.png").pixels, finished)


def test_a_launcher_of_several_processes_is_refused(tiny_folder, problems, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match="one process"):
        training.train(settings(tiny_folder, problems), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_input_leaves_nothing_behind(tiny_folder, problems, tmp_path):
    out = tmp_path / "run"
    (tmp_path / "no.jsonl").write_text('{"prompt": "a", "answer": "b"}\n' * 10)
    (tmp_path / "no.png").write_text("no picture")
    for change, complaint in (
        ({"size": 100}, "Nearest"),
        ({"task": "nothing"}, "unknown task"),
        ({"model": "nothing"}, "unknown model"),
        ({"objective": "hope"}, "unknown objective 'hope'; there are sft"),
        ({"start": "nothing.png"}, "no picture file and no colour"),
        ({"start": str(tmp_path / "no.png")}, "is not a picture"),
        ({"task": str(tmp_path / "no.jsonl")}, "no.jsonl, line 1: no completion"),
        ({"test_data": str(tmp_path / "none.jsonl")}, "no such file"),
        ({"task": "toolmind", "test_data": str(problems)}, "test_data is for tasks with a file for each split"),
        ({"data": str(problems)}, "data is for built-in tasks"),
        ({"objective": "dpo"}, "chosen and rejected"),
    ):
        with pytest.raises(BadInput, match=complaint):
            training.train(settings(tiny_folder, problems, **change), out)
        assert not out.exists()


def test_an_existing_folder_is_left_alone(tiny_folder, problems, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "precious").write_text("mine")
    with pytest.raises(BadInput, match="exists; choose another folder"):
        training.train(settings(tiny_folder, problems), out)
    with pytest.raises(BadInput, match="is no run folder"):
        training.resume(out, {})
    assert [p.name for p in out.iterdir()] == ["precious"]


def test_resuming_refuses_other_settings_and_finished_runs(tiny_folder, problems, tmp_path):
    out = tmp_path / "run"
    training.train(settings(tiny_folder, problems, steps=1, validation=0), out)
    with pytest.raises(BadInput, match="is finished"):
        training.resume(out, {})
    with pytest.raises(BadInput, match="steps cannot change"):
        training.resume(out, {"steps": 2})
    assert yaml.safe_load((out / "config.yaml").read_text())["steps"] == 1


def test_a_run_that_is_still_going_is_not_gone_on_with(tiny_folder, problems, tmp_path):
    out, refused = tmp_path / "run", []

    def meanwhile(line: str) -> None:
        with pytest.raises(BadInput, match="another process is at work"):
            training.resume(out, {})
        refused.append(line)

    training.train(settings(tiny_folder, problems, steps=1, validation=0), out, meanwhile)
    began = len(refused)
    (out / "results.json").unlink()
    training.resume(out, {}, meanwhile)
    assert 0 < began < len(refused)


def test_servers_that_will_not_do_are_not_kept(tiny_folder, problems, tmp_path, monkeypatch):
    out = tmp_path / "run"
    training.train(settings(tiny_folder, problems, steps=1, validation=0), out)
    (out / "results.json").unlink()

    def failing(*_):
        raise BadInput("cannot take rollouts from there")

    monkeypatch.setattr(training, "_set_up", failing)
    with pytest.raises(BadInput, match="cannot take rollouts"):
        training.resume(out, {"rollouts": "http://127.0.0.1:9"})
    assert yaml.safe_load((out / "config.yaml").read_text())["rollouts"] == "model"


@zoo.REAL
def test_the_request_of_a_tool_use_painting_tells_the_tools(tiny_folder, tmp_path):
    made = Provenance(model="m", family="qwen2_5_vl", task="bfcl:simple_python")
    Painting(torch.zeros(3, 224, 224, dtype=torch.uint8), made).save(tmp_path / "art.png")
    assert "<tools>" in request_line(tmp_path / "art.png", str(tiny_folder), 80, None)


def test_a_finished_run_is_complete_and_one_of_other_settings_is_not_it(tiny_folder, problems, tmp_path, monkeypatch):
    chosen, out = settings(tiny_folder, problems, steps=1, validation=0), tmp_path / "run"
    scores = training.complete(chosen, out)
    monkeypatch.setattr(training, "train", None)
    monkeypatch.setattr(training, "resume", None)
    assert training.complete(replace(chosen, patience=9, learning_rate=0.02), out) == scores
    with pytest.raises(BadInput, match=r"run is a run of another start, steps, see .*config\.yaml"):
        training.complete(replace(chosen, steps=2, start="red"), out)


def test_a_begun_run_goes_on_with_another_server(tiny_folder, problems, tmp_path, monkeypatch):
    chosen, out = settings(tiny_folder, problems, steps=1, validation=0), tmp_path / "run"
    training.train(chosen, out)
    (out / "results.json").unlink()
    training.complete(replace(chosen, patience=9), out)
    assert Settings.read(out / "config.yaml", {}).patience == 9
