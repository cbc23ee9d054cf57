from __future__ import annotations

import pytest

from app.figures.repair import LABELS, RepairStep, repair_alt, repair_figure, repair_table

STEPS = [
    RepairStep("plain", 0.16, 0.004, 10_000, 0.9),
    RepairStep("sequential", 0.78, 0.004, 10_000, 0.2),
    RepairStep("batchnorm", 0.77, 0.004, 10_000, 0.25, kept=False),
    RepairStep("bias", None, distance=0.19),
]


def test_accuracy_has_bars_of_two_standard_errors_and_only_where_measured():
    dots = repair_figure(STEPS, 0.81).data[0]
    assert list(dots.x) == pytest.approx([16, 78, 77])
    assert list(dots.error_x.array) == pytest.approx([0.8, 0.8, 0.8])
    assert list(dots.y) == [0, 1, 2]


def test_an_undone_step_is_hollow_and_says_so():
    fig = repair_figure(STEPS)
    assert list(fig.data[0].marker.symbol) == ["circle", "circle", "circle-open"]
    assert fig.data[1].marker.color[2] == fig.layout.paper_bgcolor != fig.data[1].marker.color[1]
    assert fig.layout.yaxis.ticktext[2] == "BatchNorm re-estimation<br>(undone)"
    assert "(undone)" not in fig.layout.yaxis.ticktext[1]


def test_the_dense_accuracy_is_a_line_inside_the_axis():
    fig = repair_figure(STEPS, 0.81)
    assert fig.layout.shapes[0].x0 == pytest.approx(81)
    assert fig.layout.xaxis.range[0] < 15.2 and fig.layout.xaxis.range[1] > 81


def test_distances_are_bars():
    bars = repair_figure(STEPS).data[1]
    assert list(bars.x) == pytest.approx([90, 20, 25, 19]) and bars.xaxis == "x2"


def test_nothing_measured_still_draws_and_says_so():
    fig = repair_figure([RepairStep("plain")])
    assert any("not measured" in a.text for a in fig.layout.annotations)
    assert "not measured" in repair_alt([RepairStep("plain")])
    assert repair_figure([]).layout.height > 0


def test_table_and_alt_text():
    assert repair_table(STEPS)["accuracy"] == [0.16, 0.78, 0.77, None]
    assert repair_table(STEPS)["step"][0] == "truncation alone"
    assert repair_alt(STEPS) == "Repair took accuracy from 16.0% to 78.0%; sequential fit gave most."


def test_every_step_of_the_core_has_words():
    from core.compression.plans import STEPS as core_steps

    assert {"plain", "removed", *core_steps} == set(LABELS)
