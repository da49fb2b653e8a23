"""The command line: exit codes, one line for bad input, results on stdout and nothing else there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from peft import get_peft_model
from PIL import Image, PngImagePlugin

import zoo
from arttune import ArtConfig, cli
from arttune.cli import base

PROBLEMS = "".join(json.dumps({"prompt": f"say {w}", "answer": w}) + "\n" for w in ("red", "green", "blue", "grey"))


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["arttune", *map(str, arguments)])
        for console in (base.out, base.err):
            console._file = None  # pytest swaps the streams for each test
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    get_peft_model(zoo.tiny("qwen2_5_vl"), ArtConfig(start="noise")).save_pretrained(str(tmp_path / "art"))
    return tmp_path / "art" / "art.png"


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    (tmp_path / "own.jsonl").write_text(PROBLEMS)
    return tmp_path / "own.jsonl"


@pytest.mark.parametrize(
    "command", [(), ("train",), ("eval",), ("info",), ("verify",), ("serve-command",), ("models",), ("tasks",)]
)
def test_help(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "Usage" in out


def test_train_help_lists_every_setting(run):
    from arttune.settings import Settings

    _, out, _ = run("train", "--help")
    for name in vars(Settings()):
        assert re.search(rf"--{name.replace('_', '-')}\s", out), name


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nonsense",), "No such command"),
        (("train",), "out"),
        (("train", "--out", "x", "--steps", "many"), "--steps"),
        (("eval", "--limit", "0"), "limit"),
        (("eval", "--task", "nothing"), "unknown task 'nothing'"),
        (("eval", "--task", "FILE", "--model", "nothing"), "unknown model"),
        (("eval", "--task", "FILE", "--adapter", "nothing.png"), "nothing.png"),
        (("eval", "--task", "FILE", "--split", "validation"), "validation"),
        (("info", "nothing.png"), "nothing.png"),
        (("train", "--out", "x", "--config", "nothing.yaml"), "nothing.yaml"),
        (("train", "--out", "x", "--resume"), "x"),
        (("train", "--out", "x", "--task", "nothing"), "unknown task 'nothing'"),
        (("train", "--out", "x", "--task", "FILE", "--model", "FOLDER"), "no completion"),
        (("train", "--out", "x", "--size", "100", "--task", "WORKED", "--model", "FOLDER"), "Nearest"),
    ],
)
def test_bad_usage_and_bad_input_exit_with_2(run, arguments, complaint, problems, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worked = tmp_path / "worked.jsonl"
    worked.write_text("".join(json.dumps({"prompt": f"{i}?", "completion": f"{i}!"}) + "\n" for i in range(40)))
    known = {"FILE": problems, "WORKED": worked, "FOLDER": tiny_folder}
    code, out, err = run(*(known.get(a, a) for a in arguments))
    assert code == 2
    assert out == ""
    assert complaint in err
    assert "Traceback" not in err
    if err.startswith("arttune: "):
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_a_failure_while_running_exits_with_1(run, monkeypatch):
    from arttune import scoring

    monkeypatch.setattr(scoring, "open_request", lambda request: 1 / 0)
    code, out, err = run("eval")
    assert (code, out) == (1, "")
    assert "failed: ZeroDivisionError: division by zero" in err


def test_eval_prints_one_score_as_json(run, tiny_folder, problems, painting):
    for adapter, name in (("none", "none"), (painting, "art"), (painting.parent, "art")):
        code, out, _ = run(
            *("eval", "--model", tiny_folder, "--task", problems, "--data", problems, "--adapter", adapter),
            *("--json", "--limit", 3, "--max-new-tokens", 4, "--dtype", "float32"),
        )
        assert code == 0
        (score,) = json.loads(out)["scores"]
        assert (score["n"], score["adapter"], score["model"]) == (3, name, str(tiny_folder))


def test_eval_of_a_hand_written_instruction(run, tiny_folder, problems):
    words = ("eval", "--model", tiny_folder, "--task", problems, "--max-new-tokens", 4, "--instruction", "Think first.")
    code, out, _ = run(*words, "--json")
    assert code == 0
    assert json.loads(out)["scores"][0]["adapter"] == "instruction"
    _, out, err = run(*words)
    assert "Think first." in err, "the shown question is what the model was asked"
    assert "instruction" in out


def test_eval_shows_a_table_and_samples(run, tiny_folder, problems):
    arguments = ("eval", "--model", tiny_folder, "--task", problems, "--data", problems, "--max-new-tokens", 4)
    code, out, err = run(*arguments, "--dtype", "float32")
    assert code == 0
    assert "text only" in out
    assert "say red" in err
    assert "say red" not in out


def test_info(run, painting):
    code, out, _ = run("info", painting)
    assert code == 0
    assert "qwen2_5_vl" in out
    assert "as painted" in out
    code, out, _ = run("info", painting.parent, "--json")
    assert json.loads(out)["intact"] is True, "of a run folder too"


def test_info_on_pictures_that_are_not_ours(run, painting, tmp_path):
    Image.new("RGB", (28, 28)).save(tmp_path / "plain.png")
    code, _, err = run("info", tmp_path / "plain.png")
    assert code == 2
    assert "without provenance" in err


def test_info_says_when_the_pixels_were_changed(run, painting, tmp_path):
    picture = Image.open(painting)
    picture.putpixel((3, 3), (255, 0, 0))
    chunks = PngImagePlugin.PngInfo()
    for key, value in picture.text.items():
        chunks.add_itxt(key, value)
    picture.save(tmp_path / "edited.png", pnginfo=chunks)
    code, out, err = run("info", tmp_path / "edited.png")
    assert code == 2
    assert "CHANGED" in out
    assert "not to the sha256 in its provenance" in err


def test_eval_takes_its_options_from_a_file_and_flags_win(run, tiny_folder, problems, tmp_path):
    (tmp_path / "e.yaml").write_text(
        f"model: {tiny_folder}\ntask: {problems}\ndata: {problems}\nlimit: 3\njson: true\nmax-new-tokens: 4\n"
    )
    code, out, _ = run("eval", "--config", tmp_path / "e.yaml", "--limit", 2)
    assert code == 0
    assert json.loads(out)["scores"][0]["n"] == 2
    (tmp_path / "e.yaml").write_text("limits: 3\n")
    code, _, err = run("eval", "--config", tmp_path / "e.yaml")
    assert code == 2
    assert "unknown option limits" in err
    (tmp_path / "e.yaml").write_text("limit: many\n")
    code, _, err = run("eval", "--config", tmp_path / "e.yaml")
    assert code == 2
    assert "e.yaml: limit is 'many'; it must be a whole number" in " ".join(err.split())


def test_a_rehearsal_is_of_a_run_that_has_not_begun(run, tmp_path):
    code, _, err = run("train", "--resume", "--dry-run", "--out", tmp_path / "run")
    assert code == 2
    assert "--dry-run is for one that has not begun" in " ".join(err.split())


def test_markup_in_answers_is_shown_as_it_is(run, tiny_folder, tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps({"prompt": "say [/INST]", "answer": "[/INST] [red]"}) + "\n")
    code, _, err = run("eval", "--model", tiny_folder, "--task", tmp_path / "m.jsonl", "--max-new-tokens", 4)
    assert code == 0
    assert "[/INST] [red]" in err


def test_a_start_line_needs_no_painting(run, tiny_folder):
    code, out, _ = run("serve-command", "--model", tiny_folder, "--port", "8123")
    assert code == 0
    assert out.startswith(f"vllm serve {tiny_folder} ")
    assert "--port 8123" in out
    assert "curl" not in out
    code, _, err = run("serve-command")
    assert code == 2
    assert "name a painting" in err


def test_models_and_tasks_list_what_there_is(run):
    assert "smol" in run("models")[1]
    out = run("tasks")[1]
    assert "svamp" in out
    assert "family_relationships" in out


def test_the_installed_command_keeps_messages_off_stdout(tiny_folder, problems, tmp_path):
    arttune = Path(sys.executable).parent / "arttune"
    done = subprocess.run(
        [arttune, "eval", "--model", tiny_folder, "--task", problems, "--json", "--max-new-tokens", "4"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"]
