"""Accuracy against what a network costs: measured points with their spread, the front, the dense network.

Measured points are filled and have bars of one standard error; predictions have a figure of their own (`predicted`),
because predicted damage is no accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.lines import STEADY, note
from app.figures.scales import PERCENT, Scale
from app.figures.text import safe
from app.figures.theme import LIGHT, Theme, dress
from core.compression.tradeoff import TradeoffPoint, pareto_front
from core.networks.costs import Cost

AXES = {"macs": "MACs", "params": "parameters", "bytes": "bytes on disk", "latency": "latency"}
UNITS = {"latency": "time of one sample, ms, median"}
MOST_SERIES = 8
"""Kinds of points drawn in colours of their own; further ones share the last."""

LONGEST_NAME = 60
"""Letters of a series' name in the legend."""


def tradeoff_figure(
    points: Sequence[TradeoffPoint], axis: str, dense: Cost | None, *,
    by: str = "families", words: Mapping[str, str] | None = None, pinned: str = "", chosen: Sequence[str] = (),
    look: Theme = LIGHT, height: int = 460,
) -> go.Figure:  # fmt: skip
    """Accuracy of every measured point against `axis` ("macs", "params", "bytes" or "latency").

    dense   cost of the dense network, to draw shares of it; latency is drawn in ms. by  the field that gives colour and
            symbol, words  what to call its values.
    pinned  key of a point to ring. chosen  keys of those in hand. A marker carries its key as `customdata`."""
    measured = [point for point in points if point.accuracy is not None and point.size(axis) is not None]
    fig = go.Figure()
    for i, (name, group) in enumerate(series(measured, by).items()):
        at = [place(point, axis, dense) for point in group]
        markers(fig, group, at, axis, look, min(i, MOST_SERIES - 1), (words or {}).get(name, name))
    front = [measured[i] for i in pareto_front(measured, axis)]
    if len(front) > 1:
        fig.add_scatter(
            x=[place(point, axis, dense) for point in front],
            y=[100 * _accuracy(point) for point in front],
            mode="lines",
            line={"color": look.text, "width": 1.2, "dash": "dot", "shape": "hv"},
            name="front: nothing smaller is as accurate",
            hoverinfo="skip",
        )
    _dense(fig, measured, axis, look)
    _arrows(fig, measured, axis, dense, look)
    for key, size, width in [(pinned, 20, 2.5), *((key, 16, 3) for key in chosen)]:
        _ring(fig, [point for point in measured if point.key == key], axis, dense, look, size, width)
    values = [place(point, axis, dense) for point in measured] or [0.0, 100.0]
    high = max([*values, *([100.0] if axis != "latency" else [])])
    x = Scale(min(values), high, pad=0.05, suffix="" if axis == "latency" else PERCENT)
    title = UNITS.get(axis) or f"{AXES[axis]} kept, % of dense"
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": look.small}}
    if not measured:
        note(fig, "no point is measured yet", look, 0.5, "center")
    axes = {"xaxis": x.axis(look, title), "yaxis": accuracy_axis(measured, look, _others(measured))}
    return dress(fig, look, f"tradeoff-{axis}", height, showlegend=True, legend=legend, **axes)


def tradeoff_alt(points: Sequence[TradeoffPoint], axis: str, dense: Cost | None) -> str:
    """How many points, and the two ends of the front."""
    measured = [point for point in points if point.accuracy is not None and point.size(axis) is not None]
    if not measured:
        return "No configuration is measured yet."
    front = [measured[i] for i in pareto_front(measured, axis)]
    unit = " ms" if axis == "latency" else " %"
    ends = " and ".join(
        f"{100 * _accuracy(point):.1f} % at {place(point, axis, dense):.3g}{unit} of {AXES[axis]}"
        for point in dict.fromkeys((front[0], front[-1]))
    )
    return f"{len(measured)} measured configurations, {len(front)} on the front; its ends: {ends}."


def series(points: Sequence[TradeoffPoint], by: str) -> dict[str, list[TradeoffPoint]]:
    made: dict[str, list[TradeoffPoint]] = {}
    for point in points:
        made.setdefault(str(getattr(point, by)), []).append(point)
    return made


def markers(
    fig: go.Figure, group: Sequence[TradeoffPoint], at: Sequence[float], axis: str, look: Theme, i: int, name: str
) -> None:
    """Measured points of series i at these places, with bars of one standard error."""
    fig.add_scatter(
        x=list(at),
        y=[100 * _accuracy(point) for point in group],
        error_y={
            "array": [100 * point.accuracy.spread for point in group if point.accuracy],
            "thickness": 1,
            "width": 3,
            "color": look.context,
        },
        mode="markers",
        name=safe(name, LONGEST_NAME),
        marker={"color": look.color(i), "symbol": look.symbol(i), "size": 10},
        customdata=[point.key for point in group],
        hovertext=[says(point, axis) for point in group],
        hoverinfo="text",
        unselected=STEADY,
    )


def _dense(fig: go.Figure, measured: Sequence[TradeoffPoint], axis: str, look: Theme) -> None:
    """The dense network's accuracy as a line, and its place on the axis."""
    known = {(p.dense.value, p.dense.n): p for p in measured if p.dense is not None}
    for value, n in known:
        line = {"color": look.muted, "width": 1.5, "dash": "dash"}
        fig.add_shape(type="line", xref="paper", x0=0, x1=1, y0=100 * value, y1=100 * value, line=line, layer="below")
        place = {"xref": "paper", "x": 0, "xanchor": "left", "yanchor": "bottom", "showarrow": False}
        words = f"dense {100 * value:.1f} %, n = {n:,}"
        fig.add_annotation(text=words, y=100 * value, font={"size": look.small, "color": look.muted}, **place)
    times = [p.against.value for p in measured if p.against is not None]
    if axis == "latency" and times:
        middle = sorted(times)[len(times) // 2]
        line = {"color": look.muted, "width": 1.5, "dash": "dash"}
        fig.add_shape(type="line", yref="paper", y0=0, y1=1, x0=middle, x1=middle, line=line, layer="below")


def _arrows(fig: go.Figure, points: Sequence[TradeoffPoint], axis: str, dense: Cost | None, look: Theme) -> None:
    """From where a trained point was before training to where it is."""
    for point in points:
        if point.before is not None:
            x = place(point, axis, dense)
            fig.add_annotation(
                x=x, y=100 * _accuracy(point), ax=x, ay=100 * point.before.value, xref="x", yref="y", axref="x",
                ayref="y", text="", showarrow=True, arrowhead=2, arrowwidth=2, arrowcolor=look.text, standoff=6,
            )  # fmt: skip


def _ring(
    fig: go.Figure, points: Sequence[TradeoffPoint], axis: str, dense: Cost | None, look: Theme, size: int, width: float
) -> None:
    if points:
        fig.add_scatter(
            x=[place(point, axis, dense) for point in points],
            y=[100 * _accuracy(point) for point in points],
            mode="markers",
            marker={"symbol": "circle-open", "size": size, "color": look.text, "line": {"width": width}},
            hoverinfo="skip",
            showlegend=False,
        )


def _others(measured: Sequence[TradeoffPoint]) -> list[float]:
    """Accuracies beside the points' own that are drawn too, in per cent."""
    return [100 * other.value for p in measured for other in (p.dense, p.before) if other]


def accuracy_axis(measured: Sequence[TradeoffPoint], look: Theme, more: Sequence[float] = ()) -> dict[str, Any]:
    """The axis of measured accuracies with their bars, and of `more` values in per cent."""
    ends = [100 * (p.accuracy.value + side * p.accuracy.spread) for p in measured if p.accuracy for side in (-1, 1)]
    values = [*ends, *more]
    low, high = (min(values), max(values)) if values else (0.0, 100.0)
    return Scale(low, max(high, low + 1.0), pad=0.08, suffix=PERCENT).axis(look, "accuracy, measured")


def place(point: TradeoffPoint, axis: str, dense: Cost | None) -> float:
    size = point.size(axis) or 0.0
    whole = dense.of(axis) if dense is not None and axis != "latency" else 0
    return 100 * size / whole if whole else size


def _accuracy(point: TradeoffPoint) -> float:
    assert point.accuracy is not None
    return point.accuracy.value


def says(point: TradeoffPoint, axis: str) -> str:
    """What hovering tells: the plan in short and every number with what it is."""
    lines = [f"<b>{safe(point.label)}</b>", f"seed {point.seed}", f"predicted {point.predicted:.3g}"]
    if point.accuracy is not None:
        found = point.accuracy
        lines.append(f"measured {100 * found.value:.1f} ± {100 * found.spread:.1f} %, n = {found.n:,}")
    if point.latency is not None and point.against is not None:
        slower = "; slower than dense" if point.slower else ""
        lines.append(f"{point.latency.value:.3g} ms, dense {point.against.value:.3g} ms{slower}")
    return "<br>".join(lines)
