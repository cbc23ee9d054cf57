"""Every measured configuration as a line over its numbers: parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from app.figures.theme import LIGHT, Theme, dress
from core.compression.tradeoff import TradeoffPoint
from core.networks.costs import Cost

NAMES = {"macs": "MACs, %", "params": "parameters, %", "bytes": "bytes, %"}


def parallel_figure(points: Sequence[TradeoffPoint], dense: Cost, *, look: Theme = LIGHT) -> go.Figure:
    """Axes: MACs, parameters and bytes kept in %, predicted damage, latency in ms where it was measured everywhere,
    accuracy in %. Colour: accuracy, from the palette's second (worst) to its first. Only measured points."""
    shown = [point for point in points if point.accuracy is not None]
    accuracy = [100 * point.accuracy.value for point in shown if point.accuracy]
    sides = [
        {"label": label, "values": [100 * point.cost.of(q) / dense.of(q) for point in shown]}
        for q, label in NAMES.items()
        if dense.of(q)
    ]
    sides.append({"label": "predicted", "values": [point.predicted for point in shown]})
    if shown and all(point.latency is not None for point in shown):
        sides.append({"label": "latency, ms", "values": [point.latency.value for point in shown if point.latency]})
    sides.append({"label": "accuracy, %", "values": accuracy})
    fig = go.Figure(
        go.Parcoords(
            line={"color": accuracy, "colorscale": [[0.0, look.color(1)], [1.0, look.color(0)]], "showscale": False},
            dimensions=sides,
            labelangle=-20,
            labelfont={"size": look.font_size, "color": look.text},
            tickfont={"size": look.small, "color": look.muted},
            rangefont={"size": look.small, "color": look.muted},
        )
    )
    dress(fig, look, "parallel", 360, 60)
    return fig.update_layout(margin={"t": 72})


def parallel_alt(points: Sequence[TradeoffPoint]) -> str:
    """What the lines are."""
    shown = sum(1 for point in points if point.accuracy is not None)
    return f"{shown} measured configurations, one line each from what they cost to their accuracy."
