"""Plans against one another, layer by layer: what share of its cost each layer keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.lines import STEADY
from app.figures.scales import PERCENT, Scale
from app.figures.text import safe
from app.figures.theme import LIGHT, Theme, axis, dress

MOST = 8
"""Plans drawn at once, each with a colour and a symbol of its own."""


def compared_figure(
    layers: Sequence[str], kept: Mapping[str, Sequence[float]], quantity: str, *, look: Theme = LIGHT
) -> go.Figure:
    """One row a layer, one marker a plan. kept: by plan, the share of each layer's cost in `quantity`, in [0, 1] and
    above 1 where the form costs more than dense."""
    fig = go.Figure()
    for i, (name, shares) in enumerate(list(kept.items())[:MOST]):
        fig.add_scatter(
            x=[100 * share for share in shares],
            y=list(layers),
            mode="markers",
            name=safe(name),
            marker={"color": look.color(i), "symbol": look.symbol(i), "size": 10},
            hovertemplate="%{y}: %{x:.1f} %<extra>%{fullData.name}</extra>",
            unselected=STEADY,
        )
    high = max((max(shares) for shares in kept.values() if len(shares)), default=1.0)
    x = Scale(0.0, 100 * max(high, 1.0), pad=0.03, suffix=PERCENT)
    rows = axis(look, autorange="reversed", type="category", ticks="")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": look.small}}
    height = int(150 + 1.7 * look.font_size * len(layers))
    axes = {"xaxis": x.axis(look, f"{quantity} kept, % of the layer's dense cost"), "yaxis": rows}
    return dress(fig, look, "compared", height, showlegend=True, legend=legend, **axes)


def compared_table(layers: Sequence[str], kept: Mapping[str, Sequence[float]]) -> dict[str, list[Any]]:
    """One row a layer, one column a plan: shares of its dense cost."""
    return {"layer": list(layers), **{name: list(shares) for name, shares in list(kept.items())[:MOST]}}


def compared_alt(layers: Sequence[str], kept: Mapping[str, Sequence[float]]) -> str:
    """Where the plans differ most."""
    plans = list(kept.values())[:MOST]
    if len(plans) < 2 or not layers:
        return f"What each of {len(layers)} layers keeps of its cost."
    gaps = [max(shares) - min(shares) for shares in zip(*plans, strict=True)]
    widest = max(range(len(layers)), key=gaps.__getitem__)
    return f"{len(plans)} plans; they differ most in {layers[widest]}, by {100 * gaps[widest]:.0f} points of its cost."
