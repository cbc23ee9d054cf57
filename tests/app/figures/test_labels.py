from __future__ import annotations

import math
from itertools import pairwise

import plotly.graph_objects as go
import pytest

from app.figures.labels import LONGEST, End, end_labels, margin, spread
from app.figures.scales import Scale
from app.figures.theme import LIGHT


def test_labels_far_apart_stay_where_their_lines_end():
    assert spread([0.9, 0.1, 0.5], 0.1) == [0.9, 0.1, 0.5]


@pytest.mark.parametrize("wanted", [[0.5] * 5, [0.0, 0.01, 0.02], [1.0, 0.99, 0.98, 0.2], [0.31, 0.3, 0.35, 0.9, 0.91]])
def test_labels_keep_their_distance_their_order_and_the_plot(wanted):
    gap = 0.15
    placed = spread(wanted, gap)
    ordered = sorted(placed)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(ordered))
    assert ordered[0] >= 0 and ordered[-1] <= 1 + 1e-9
    for a, b in zip(wanted, placed, strict=True):
        for c, d in zip(wanted, placed, strict=True):
            assert not (a < c - 0.01 and b > d)


def test_more_labels_than_fit_are_spaced_evenly():
    assert sorted(spread([0.5] * 6, 0.5)) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_of_lines_that_end_level_the_left_one_is_nearer_the_edge():
    low = spread([0.0, 0.0, 0.0], 0.1, across=[64, 16, 32])
    assert low[1] < low[2] < low[0]
    high = spread([1.0, 1.0], 0.1, across=[64, 16])
    assert high[1] > high[0]


def test_a_label_points_at_the_end_of_its_line_and_is_literal_text():
    fig, end = go.Figure(), End("<b>x</b>", 10, 0.1, "#0072B2", "●")
    end_labels(fig, [end], Scale(1, 100, log=True), Scale(0.01, 1, log=True), LIGHT, 400)
    label = fig.layout.annotations[0]
    assert (label.x, label.y) == pytest.approx((1, math.log10(0.1)))
    assert label.ax == pytest.approx(2.04) and label.axref == "x"
    assert "&lt;b&gt;x" in label.text and "●" in label.text


def test_the_margin_grows_with_the_longest_label_up_to_its_limit():
    assert margin([], LIGHT) == 24
    assert margin(["fc1"], LIGHT) < margin(["layer3.2.conv2"], LIGHT) < margin(["x" * LONGEST], LIGHT)
    assert margin(["x" * LONGEST], LIGHT) == margin(["x" * 90], LIGHT)
