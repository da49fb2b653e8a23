"""Charts: what is drawn lies where its numbers say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from arttune.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Series, chart


@pytest.mark.parametrize(
    ("values", "floor", "low", "high", "ticks"),
    [
        ([0.0, 0.37], 0, 0.0, 0.4, [0, 0.1, 0.2, 0.3, 0.4]),
        ([0.91, 0.985, 1.0], None, 0.9, 1.0, [0.9, 0.95, 1.0]),
        ([0, 450], None, 0, 600, [0, 200, 400, 600]),
        ([3.0], None, 3.0, 3.3, [3.0, 3.1, 3.2, 3.3]),
        ([-2.0, 5.0], None, -2.0, 6.0, [-2, 0, 2, 4, 6]),
    ],
)
def test_axes_end_at_round_numbers_around_all_values(values, floor, low, high, ticks):
    axis = Axis.over("x", values, floor=floor)
    assert (axis.low, axis.high) == (pytest.approx(low), pytest.approx(high))
    assert axis.ticks == pytest.approx(ticks)
    assert all(-1e-9 <= axis.place(value) <= 1 + 1e-9 for value in values)


def test_ticks_are_said_as_people_do():
    assert Axis.over("x", [0, 1], percent=True).said(0.15) == "15 %"
    assert Axis.over("x", [0, 1]).said(0.30000000000000004) == "0.3"


@pytest.mark.parametrize(
    ("values", "percent", "told"),
    [
        ([0, 1800], False, ["0", "500", "1000", "1500", "2000"]),
        ([0.9985, 1.0], False, ["0.9985", "0.9990", "0.9995", "1.0000"]),
        ([0, 0.37], True, ["0 %", "10 %", "20 %", "30 %", "40 %"]),
        ([0, 0.01], True, ["0.0 %", "0.5 %", "1.0 %"]),
    ],
)
def test_ticks_tell_themselves_from_their_neighbours(values, percent, told):
    axis = Axis.over("x", values, percent=percent)
    assert [axis.said(tick) for tick in axis.ticks] == told


def test_points_lie_where_their_numbers_say():
    x, y = Axis("step", 0, 100), Axis("share", 0, 1)
    points = [(0, 0.0), (50, 0.5), (100, 1.0)]
    drawn = chart(
        "a <name>", x, y, [Series(points), Series(points[1:], "accent", [(0.25, 0.75), (1, 1)], ["half", ""])]
    )
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == "a <name>. half"
    places = [(LEFT, HEIGHT - BOTTOM), ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2), (WIDTH - RIGHT, TOP)]
    (line,) = root.findall("polyline")
    assert [tuple(map(float, at.split(","))) for at in line.get("points").split()] == places
    dots = root.findall("circle")
    assert [(float(dot.get("cx")), float(dot.get("cy"))) for dot in dots] == places[1:]
    assert [dot.findtext("title") for dot in dots] == ["half", None]
    assert root.findall("text[@class='mark']") == []
    span = next(one for one in root.findall("line") if "span" in one.get("class"))
    height = HEIGHT - TOP - BOTTOM
    assert (float(span.get("y1")), float(span.get("y2"))) == (TOP + height / 4, TOP + 3 * height / 4)


def test_marks_stand_beside_their_points_and_on_the_paper():
    drawn = chart(
        "name", Axis("x", 0, 1), Axis("y", 0, 1), [Series([(0.5, 0.5), (1, 1)], "accent", marks=["1", "<2>"])]
    )
    one, two = ElementTree.fromstring(drawn).findall("text[@class='mark']")
    assert (one.text, one.get("text-anchor"), float(one.get("x")) - (LEFT + WIDTH - RIGHT) / 2) == ("1", "start", 8)
    assert (two.text, two.get("text-anchor"), float(two.get("x"))) == ("<2>", "end", WIDTH - RIGHT - 8)


def test_only_a_chart_that_follows_a_slider_has_a_marker():
    axes = Axis.over("x", [0, 1]), Axis.over("y", [0, 1])
    assert [len(re.findall('class="marker"', chart("n", *axes, [], marker=m))) for m in (True, False)] == [1, 0]
