"""The run's record survives interruptions: one line a step, in order, and only complete checkpoints count."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from arttune.errors import BadInput
from arttune.records import Metrics, held, last_checkpoint, read_metrics


def steps(path):
    return [line["step"] for line in read_metrics(path)]


def test_a_line_a_step_with_the_validation_beside_the_loss(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path)
    metrics.add(1, {"loss": 3.0})
    metrics.add(2, {"loss": 2.0})
    metrics.add(2, {"eval_accuracy": 0.5})
    metrics.add(3, {"loss": 1.0})
    assert read_metrics(path)[1] == {"step": 2, "loss": 2.0, "eval_accuracy": 0.5}
    assert steps(path) == [1, 2, 3]


def test_going_back_to_a_checkpoint_drops_what_came_after(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in range(1, 6):
        Metrics(path).add(step, {"loss": float(step)})
    with path.open("a") as handle:
        handle.write('{"step": 6, "lo')  # cut off by a kill
    metrics = Metrics(path)
    metrics.add(4, {"loss": 40.0})
    metrics.add(5, {"loss": 50.0})
    assert steps(path) == [1, 2, 3, 4, 5]
    assert [line["loss"] for line in read_metrics(path)] == [1.0, 2.0, 3.0, 40.0, 50.0]


def test_a_line_cut_off_by_a_kill_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "lo')
    Metrics(path).add(2, {"loss": 2.0})
    assert [line["loss"] for line in read_metrics(path)] == [3.0, 2.0]


def test_only_complete_checkpoints_count(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step, text in ((5, '{"global_step": 5}'), (10, '{"global_step": 10}'), (15, '{"global_st'), (20, None)):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if text is not None:
            (folder / "trainer_state.json").write_text(text)
    assert last_checkpoint(tmp_path).name == "checkpoint-10"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_folder_is_held_by_one_process_until_that_ends(tmp_path, end):
    hold = (
        "import pathlib, sys, time\n"
        "from arttune.records import held\n"
        "with held(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            with pytest.raises(BadInput, match="another process is at work"), held(tmp_path):
                pass
        finally:
            other.send_signal(end)
    for _ in range(2):
        with held(tmp_path):
            pass
