"""lm-evaluation-harness gets the answers that `arttune eval` gets, with and without a chat template."""

from __future__ import annotations

import json
import subprocess
import sys

import lm_eval
import pytest
import yaml
from lm_eval.tasks import TaskManager

from arttune import harness
from arttune.canvas import Painting, start_pixels
from arttune.errors import BadInput
from arttune.prompts import placeholder
from arttune.scoring import Request, open_request
from arttune.tasks import get_task

LENGTH = 6


@pytest.fixture
def art(tmp_path):
    Painting(start_pixels("noise", (224, 224))).save(tmp_path / "art.png")
    return tmp_path / "art.png"


@pytest.fixture
def tasks(tmp_path):
    """A task of the harness that generates answers to six SVAMP problems and needs no hub."""
    rows = [{"q": one.prompt[0]["content"], "a": one.answer} for one in get_task("svamp").load("test")[:6]]
    (tmp_path / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "own_svamp",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.json")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "generation_kwargs": {"max_gen_toks": LENGTH, "until": ["<never>"], "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "own_svamp.yaml").write_text(yaml.safe_dump(task))
    return tmp_path / "tasks"


@pytest.mark.parametrize("shown", [True, False])
def test_its_answers_are_those_of_eval(shown, tiny_folder, art, tasks):
    arguments = f"pretrained={tiny_folder},dtype=float32" + (f",painting={art}" if shown else "")
    found = lm_eval.simple_evaluate(
        model="arttune",
        model_args=arguments,
        tasks=["own_svamp"],
        task_manager=TaskManager(include_path=str(tasks)),
        apply_chat_template=True,
        batch_size=4,
        bootstrap_iters=0,
    )
    request = Request(
        str(tiny_folder), "svamp", str(art) if shown else "none", limit=6, max_new_tokens=LENGTH, dtype="float32"
    )
    _, samples = open_request(request).run()
    said = [one["resps"][0][0].strip() for one in found["samples"]["own_svamp"]]
    assert said == [sample.completion for sample in samples]
    assert len(set(said)) > 1


def test_without_a_template_the_picture_comes_first(tiny_folder, art):
    model = harness.ArtLM(str(tiny_folder), str(art), "float32", batch_size=2)
    ids, mask = model.tok_batch_encode(["a longer text", "text"])
    pad = model.model.config.image_token_id
    assert (ids == pad).sum(dim=1).tolist() == [64, 64]
    assert model.tok_decode(ids[0].tolist(), skip_special_tokens=False) == placeholder(64) + "a longer text"
    assert mask.sum(dim=1).diff().item() == len("text") - len("a longer text")  # a token a byte
    context, continuation = model._encode_pair("a text", " and more")
    assert (context.count(pad), continuation.count(pad)) == (64, 0)


def test_a_cut_picture_is_refused(tiny_folder, art):
    model = harness.ArtLM(str(tiny_folder), str(art), "float32")
    with pytest.raises(BadInput, match="would cut the picture"):
        model.tok_batch_encode(["too long" * 20], left_truncate_len=100)


def test_the_command_line_has_the_model(tiny_folder, art, tasks, tmp_path):
    words = ["run", "--model", "arttune", "--model_args", f"pretrained={tiny_folder},painting={art}"]
    words += ["--tasks", "own_svamp", "--include_path", str(tasks), "--apply_chat_template", "--output_path", "found"]
    program = [sys.executable, "-c", "from arttune.cli import main; main()", "lm-eval", *words]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "own_svamp" in done.stdout
    (result,) = tmp_path.glob("found/**/results_*.json")
    assert "exact_match,none" in json.loads(result.read_text())["results"]["own_svamp"]
