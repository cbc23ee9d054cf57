from __future__ import annotations

import numpy as np
import pytest

from app.figures.compared import MOST, compared_alt, compared_figure, compared_table
from app.figures.parallel import parallel_alt, parallel_figure
from app.figures.predicted import predicted_figure, tradeoff_table
from app.figures.tradeoff import tradeoff_alt, tradeoff_figure
from tests.app.figures.points import DENSE, POINTS, made


def markers(fig):
    return [trace for trace in fig.data if trace.mode == "markers" and trace.customdata is not None]


def test_every_measured_point_stands_at_its_share_and_accuracy_and_carries_its_key():
    fig = tradeoff_figure(POINTS, "macs", DENSE)
    found = {key: (x, y, bar) for t in markers(fig) for key, x, y, bar in
             zip(t.customdata, t.x, t.y, t.error_y.array, strict=True)}  # fmt: skip
    assert set(found) == {"a", "b", "c", "d"}, "e is not measured"
    assert found["b"] == pytest.approx((50.0, 80.0, 2.0)) and found["c"] == pytest.approx((50.0, 70.0, 2.0))
    assert {t.name for t in markers(fig)} == {"factored", "masks"}
    assert len({(t.marker.color, t.marker.symbol) for t in markers(fig)}) == 2, "not by colour alone"


def test_the_front_is_a_staircase_without_what_is_beaten():
    fig = tradeoff_figure(POINTS, "params", DENSE)
    (front,) = [trace for trace in fig.data if trace.mode == "lines"]
    assert list(front.x) == pytest.approx([20, 50, 80]) and list(front.y) == pytest.approx([50, 80, 89])
    assert front.line.shape == "hv"


def test_latency_is_in_milliseconds_and_has_the_dense_one_as_a_line():
    fig = tradeoff_figure(POINTS, "latency", DENSE)
    assert sorted(x for t in markers(fig) for x in t.x) == [1.0, 1.5, 2.05, 3.0]
    assert any(shape.x0 == shape.x1 == 2.0 for shape in fig.layout.shapes)
    assert "ms" in fig.layout.xaxis.title.text
    assert markers(tradeoff_figure([made("x", 0.5, 0.8)], "latency", DENSE)) == [], "nothing is timed"


def test_the_dense_accuracy_is_drawn_with_its_n_and_pinned_and_chosen_are_ringed():
    fig = tradeoff_figure(POINTS, "bytes", DENSE, pinned="a", chosen=("b", "d"))
    assert any(shape.y0 == shape.y1 == pytest.approx(90) for shape in fig.layout.shapes)
    assert any("dense 90.0 %, n = 500" in note.text for note in fig.layout.annotations)
    rings = [trace for trace in fig.data if trace.marker.symbol == "circle-open" and trace.customdata is None]
    assert sorted(trace.x[0] for trace in rings) == pytest.approx([20, 50, 80])


def test_everything_drawn_lies_inside_the_axes():
    for axis in ("macs", "latency"):
        fig = tradeoff_figure(POINTS, axis, DENSE)
        for trace in markers(fig):
            assert np.all(
                (np.array(trace.x) >= fig.layout.xaxis.range[0]) & (np.array(trace.x) <= fig.layout.xaxis.range[1])
            )
            assert np.all(
                (np.array(trace.y) >= fig.layout.yaxis.range[0]) & (np.array(trace.y) <= fig.layout.yaxis.range[1])
            )


def test_without_a_measured_point_it_says_so():
    fig = tradeoff_figure([POINTS[-1]], "macs", DENSE)
    assert any("no point is measured yet" in note.text for note in fig.layout.annotations)
    assert tradeoff_alt([POINTS[-1]], "macs", DENSE) == "No configuration is measured yet."
    assert tradeoff_alt(POINTS, "macs", DENSE) == (
        "4 measured configurations, 3 on the front; its ends: 50.0 % at 20 % of MACs and 89.0 % at 80 % of MACs."
    )


def test_hovering_tells_predicted_from_measured_and_says_what_is_slower():
    text = {key: words for t in markers(tradeoff_figure(POINTS, "macs", DENSE)) for key, words in
            zip(t.customdata, t.hovertext, strict=True)}  # fmt: skip
    assert "predicted 2<br>measured 80.0 ± 2.0 %, n = 500" in text["b"] and "slower" not in text["b"]
    assert "3 ms, dense 2 ms; slower than dense" in text["d"] and "slower" not in text["c"], "within the noise"


def test_names_cannot_become_markup():
    fig = tradeoff_figure([made("a", 0.5, 0.8, label="<img src=x onerror=alert(1)>")], "macs", DENSE)
    assert "<img" not in fig.to_json()


def test_predictions_are_hollow_and_apart():
    fig = predicted_figure(POINTS, "macs", DENSE)
    assert all(trace.marker.symbol.endswith("-open") for trace in fig.data)
    assert sum(len(trace.x) for trace in fig.data) == 5, "measured or not"
    assert fig.layout.yaxis.title.text.startswith("predicted: sum of") and fig.layout.yaxis.type == "log"


def test_the_table_has_every_point_and_leaves_empty_what_is_not_measured():
    table = tradeoff_table(POINTS, DENSE)
    assert table["key"] == ["a", "b", "c", "d", "e"] and table["accuracy, measured"] == [0.5, 0.8, 0.7, 0.89, None]
    assert table["MACs kept"] == pytest.approx([0.2, 0.5, 0.5, 0.8, 0.9]) and table["latency, ms"][4] is None
    assert len({len(column) for column in table.values()}) == 1


def test_plans_are_compared_layer_by_layer():
    layers, kept = ["conv1", "conv2"], {"1: one": [0.5, 1.0], "2: two": [0.4, 0.2]}
    fig = compared_figure(layers, kept, "MACs")
    assert [list(trace.x) for trace in fig.data] == [[50, 100], [40, 20]] and list(fig.data[0].y) == layers
    assert compared_table(layers, kept) == {"layer": layers, "1: one": [0.5, 1.0], "2: two": [0.4, 0.2]}
    assert compared_alt(layers, kept) == "2 plans; they differ most in conv2, by 80 points of its cost."
    many = {str(i): [1.0, 1.0] for i in range(12)}
    assert len(compared_figure(layers, many, "MACs").data) == MOST


def test_parallel_coordinates_have_latency_only_where_all_were_timed():
    labels = [side.label for side in parallel_figure(POINTS[:4], DENSE).data[0].dimensions]
    assert labels[-2:] == ["latency, ms", "accuracy, %"]
    part = parallel_figure([POINTS[0], made("x", 0.5, 0.8)], DENSE).data[0]
    assert "latency, ms" not in [side.label for side in part.dimensions]
    assert list(part.dimensions[-1].values) == pytest.approx([50, 80]) == list(part.line.color)
    assert parallel_alt(POINTS).startswith("4 measured configurations")
