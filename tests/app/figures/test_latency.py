from __future__ import annotations

import pytest

from app.figures.latency import Quartiles, latency_alt, latency_figure, latency_table

DENSE, PLAN = Quartiles(3.1, 3.2, 3.4, 50), Quartiles(2.3, 2.4, 2.6, 50)


def test_bars_go_from_quartile_to_quartile():
    bars, medians = latency_figure(DENSE, PLAN, 0.1).data
    assert list(bars.base) == [3.1, 2.3]
    assert list(bars.x) == pytest.approx([0.3, 0.3])
    assert list(medians.x) == [3.2, 2.4]


def test_the_band_is_the_dense_median_and_the_spread():
    band = latency_figure(DENSE, PLAN, 0.1).layout.shapes[0]
    assert (band.x0, band.x1) == pytest.approx((3.1, 3.3))


def test_everything_lies_inside_the_axis():
    low, high = latency_figure(DENSE, PLAN, 2.0).layout.xaxis.range
    assert low < 1.2 and high > 5.2


@pytest.mark.parametrize(
    ("plan", "spread", "word"),
    [(PLAN, 0.1, "1.33× faster"), (PLAN, 0.9, "No difference"), (Quartiles(6, 6.4, 7, 9), 0.1, "2.00× slower")],
)
def test_the_verdict(plan, spread, word):
    assert word in latency_alt(DENSE, plan, spread)


def test_the_table_has_a_row_for_the_spread():
    table = latency_table(DENSE, PLAN, 0.1)
    assert table["network"] == ["dense", "plan", "A/A spread"] and table["median, ms"] == [3.2, 2.4, 0.1]
