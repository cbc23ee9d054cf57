from __future__ import annotations

import pytest

from app.figures.staircase import staircase_alt, staircase_figure, staircase_table

AT, TIMES, DENSE = (1, 4, 8), ((0.4, 0.5, 0.6), (0.6, 0.7, 0.9), (1.1, 1.2, 1.3)), (0.9, 1.0, 1.1)


def test_medians_quartiles_and_the_noise_band():
    fig = staircase_figure(AT, TIMES, DENSE, 0.05, 4, 6)
    (line,) = fig.data
    assert list(line.x) == [1, 4, 8] and list(line.y) == [0.5, 0.7, 1.2]
    assert list(line.error_y.array) == pytest.approx([0.1, 0.2, 0.1])
    assert list(line.error_y.arrayminus) == pytest.approx([0.1, 0.1, 0.1])
    band = fig.layout.shapes[0]
    assert (band.y0, band.y1) == pytest.approx((0.95, 1.05))


def test_both_break_even_ranks_are_marked_and_told_apart():
    fig = staircase_figure(AT, TIMES, DENSE, 0.05, 4, 6)
    marks = {(shape.x0, shape.line.dash) for shape in fig.layout.shapes[1:]}
    assert marks == {(4, "solid"), (6, "dash")}
    words = [note.text for note in fig.layout.annotations]
    assert "saves time up to 4" in words and "saves MACs up to 6" in words
    none = staircase_figure(AT, TIMES, DENSE, 0.05, 0, 6)
    assert any("no timed rank is faster" in note.text for note in none.layout.annotations)


def test_everything_lies_inside_the_axes_and_the_time_axis_starts_at_zero():
    fig = staircase_figure(AT, TIMES, DENSE, 0.05, 4, 6)
    assert fig.layout.yaxis.range[0] <= 0 and fig.layout.yaxis.range[1] > 1.3
    assert fig.layout.xaxis.range[0] < 1 and fig.layout.xaxis.range[1] > 8


def test_words_and_table():
    assert "up to 4 are faster" in staircase_alt(4, 6) and "No timed rank" in staircase_alt(0, 6)
    table = staircase_table(AT, TIMES, DENSE)
    assert table["rank"] == [1, 4, 8, None] and table["median, ms"] == [0.5, 0.7, 1.2, 1.0]
