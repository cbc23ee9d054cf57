"""What each label-free repair step gave: measured accuracy, and how far the outputs are from the original network's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from app.figures.lines import note
from app.figures.scales import PERCENT, Scale
from app.figures.text import safe
from app.figures.theme import LIGHT, Theme, axis, dress

LABELS = {
    "plain": "truncation alone",
    "whitened": "whitened SVD",
    "sequential": "sequential fit",
    "removed": "rows removed",
    "batchnorm": "BatchNorm re-estimation",
    "bias": "bias correction",
}


@dataclass(frozen=True, slots=True)
class RepairStep:
    """The model after one step.

    step      the core's name of it ("plain" is truncation alone), or any words.
    accuracy  in [0, 1], None if not measured; `spread` its binomial standard error, `n` test samples.
    distance  of the calibration outputs from the original network's, relative, >= 0, None if not measured.
    kept      False if the step was tried and undone.
    """

    step: str
    accuracy: float | None = None
    spread: float = 0.0
    n: int = 0
    distance: float | None = None
    kept: bool = True

    @property
    def label(self) -> str:
        """The step in words."""
        return LABELS.get(self.step, self.step)


def repair_figure(steps: Sequence[RepairStep], dense: float | None = None, *, look: Theme = LIGHT) -> go.Figure:
    """Left: accuracy per step, dots with bars of two standard errors (95 %), the dense network's as a line. Right:
    distance on calibration data. Steps that were tried and undone are hollow and say so."""
    labels = [safe(s.label, 32) + ("" if s.kept else "<br>(undone)") for s in steps]
    known = [(i, s, s.accuracy) for i, s in enumerate(steps) if s.accuracy is not None]
    far = [(i, s, s.distance) for i, s in enumerate(steps) if s.distance is not None]
    marks = [a + side * 2 * s.spread for _, s, a in known for side in (-1, 1)] + ([] if dense is None else [dense])
    symbols = ["circle" if s.kept else "circle-open" for _, s, _ in known]
    fill = [look.color(1) if s.kept else look.background for _, s, _ in far]
    fig = go.Figure()
    fig.add_scatter(
        x=[100 * a for *_, a in known],
        y=[i for i, *_ in known],
        mode="markers+text",
        name="accuracy",
        marker={"size": 11, "color": look.color(0), "symbol": symbols},
        error_x={"array": [200 * s.spread for _, s, _ in known], "color": look.color(0), "thickness": 2, "width": 5},
        text=[look.percent(a) for *_, a in known],
        textposition="top left",
        cliponaxis=False,
        customdata=[[labels[i], s.n, 200 * s.spread] for i, s, _ in known],
        hovertemplate="%{customdata[0]}: %{x:.1f} ± %{customdata[2]:.1f} % of %{customdata[1]} samples<extra></extra>",
    )
    fig.add_bar(
        x=[100 * d for *_, d in far],
        y=[i for i, *_ in far],
        xaxis="x2",
        orientation="h",
        width=0.45,
        name="distance",
        marker={"color": fill, "line": {"color": look.color(1), "width": 2}},
        text=[look.percent(d) for *_, d in far],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="distance %{x:.1f} %<extra></extra>",
    )
    note(fig, "" if known else "accuracy not measured", look)
    if dense is not None:
        style, at = {"color": look.muted, "width": 1.5, "dash": "dash"}, 100 * dense
        fig.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, yref="paper", line=style)
        place = {"x": at, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
        fig.add_annotation(text=f"dense {look.percent(dense)}", **place)
    low, high = 100 * min(marks, default=0.0), 100 * max(marks, default=1.0)
    x = Scale(low, max(high, low + 1), pad=0.12, suffix=PERCENT)
    x2 = Scale(0, 125 * (max((d for *_, d in far), default=0.0) or 1.0), pad=0.0, suffix=PERCENT)
    rows: dict[str, Any] = {"range": [len(steps) - 0.4, -0.6], "tickvals": list(range(len(steps))), "ticktext": labels}
    axes = {
        "xaxis": x.axis(look, "accuracy ± 2 standard errors", domain=[0, 0.62]),
        "xaxis2": x2.axis(look, "calibration distance", domain=[0.67, 1], anchor="y"),
        "yaxis": axis(look, showgrid=False, ticks="", **rows),
    }
    return dress(fig, look, "repair", int(120 + 3.4 * look.font_size * len(steps)), 40, **axes)


def repair_table(steps: Sequence[RepairStep]) -> dict[str, list[Any]]:
    """One row per step; accuracy, its standard error and the distance as shares, None where not measured."""
    names = {"step": "label", "accuracy": "accuracy", "standard error": "spread", "samples": "n"}
    names |= {"distance": "distance", "kept": "kept"}
    return {column: [getattr(step, field) for step in steps] for column, field in names.items()}


def repair_alt(steps: Sequence[RepairStep]) -> str:
    """First and last measured accuracy of the steps that were kept, and the step that raised it most."""
    known = [(s.label, s.accuracy) for s in steps if s.accuracy is not None and s.kept]
    if len(known) < 2:
        return "Accuracy after the repair steps is not measured, or none was kept."
    (_, first), (_, last) = known[0], known[-1]
    best = max(pairwise(known), key=lambda pair: pair[1][1] - pair[0][1])[1][0]
    return f"Repair took accuracy from {first:.1%} to {last:.1%}; {best} gave most."
