from __future__ import annotations

import math

from app.figures.recovery import recovery_alt, recovery_figure, recovery_table
from app.figures.tradeoff import tradeoff_figure
from tests.app.figures.points import DENSE, POINTS, accuracy, made

CURVE = [
    {"epoch": i, "loss": loss, "held_out": acc, "lr": 1e-3, "seconds": float(i), "best": best}
    for i, (loss, acc, best) in enumerate(
        [(math.nan, 0.5, True), (1.0, 0.8, True), (0.5, 0.9, True), (0.4, 0.85, False)]
    )
]


def test_the_curve_starts_before_training_and_marks_what_stayed():
    fig = recovery_figure(CURVE)
    assert list(fig.data[0].x) == [0, 1, 2, 3] and list(fig.data[0].y) == [50, 80, 90, 85]
    assert fig.layout.shapes[0].x0 == 2 and any("epoch 2 stayed" in note.text for note in fig.layout.annotations)
    assert "NaN" not in fig.to_json()
    worse = [CURVE[0], {**CURVE[3], "held_out": 0.4}]
    assert any("nothing was better" in note.text for note in recovery_figure(worse).layout.annotations)


def test_table_and_words():
    table = recovery_table(CURVE)
    assert table["mean training loss"] == [None, 1.0, 0.5, 0.4] and table["stayed"] == [False, False, True, False]
    assert recovery_alt(CURVE) == "Held-out accuracy went from 50.0% to 90.0% at epoch 2 of 3 trained."


def test_a_trained_point_has_an_arrow_from_where_it_was():
    from dataclasses import replace

    trained = replace(made("t", 0.3, 0.85), before=accuracy(0.6))
    arrows = [a for a in tradeoff_figure([*POINTS, trained], "macs", DENSE).layout.annotations if a.showarrow]
    assert [(a.x, a.y, a.ax, a.ay) for a in arrows] == [(30, 85, 30, 60)]
    assert not [a for a in tradeoff_figure(POINTS, "macs", DENSE).layout.annotations if a.showarrow]
