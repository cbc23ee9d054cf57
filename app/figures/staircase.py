"""Time of one layer against its rank: measured points, the dense layer with its noise band, both break-even ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.lines import note
from app.figures.scales import Scale
from app.figures.theme import LIGHT, Theme, dress

Quartiles = tuple[float, float, float]


def staircase_figure(
    at: Sequence[int], times: Sequence[Quartiles], dense: Quartiles, noise: float, measured: int, counted: int, *,
    look: Theme = LIGHT, height: int = 340,
) -> go.Figure:  # fmt: skip
    """Median time in ms at every level with its quartiles; shaded: the dense median plus and minus the A/A noise.

    measured, counted   the last level that saves time here, and the last that saves MACs; 0 where none does."""
    fig = go.Figure()
    fig.add_scatter(
        x=list(at),
        y=[median for _, median, _ in times],
        error_y={
            "array": [high - median for _, median, high in times],
            "arrayminus": [median - low for low, median, _ in times],
            "color": look.context,
            "thickness": 1,
        },
        mode="lines+markers",
        line={"color": look.color(0), "width": look.line_width, "shape": "linear"},
        marker={"symbol": look.symbol(0), "size": 8},
        hovertemplate="rank %{x}: median %{y:.3g} ms<extra></extra>",
        name="low rank",
    )
    band = {"xref": "paper", "x0": 0, "x1": 1, "layer": "below", "line": {"width": 0}}
    fig.add_shape(type="rect", y0=dense[1] - noise, y1=dense[1] + noise, fillcolor=look.color(1), opacity=0.22, **band)
    place = {"xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom", "showarrow": False}
    fig.add_annotation(text=f"dense {dense[1]:.3g} ms ± noise", y=dense[1] + noise, font={"size": look.small}, **place)
    for level, words, dash in ((measured, "saves time up to", "solid"), (counted, "saves MACs up to", "dash")):
        if level and at[0] <= level <= at[-1]:
            line = {"color": look.text, "width": 1.5, "dash": dash}
            fig.add_shape(type="line", yref="paper", y0=0, y1=1, x0=level, x1=level, line=line)
            side = "left" if dash == "solid" else "right"
            fig.add_annotation(
                text=f"{words} {level}", x=level, y=0.02 if dash == "solid" else 0.12, yref="paper", xanchor=side,
                yanchor="bottom", showarrow=False, font={"size": look.small},
            )  # fmt: skip
    if not measured:
        note(fig, "no timed rank is faster than dense here", look, 0.5, "center")
    x = Scale(float(at[0]), float(max(at[-1], at[0] + 1)), pad=0.04)
    high = max(*(high for _, _, high in times), dense[1] + noise)
    y = Scale(0.0, high, pad=0.08)
    axes = {"xaxis": x.axis(look, "rank"), "yaxis": y.axis(look, "time of the layer, ms, median")}
    return dress(fig, look, "staircase", height, **axes)


def staircase_table(at: Sequence[int], times: Sequence[Quartiles], dense: Quartiles) -> dict[str, list[Any]]:
    """One row a level, the dense layer last; ms."""
    rows = [*times, dense]
    return {
        "rank": [*at, None],
        "lower quartile, ms": [low for low, _, _ in rows],
        "median, ms": [median for _, median, _ in rows],
        "upper quartile, ms": [high for _, _, high in rows],
    }


def staircase_alt(measured: int, counted: int) -> str:
    """Which ranks save time, against which save multiply-adds."""
    if not measured:
        return f"No timed rank is faster than the dense layer here, though ranks up to {counted} need fewer MACs."
    return f"Ranks up to {measured} are faster than the dense layer here; up to {counted} need fewer MACs."
