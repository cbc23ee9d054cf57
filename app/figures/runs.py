"""Several runs side by side: accuracy against the share of the dense network's MACs, or parameters, a colour a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.scales import PERCENT, Scale
from app.figures.theme import LIGHT, Theme, dress
from app.figures.tradeoff import accuracy_axis, markers
from core.compression.tradeoff import TradeoffPoint
from core.networks.costs import QUANTITY_WORDS

Runs = Mapping[str, Sequence[TradeoffPoint]]


def runs_figure(runs: Runs, quantity: str, *, look: Theme = LIGHT, height: int = 420) -> go.Figure:
    """Measured points of each run, by its name, with bars of one standard error. quantity: of `QUANTITY_WORDS`."""
    fig = go.Figure()
    shown = {name: [p for p in points if p.accuracy and p.share(quantity)] for name, points in runs.items()}
    for i, (name, points) in enumerate(shown.items()):
        at = [100 * (point.share(quantity) or 0.0) for point in points]
        markers(fig, points, at, quantity, look, i, name)
    every = [point for points in shown.values() for point in points]
    x = [100 * (point.share(quantity) or 0.0) for point in every] or [0.0]
    axes = {
        "xaxis": Scale(min(x), max(100.0, *x), pad=0.05, suffix=PERCENT).axis(
            look, f"{QUANTITY_WORDS[quantity]} kept, % of dense"
        ),
        "yaxis": accuracy_axis(every, look),
    }
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": look.small}}
    return dress(fig, look, f"runs-{quantity}", height, showlegend=True, legend=legend, **axes)


def runs_best(runs: Runs, quantity: str) -> dict[str, list[Any]]:
    """One row a run: measured points, the range of what they keep and of their accuracy, and of the smallest within a
    point of dense what it keeps."""
    rows: dict[str, list[Any]] = {
        name: [] for name in ("run", "measured", "least kept", "most kept", "worst", "best", "within 1 point")
    }
    for name, points in runs.items():
        measured = [p for p in points if p.accuracy is not None and p.share(quantity)]
        kept = sorted(p.share(quantity) or 0.0 for p in measured)
        found = sorted(p.accuracy.value for p in measured if p.accuracy)
        near = [p.share(quantity) for p in measured if p.within(0.01)]
        ends = (*(kept[:1] or [None]), *(kept[-1:] or [None]), *(found[:1] or [None]), *(found[-1:] or [None]))
        for column, value in zip(rows, (name, len(measured), *ends, min(near, default=None)), strict=True):
            rows[column].append(value)
    return rows


def runs_table(runs: Runs, quantity: str) -> dict[str, list[Any]]:
    """One row a measured point."""
    rows = [(name, p) for name, points in runs.items() for p in points if p.accuracy is not None]
    found = [point.accuracy for _, point in rows if point.accuracy is not None]
    return {
        "run": [name for name, _ in rows],
        "what": [point.label for _, point in rows],
        f"{QUANTITY_WORDS[quantity]} kept": [point.share(quantity) for _, point in rows],
        "accuracy, measured": [one.value for one in found],
        "± standard error": [one.spread for one in found],
        "n": [one.n for one in found],
    }


def runs_alt(runs: Runs) -> str:
    """How many of each."""
    counts = ", ".join(f"{sum(1 for p in points if p.accuracy)} of {name}" for name, points in runs.items())
    return f"Accuracy against what is kept, measured points of {len(runs)} runs: {counts}."
