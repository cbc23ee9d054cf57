from __future__ import annotations

import pytest

from app.figures.cost import cost_alt, cost_figure, cost_table
from core.networks.costs import Cost

DENSE, HALF = Cost(200, 4000, 800, 4000), Cost(100, 3000, 400, 3000)


def test_bars_are_per_cent_of_the_dense_model():
    fig = cost_figure(DENSE, HALF)
    plan = next(trace for trace in fig.data if trace.name == "plan")
    assert list(plan.y) == ["parameters", "MACs", "bytes"]
    assert list(plan.x) == pytest.approx([50, 75, 50])
    assert any("75.0 %" in a.text and "4.00 k → 3.00 k" in a.text for a in fig.layout.annotations)


def test_a_plan_that_costs_more_fits_the_axis():
    fig = cost_figure(DENSE, Cost(300, 4000, 800, 4000))
    assert fig.layout.xaxis.range[1] >= 150


def test_useful_macs_have_a_row_only_where_they_differ():
    masked = Cost(200, 4000, 800, 1000)
    assert "MACs on non-zeros" in cost_table(DENSE, masked)["quantity"]
    assert "MACs on non-zeros" not in cost_table(DENSE, HALF)["quantity"]


def test_the_table_and_the_alt_text_agree():
    assert cost_table(DENSE, HALF)["kept"] == [0.5, 0.75, 0.5]
    assert cost_alt(DENSE, HALF) == "The plan keeps 50.0% of the parameters, 75.0% of the MACs and 50.0% of the bytes."


def test_unknown_macs_have_no_bar():
    weights_only = Cost(200, 0, 800, 0)
    assert cost_table(weights_only, Cost(100, 0, 400, 0))["quantity"] == ["parameters", "bytes"]
    assert list(cost_figure(weights_only, Cost(100, 0, 400, 0)).data[1].y) == ["parameters", "bytes"]
