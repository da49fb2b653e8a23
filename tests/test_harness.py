"""lm-evaluation-harness gets the answers that `arttune eval` gets, with and without a chat template."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import lm_eval
import pytest
import torch
import yaml
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from arttune import harness
from arttune.canvas import Painting, Provenance
from arttune.errors import BadInput
from arttune.prompts import placeholder
from arttune.scoring import Request, open_request
from arttune.style.starts import start_pixels
from arttune.tasks import get_task
from test_training import problems

__all__ = ["problems"]

LENGTH = 6


@pytest.fixture
def art(tmp_path):
    Painting(start_pixels("noise", (224, 224))).save(tmp_path / "art.png")
    return tmp_path / "art.png"


@pytest.fixture
def tasks(problems, tmp_path):
    """A task of the harness that generates answers to our own problems and needs no hub."""
    rows = [{"q": one.prompt[0]["content"], "a": one.answer} for one in get_task(str(problems)).load("test")[:6]]
    (tmp_path / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "own_words",
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
    (tmp_path / "tasks" / "own_words.yaml").write_text(yaml.safe_dump(task))
    return tmp_path / "tasks"


@pytest.mark.parametrize("shown", [True, False])
def test_its_answers_are_those_of_eval(shown, tiny_folder, art, problems, tasks):
    arguments = f"pretrained={tiny_folder},dtype=float32" + (f",painting={art}" if shown else "")
    found = lm_eval.simple_evaluate(
        model="arttune",
        model_args=arguments,
        tasks=["own_words"],
        task_manager=TaskManager(include_path=str(tasks)),
        apply_chat_template=True,
        batch_size=4,
        bootstrap_iters=0,
    )
    request = Request(
        str(tiny_folder), str(problems), str(art) if shown else "none", limit=6, max_new_tokens=LENGTH, dtype="float32"
    )
    _, samples = open_request(request).run()
    said = [one["resps"][0][0].strip() for one in found["samples"]["own_words"]]
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


def test_likelihoods_are_of_what_stands_behind_the_picture(tiny_folder, art):
    model = harness.ArtLM(str(tiny_folder), str(art), "float32")
    asked = [Instance("loglikelihood", {}, ("a text", " and more"), 0)]
    ((found, _),) = model.loglikelihood(asked, disable_tqdm=True)
    ids = torch.tensor([model.tok_encode(placeholder(64) + "a text and more")])
    logits = model.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].log_softmax(-1)
    at = range(len(ids[0]) - len(" and more"), len(ids[0]))
    assert found == pytest.approx(sum(float(logits[i - 1, ids[0, i]]) for i in at), abs=1e-3)
    with pytest.raises(BadInput, match="without a context"):
        model.loglikelihood([Instance("loglikelihood", {}, ("", "more"), 0)])
    with pytest.raises(BadInput, match="whole documents"):
        model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("more",), 0)])


def test_what_it_does_not_take_is_refused(tiny_folder, art):
    with pytest.raises(BadInput, match="has no peft; it takes pretrained, painting"):
        harness.ArtLM(str(tiny_folder), peft="runs/lora")
    with pytest.raises(BadInput, match="give a number"):
        harness.ArtLM(str(tiny_folder), str(art), batch_size="auto")
    plain, shown = harness.ArtLM(str(tiny_folder)), harness.ArtLM(str(tiny_folder), str(art))
    assert plain.tokenizer_name != shown.tokenizer_name


def test_a_painting_is_shown_to_the_model_it_was_painted_for(tiny_folder, art, tmp_path, caplog):
    """That is the default; another is warned of."""
    made = Provenance(model=str(tiny_folder), family="qwen2_5_vl")
    Painting(Painting.load(art).pixels, made).save(tmp_path / "made.png")
    shown = harness.ArtLM(painting=str(tmp_path / "made.png"))
    assert shown.model.get_base_model().name_or_path == str(tiny_folder)
    assert "painted for" not in caplog.text
    other = tmp_path / "other"
    shutil.copytree(tiny_folder, other)
    harness.ArtLM(str(other), str(tmp_path / "made.png"))
    assert f"was painted for {tiny_folder}, not for {other}" in caplog.text


def test_a_cut_picture_is_refused(tiny_folder, art):
    model = harness.ArtLM(str(tiny_folder), str(art), "float32")
    with pytest.raises(BadInput, match="would cut the picture"):
        model.tok_batch_encode(["too long" * 20], left_truncate_len=100)
    asked = [Instance("loglikelihood", {}, ("too long" * 20, " and more"), 0)]
    model._max_length = 200
    with pytest.raises(BadInput, match="longer than 200 tokens; cutting it would cut the picture"):
        model.loglikelihood(asked, disable_tqdm=True)
    model._max_length = 300
    assert len(model.loglikelihood(asked, disable_tqdm=True)) == 1


def test_the_command_line_has_the_model(tiny_folder, art, tasks, tmp_path):
    words = ["run", "--model", "arttune", "--model_args", f"pretrained={tiny_folder},painting={art}"]
    words += ["--tasks", "own_words", "--include_path", str(tasks), "--apply_chat_template", "--output_path", "found"]
    program = [sys.executable, "-c", "from arttune.cli import main; main()", "lm-eval", *words]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "own_words" in done.stdout
    (result,) = tmp_path.glob("found/**/results_*.json")
    assert "exact_match,none" in json.loads(result.read_text())["results"]["own_words"]
