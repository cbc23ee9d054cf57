"""How much the network loses when one layer alone is compressed: a line a layer; and a score against that damage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from app.figures.lines import STEADY, grey, line, note
from app.figures.scales import PERCENT, Scale
from app.figures.text import safe
from app.figures.theme import LIGHT, Theme, dress
from core.networks.forms import FAMILIES, Dense

if TYPE_CHECKING:
    from core.compression.proxies import Proxy
    from core.compression.sensitivity import LayerSensitivity
    from core.compression.survey import Survey

LEAST = 1e-8
"""Damage below which a point is drawn at this height: the axis is logarithmic."""
MOST = 6
"""Layers drawn in colour; the others are one grey trace."""


def kept(entry: LayerSensitivity, survey: Survey, quantity: str) -> list[float]:
    """Share of the layer's own dense cost at every level, in per cent."""
    view, family = survey.layer(entry.layer).view, FAMILIES[entry.family]
    whole = Dense().cost(view).of(quantity)
    return [100 * family.make(level, view).cost(view).of(quantity) / whole for level in entry.at]


def sensitivity_figure(
    found: Sequence[LayerSensitivity], survey: Survey, quantity: str = "macs", *, look: Theme = LIGHT, height: int = 420
) -> go.Figure:
    """Damage (log) against the share of its own cost a layer keeps. In colour the layers that lose most at half of it,
    the others grey. A line's points carry the layer's name as `customdata`."""
    fig = go.Figure()
    drawn = [entry for entry in found if entry.at]
    ranked = sorted(drawn, key=lambda entry: -_at_half(entry, kept(entry, survey, quantity)))
    curves = [(e.layer, kept(e, survey, quantity), [max(d, LEAST) for d in e.damage]) for e in ranked]
    if len(curves) > MOST:
        grey(fig, curves[MOST:], look, unit="% kept")
    for i, (name, x, y) in enumerate(curves[:MOST]):
        line(fig, i, name, x, y, look, unit="% kept")
    finite = [d for _, _, y in curves for d in y if math.isfinite(d)] or [0.1, 1.0]
    axes = {
        "xaxis": Scale(0.0, 100.0, pad=0.02, suffix=PERCENT).axis(look, "of the layer's own MACs kept"),
        "yaxis": Scale(min(finite), max(*finite, 2 * min(finite)), log=True, pad=0.06).axis(look, _unit(survey)),
    }
    if len(curves) > MOST:
        note(fig, f"in colour: the {MOST} most sensitive layers at half their cost", look)
    legend = {"orientation": "h", "y": -0.22, "x": 0, "font": {"size": look.small}}
    return dress(fig, look, "sensitivity", height, showlegend=True, legend=legend, **axes)


def sensitivity_table(found: Sequence[LayerSensitivity], survey: Survey) -> dict[str, list[Any]]:
    """One row a layer and level: what is kept, and what that costs the network, alone."""
    rows = [(e, i, share) for e in found for i, share in enumerate(kept(e, survey, "macs"))]
    return {
        "layer": [e.layer for e, _, _ in rows],
        "form": [FAMILIES[e.family].label for e, _, _ in rows],
        "level": [e.at[i] for e, i, _ in rows],
        "of its MACs": [share / 100 for _, _, share in rows],
        "damage": [e.damage[i] for e, i, _ in rows],
        "relative distance of outputs": [e.distance[i] for e, i, _ in rows],
        "accuracy on the same samples": [e.accuracy[i] if e.accuracy else None for e, i, _ in rows],
        "error of the layer's outputs": [e.output[i] for e, i, _ in rows],
    }


def sensitivity_alt(found: Sequence[LayerSensitivity], survey: Survey) -> str:
    """The most and the least sensitive layer at half of their cost."""
    drawn = sorted((e for e in found if e.at), key=lambda e: _at_half(e, kept(e, survey, "macs")))
    if not drawn:
        return "No layer is measured yet."
    least, most = drawn[0].layer, drawn[-1].layer
    return f"Damage of {len(drawn)} layers, each alone; at half of its MACs {most} loses most, {least} least."


def proxy_figure(proxy: Proxy, survey: Survey, *, look: Theme = LIGHT, height: int = 380) -> go.Figure:
    """Measured damage (log) against one score: a marker for every layer and level."""
    points = [point for point in proxy.points if math.isfinite(point.damage)]
    fig = go.Figure()
    fig.add_scatter(
        x=[point.score for point in points],
        y=[max(point.damage, LEAST) for point in points],
        mode="markers",
        marker={"color": look.color(0), "symbol": look.symbol(0), "size": 8, "opacity": 0.8},
        customdata=[point.layer for point in points],
        hovertext=[f"{safe(p.layer)}, level {p.level}<br>{p.score:.3g}: {p.damage:.3g}" for p in points],
        hoverinfo="text",
        unselected=STEADY,
    )
    scores = [point.score for point in points] or [0.0, 1.0]
    finite = [max(point.damage, LEAST) for point in points] or [0.1, 1.0]
    rho = "not defined" if proxy.rho is None else f"{proxy.rho:+.2f}"
    note(fig, f"Spearman's rank correlation {rho}, {len(points)} points", look)
    axes = {
        "xaxis": Scale(min(scores), max(*scores, min(scores) + 1e-9), pad=0.05).axis(look, proxy.label),
        "yaxis": Scale(min(finite), max(*finite, 2 * min(finite)), log=True, pad=0.06).axis(look, _unit(survey)),
    }
    return dress(fig, look, "proxy", height, **axes)


def _at_half(entry: LayerSensitivity, shares: Sequence[float]) -> float:
    """Damage at the level nearest to half of the layer's cost."""
    return entry.damage[min(range(len(shares)), key=lambda i: abs(shares[i] - 50))]


def _unit(survey: Survey) -> str:
    return "damage, nats, measured" if survey.num_classes else "damage, relative squared error, measured"
