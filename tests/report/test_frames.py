"""A run keeps pictures of its canvas, and a film has them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import TrainerControl, TrainerState

from arttune import Painting
from arttune.errors import BadInput
from arttune.report.film import LONG, SHORT, film
from arttune.report.frames import COUNT, Frames, kept, moments


@pytest.mark.parametrize("steps", [1, 5, 60, 450, 10_000])
def test_moments_are_dense_early_and_have_both_ends(steps):
    found = moments(steps)
    assert (found[0], found[-1]) == (0, steps)
    assert len(found) <= COUNT + 1
    gaps = np.diff(found)
    assert steps < 60 or (gaps[-1] > 3 * gaps[0] and len(found) > 0.9 * COUNT)


def level(step: int) -> int:
    """One that is far from that of the step before."""
    return step * 73 % 251


def painted(folder, steps: int, from_step: int = 0, judged: tuple[int, ...] = ()) -> None:
    """A run whose canvas has the level of its step in every pixel."""
    state, now = TrainerState(max_steps=steps, global_step=from_step, eval_steps=50), TrainerControl()
    frames = Frames(folder, lambda: Painting(torch.full((3, 28, 56), level(state.global_step), dtype=torch.uint8)))
    frames.on_train_begin(None, state, now)
    while state.global_step < steps:
        state.global_step += 1
        frames.on_step_end(None, state, now)
        if state.global_step in judged:
            frames.on_evaluate(None, state, now)


def test_pictures_are_kept_by_step_and_where_it_was_judged(tmp_path):
    painted(tmp_path, 100, judged=(50,))
    found = kept(tmp_path)
    assert [*found] == sorted({*moments(100), 50})
    assert all(int(np.asarray(Image.open(path)).max()) == level(step) for step, path in found.items())


def test_a_resumed_run_keeps_what_there_was(tmp_path):
    painted(tmp_path, 20)
    (tmp_path / "frames" / "000000.png").rename(tmp_path / "frames" / "000000.kept")
    painted(tmp_path, 400, from_step=10)
    assert [*kept(tmp_path)] == sorted({*moments(20), *(step for step in moments(400) if step >= 10)} - {0})


def test_a_film_shows_every_picture_in_order_and_its_ends_longer(tmp_path):
    painted(tmp_path, 200)
    assert film(tmp_path, tmp_path / "out" / "film.gif", side=112) == len(moments(200))
    shown = Image.open(tmp_path / "out" / "film.gif")
    levels, times = [], []
    for at in range(shown.n_frames):
        shown.seek(at)
        assert shown.size == (112, 56)
        levels.append(int(np.asarray(shown.convert("RGB"))[20, 20, 0]))
        times.append(shown.info["duration"])
    assert levels == pytest.approx([level(step) for step in moments(200)], abs=6)
    assert (times[0], times[1], times[-1]) == (LONG, SHORT, LONG)


def test_a_film_of_nothing_is_said(tmp_path):
    with pytest.raises(BadInput, match="has no frames to make a film of"):
        film(tmp_path, tmp_path / "film.gif")


def test_a_film_needs_a_name_and_whole_frames(tmp_path):
    painted(tmp_path, 3)
    (tmp_path / "frames" / "0copy.png").write_bytes(b"")  # not one of ours
    assert film(tmp_path, tmp_path / "film.gif") == 4
    with pytest.raises(BadInput, match="is a folder; name the GIF"):
        film(tmp_path, tmp_path)
    (tmp_path / "frames" / "000001.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"000001\.png is not a picture"):
        film(tmp_path, tmp_path / "film.gif")
