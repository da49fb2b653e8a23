"""Plots: what is drawn is what was measured (read back from the figure, not from the file's existence)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from arttune.report import learning_curve, learning_curves, plots, start_and_end


@pytest.fixture
def kept(monkeypatch):
    """The figures, kept open to be read."""
    figures = []
    monkeypatch.setattr(plots.plt, "close", figures.append)
    yield figures
    for figure in figures:
        plt.figure(figure.number)
        plt.clf()


def test_the_learning_curve_shows_every_loss_and_every_validation(tmp_path, kept):
    lines = [{"step": i, "loss": 4.0 / i} for i in range(1, 21)]
    for i in (10, 20):
        lines[i - 1] |= {"eval_accuracy": i / 100, "eval_accuracy_low": i / 200, "eval_accuracy_high": i / 50}
    learning_curve(lines, tmp_path / "curve.png", "title")
    top, low = kept[0].axes
    assert list(top.lines[0].get_ydata()) == [line["loss"] for line in lines]
    smooth = top.lines[1].get_ydata()
    assert smooth[-1] == pytest.approx(np.mean([line["loss"] for line in lines[-10:]]))
    assert list(low.lines[0].get_xdata()) == [10, 20]
    assert list(low.lines[0].get_ydata()) == [0.1, 0.2]
    assert Image.open(tmp_path / "curve.png").size[0] > 500


def test_dollars_in_a_name_are_dollars(tmp_path, kept):
    learning_curve([{"step": 1, "loss": 1.0}], tmp_path / "curve.png", "cost_$5_$10 · m · sft")
    assert kept[0].get_suptitle() == "cost_$5_$10 · m · sft"


def test_where_there_are_rewards_they_are_shown_and_not_the_loss(tmp_path, kept):
    learning_curve([{"step": i, "loss": 0.0, "reward": i / 10} for i in (1, 2)], tmp_path / "curve.png", "title")
    (top,) = kept[0].axes
    assert list(top.lines[0].get_ydata()) == [0.1, 0.2]
    assert top.get_ylabel() == "mean reward"


def test_a_run_without_validation_has_a_curve_too(tmp_path, kept):
    learning_curve([{"step": 1, "loss": 2.0}], tmp_path / "curve.png", "title")
    assert len(kept[0].axes) == 1


def test_curves_beside_each_other_are_those_of_each_run_and_their_mean(tmp_path, kept):
    chance = np.random.default_rng(0)
    lines = [[{"step": i + 1, "loss": x} for i, x in enumerate(chance.random(steps))] for steps in (60, 60, 50)]
    lines[0][-1] |= {"eval_accuracy": 0.5}
    learning_curves({"art": lines[:2], "mine": lines[2:]}, tmp_path / "curves.png", "title")
    (axis,) = kept[0].axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["art", "mine"]
    assert [len(line.get_xdata()) for line in axis.lines] == [60, 60, 60, 50, 50]
    ends = [np.mean([one["loss"] for one in each[-20:]]) for each in lines]
    shown = [line.get_ydata()[-1] for line in axis.lines]
    assert shown == pytest.approx([ends[0], ends[1], (ends[0] + ends[1]) / 2, ends[2], ends[2]])
    assert len({line.get_color() for line in axis.lines}) == 2


def test_each_of_many_curves_has_a_colour_of_its_own(tmp_path, kept):
    lines = [{"step": i, "loss": 1.0 / i} for i in (1, 2)]
    names = ["art", "lora", "soft-prompt", *map(str, range(8))]
    learning_curves({name: [lines] for name in names}, tmp_path / "curves.png", "title")
    (axis,) = kept[0].axes
    assert len({line.get_color() for line in axis.lines}) == len(names)


def test_curves_of_rewards_are_drawn_as_they_are(tmp_path, kept):
    lines = [{"step": i, "loss": 0.0, "reward": i / 10} for i in (1, 2)]
    learning_curves({"art": [lines]}, tmp_path / "curves.png", "title")
    (axis,) = kept[0].axes
    assert axis.get_yscale() == "linear"
    assert axis.lines[1].get_ydata() == pytest.approx([0.1, 0.15])


def test_start_and_end_show_both_pictures_and_the_signed_change(tmp_path, kept):
    start = torch.full((3, 28, 28), 100, dtype=torch.uint8)
    end = start.clone()
    end[0, :, :14] = 150
    end[2, :, 14:] = 75
    start_and_end(start, end, tmp_path / "pair.png")
    first, second, change = (axis.images[0].get_array() for axis in kept[0].axes)
    assert (np.asarray(first) == 100).all()
    assert np.asarray(second)[0, 0].tolist() == [150, 100, 100]
    assert np.asarray(change)[0, 0].tolist() == [1.0, 0.5, 0.5]
    assert np.asarray(change)[0, 27].tolist() == pytest.approx([0.5, 0.5, 0.25])


def test_an_unchanged_canvas_is_drawn_grey(tmp_path, kept):
    same = torch.zeros(3, 28, 28, dtype=torch.uint8)
    start_and_end(same, same, tmp_path / "pair.png")
    assert (np.asarray(kept[0].axes[2].images[0].get_array()) == 0.5).all()
