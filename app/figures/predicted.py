"""What the allocators predicted, on an axis of its own, and both predictions and measurements as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.lines import STEADY
from app.figures.scales import PERCENT, Scale
from app.figures.text import safe
from app.figures.theme import LIGHT, Theme, dress
from app.figures.tradeoff import AXES, place, says, series
from core.compression.tradeoff import TradeoffPoint
from core.networks.costs import Cost


def predicted_figure(
    points: Sequence[TradeoffPoint], axis: str, dense: Cost | None, *, look: Theme = LIGHT
) -> go.Figure:
    """What the allocators predicted for every point, measured or not, hollow: the sum of single-layer damages (log)
    against its cost. A marker carries its key as `customdata`."""
    shown = [point for point in points if point.predicted > 0 and axis != "latency"]
    fig = go.Figure()
    for i, (name, group) in enumerate(series(shown, "families").items()):
        color, symbol = look.color(i), look.symbol(i)
        fig.add_scatter(
            x=[place(point, axis, dense) for point in group],
            y=[point.predicted for point in group],
            mode="markers",
            name=safe(name),
            marker={"symbol": f"{symbol}-open", "color": color, "size": 10, "line": {"width": 2}},
            customdata=[point.key for point in group],
            hovertext=[says(point, axis) for point in group],
            hoverinfo="text",
            unselected=STEADY,
        )
    low, high = (min(p.predicted for p in shown), max(p.predicted for p in shown)) if shown else (0.1, 1.0)
    y = Scale(low, max(high, 1.01 * low), log=True, pad=0.08)
    values = [place(point, axis, dense) for point in shown] or [0.0]
    x = Scale(min(values), 100.0, pad=0.05, suffix=PERCENT)
    objective = shown[0].objective if shown else "predicted damage"
    axes = {
        "xaxis": x.axis(look, f"{AXES.get(axis, axis)} kept, % of dense"),
        "yaxis": y.axis(look, f"predicted: {objective}"),
    }
    return dress(fig, look, f"predicted-{axis}", 340, **axes)


def tradeoff_table(points: Sequence[TradeoffPoint], dense: Cost | None) -> dict[str, list[Any]]:
    """One row a point: how it was made, shares of the dense cost, predicted, measured with spread and n."""
    share = {
        f"{AXES[q]} kept": [p.cost.of(q) / dense.of(q) if dense and dense.of(q) else None for p in points]
        for q in ("macs", "params", "bytes")
    }
    return {
        "forms": [p.families for p in points],
        "method": [p.method for p in points],
        "repair": [p.repair for p in points],
        "seed": [p.seed for p in points],
        **share,
        "predicted": [p.predicted for p in points],
        "accuracy, measured": [p.accuracy.value if p.accuracy else None for p in points],
        "± standard error": [p.accuracy.spread if p.accuracy else None for p in points],
        "n": [p.accuracy.n if p.accuracy else None for p in points],
        "latency, ms": [p.latency.value if p.latency else None for p in points],
        "dense latency, ms": [p.against.value if p.against else None for p in points],
        "key": [p.key for p in points],
    }
