"""Joint damage of plans against the sum of their layers' damages alone: where they part, adding up misleads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.lines import STEADY, note
from app.figures.scales import Scale
from app.figures.text import safe
from app.figures.theme import LIGHT, Theme, dress
from core.compression.additivity import PART, Additive

LEAST = 1e-8
"""Damage below which a point is drawn at this height: the axes are logarithmic."""


def additivity_figure(found: Sequence[Additive], unit: str, *, look: Theme = LIGHT, height: int = 380) -> go.Figure:
    """Both on logarithmic axes; on the line they are equal, inside the band they part by less than a factor of `PART`.
    unit: of damage."""
    drawn = [one for one in found if math.isfinite(one.joint)]
    fig = go.Figure()
    values = [max(v, LEAST) for one in drawn for v in (one.predicted, one.joint)] or [0.1, 1.0]
    low, high = min(values) / 2, max(values) * 2
    ends = [low, high]
    fig.add_scatter(
        x=[*ends, *ends[::-1]],
        y=[low * PART, high * PART, high / PART, low / PART],
        fill="toself",
        mode="none",
        fillcolor=look.muted,
        opacity=0.15,
        name=f"within a factor of {PART:g}",
        hoverinfo="skip",
    )
    line = {"color": look.muted, "width": 1.5, "dash": "dash"}
    fig.add_scatter(x=ends, y=ends, mode="lines", line=line, name="equal", hoverinfo="skip")
    for i, (name, inside) in enumerate((("parts add up", True), ("parts do not", False))):
        group = [one for one in drawn if (not one.warning) is inside]
        fig.add_scatter(
            x=[max(one.predicted, LEAST) for one in group],
            y=[max(one.joint, LEAST) for one in group],
            mode="markers",
            name=name,
            marker={"color": look.color(i), "symbol": look.symbol(i), "size": 9},
            hovertext=[f"{safe(o.key)}<br>alone {o.predicted:.3g}, joint {o.joint:.3g}" for o in group],
            hoverinfo="text",
            unselected=STEADY,
        )
    parted = sum(1 for one in found if one.warning)
    note(fig, f"grey: within a factor of {PART:g}; {parted} of {len(found)} plans outside it", look)
    axes = {
        "xaxis": Scale(low, high, log=True, pad=0.0).axis(look, f"sum of the layers' damages alone, {unit}"),
        "yaxis": Scale(low, high, log=True, pad=0.0).axis(look, f"joint damage, {unit}, measured"),
    }
    return dress(fig, look, "additivity", height, **axes)


def additivity_table(found: Sequence[Additive]) -> dict[str, list[Any]]:
    """One row a plan."""
    return {
        "plan": [one.key for one in found],
        "layers alone, summed": [one.predicted for one in found],
        "joint, measured": [one.joint for one in found],
        "joint over summed": [one.ratio if math.isfinite(one.ratio) else None for one in found],
    }


def additivity_alt(found: Sequence[Additive]) -> str:
    """How far the two part."""
    ratios = sorted(one.ratio for one in found)
    parted = sum(1 for one in found if one.warning)
    return (
        f"Joint damage of {len(found)} plans against the sum of their layers' alone: from {ratios[0]:.2g} to "
        f"{ratios[-1]:.2g} times, {parted} part by more than a factor of {PART:g}."
    )
