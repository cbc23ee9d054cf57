"""Measured time of the dense network and the plan, and the difference that the dense network shows against itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from app.figures.lines import note
from app.figures.scales import Scale
from app.figures.theme import LIGHT, Theme, axis, dress


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Times of one forward pass in ms: lower quartile, median, upper quartile of `n` timed passes."""

    low: float
    median: float
    high: float
    n: int = 0


def latency_figure(dense: Quartiles, plan: Quartiles, spread: float, *, look: Theme = LIGHT) -> go.Figure:
    """A bar from quartile to quartile with the median, for dense and plan; shaded: the dense median plus and minus the
    A/A `spread` in ms, inside which two medians do not differ."""
    names, times, colors = ["dense", "plan"], [dense, plan], [look.muted, look.color(0)]
    fig = go.Figure()
    fig.add_bar(
        y=names,
        x=[t.high - t.low for t in times],
        base=[t.low for t in times],
        orientation="h",
        width=0.34,
        name="quartiles",
        marker={"color": colors, "opacity": 0.45},
        hoverinfo="skip",
    )
    says = "median %{x:.3g} ms, quartiles %{customdata[0]:.3g} to %{customdata[1]:.3g}, n = %{customdata[2]}"
    fig.add_scatter(
        y=names,
        x=[t.median for t in times],
        mode="markers",
        name="median",
        marker={"symbol": "line-ns-open", "size": 26, "color": colors, "line": {"width": 4}},
        customdata=[[t.low, t.high, t.n] for t in times],
        hovertemplate=f"%{{y}}: {says}<extra></extra>",
    )
    for name, time in zip(names, times, strict=True):
        place = {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 8, "showarrow": False}
        fig.add_annotation(text=f"<b>{time.median:.3g} ms</b>", y=name, **place)
    low, high = dense.median - spread, dense.median + spread
    band = {"x0": low, "x1": high, "y0": 0, "y1": 1, "yref": "paper", "layer": "below", "line": {"width": 0}}
    fig.add_shape(type="rect", fillcolor=look.color(1), opacity=0.22, **band)
    x = Scale(min(dense.low, plan.low, low), max(dense.high, plan.high, high), pad=0.12)
    share = (dense.median - x.range[0]) / (x.range[1] - x.range[0])
    note(fig, f"A/A noise: ± {spread:.2g} ms", look, share, "center")
    rows = axis(look, autorange="reversed", showgrid=False, ticks="")
    axes = {"xaxis": x.axis(look, "time of one pass, ms"), "yaxis": rows}
    return dress(fig, look, "latency", 150 + 4 * look.font_size, int(6.5 * look.font_size), **axes)


def latency_table(dense: Quartiles, plan: Quartiles, spread: float) -> dict[str, list[Any]]:
    """Rows dense, plan and A/A spread; ms."""
    return {
        "network": ["dense", "plan", "A/A spread"],
        "lower quartile, ms": [dense.low, plan.low, None],
        "median, ms": [dense.median, plan.median, spread],
        "upper quartile, ms": [dense.high, plan.high, None],
        "passes": [dense.n, plan.n, None],
    }


def latency_alt(dense: Quartiles, plan: Quartiles, spread: float) -> str:
    """The verdict: faster, slower, or no difference."""
    gap = dense.median - plan.median
    if abs(gap) <= spread:
        return f"No difference: the medians differ by {abs(gap):.2g} ms, two dense runs by {spread:.2g} ms."
    ratio, word = (dense.median / plan.median, "faster") if gap > 0 else (plan.median / dense.median, "slower")
    return f"The plan is {ratio:.2f}× {word}: {plan.median:.3g} ms against {dense.median:.3g} ms."
