"""What a layer's function loses against its rank: truncated plainly, with its rows rescaled, from a searched row space,
and the band that no choice leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.scales import PERCENT, Scale
from app.figures.theme import LIGHT, Theme, dress

Curves = Mapping[str, Any]

NAMES = {"none": "truncated", "optimal": "rows rescaled", "norm": "rows at their norm"}


def function_loss_figure(curves: Curves, *, look: Theme = LIGHT, height: int = 440) -> go.Figure:
    """curves: a record as `core.layer_functions.FunctionCurves` holds it. Losses in per cent of what dropping the layer
    loses (behind BatchNorm of a right angle's two thirds)."""
    at = curves["at"]
    fig = go.Figure()
    if curves["low"]:
        fig.add_scatter(
            x=[*at, *reversed(at)],
            y=[100 * v for v in (*curves["high"], *reversed(curves["low"]))],
            fill="toself",
            mode="none",
            fillcolor=look.muted,
            opacity=0.15,
            name="where the best of this rank lies",
            hoverinfo="skip",
        )
    for i, (scale, name) in enumerate(NAMES.items()):
        if curves[scale]:
            fig.add_scatter(
                x=at,
                y=[100 * value for value in curves[scale]],
                mode="lines",
                name=name,
                line={"color": look.color(i), "dash": look.dash(i), "width": look.line_width},
                hovertemplate="rank %{x}: %{y:.2f} %<extra></extra>",
            )
    if curves["projected"]:
        fig.add_scatter(
            x=[rank for rank, _ in curves["projected"]],
            y=[100 * value for _, value in curves["projected"]],
            mode="markers",
            name="searched row space",
            marker={"color": look.color(3), "symbol": look.symbol(3), "size": 9},
            hovertemplate="rank %{x}: %{y:.2f} %<extra></extra>",
        )
    values = [*curves["none"], *curves["optimal"], *curves["norm"], *curves["high"]]
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": look.small}}
    axes = {
        "xaxis": Scale(0.0, float(at[-1]), pad=0.02).axis(look, "rank"),
        "yaxis": Scale(0.0, 100 * max(values), pad=0.04, suffix=PERCENT).axis(look, "loss of the layer's function"),
    }
    return dress(fig, look, "function-loss", height, showlegend=True, legend=legend, **axes)


def function_loss_table(curves: Curves) -> dict[str, list[Any]]:
    """One row a rank."""
    count = len(curves["at"])
    searched = dict(curves["projected"])
    return {
        "rank": list(curves["at"]),
        **{name: list(curves[scale]) or [None] * count for scale, name in NAMES.items()},
        "searched row space": [searched.get(rank) for rank in curves["at"]],
        "lower bound": list(curves["low"]) or [None] * count,
        "upper bound": list(curves["high"]) or [None] * count,
    }


def function_loss_alt(curves: Curves) -> str:
    """What rescaling is worth at an eighth of the full rank."""
    at: Sequence[int] = curves["at"]
    rank = max(1, at[-1] // 8)
    plain, best = curves["none"][rank], (curves["optimal"] or curves["none"])[rank]
    return (
        f"Loss of the function of {curves['layer']} against its rank; at rank {rank} of {at[-1]} plain truncation "
        f"loses {plain:.1%}, rescaled rows {best:.1%}."
    )
