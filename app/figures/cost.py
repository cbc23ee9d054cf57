"""Before and after: parameters, MACs and bytes of a plan over those of the dense model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from app.figures.lines import note
from app.figures.scales import PERCENT, Scale
from app.figures.text import count
from app.figures.theme import LIGHT, Theme, axis, dress

if TYPE_CHECKING:
    from core.networks.costs import Cost

ROWS = (
    ("parameters", "params", ""),
    ("MACs", "macs", ""),
    ("MACs on non-zeros", "useful_macs", ""),
    ("bytes", "bytes", "B"),
)


def cost_figure(dense: Cost, plan: Cost, *, look: Theme = LIGHT) -> go.Figure:
    """Horizontal bars in per cent of the dense model, the numbers beside them. MACs on non-zero weights have a row of
    their own only where a sparse form makes them differ."""
    rows = _rows(dense, plan)
    share = [100 * after / before if before else 0.0 for _, before, after, _ in rows]
    x = Scale(0, max(100.0, *share), pad=0.0, suffix=PERCENT)
    names = [name for name, *_ in rows]
    fig = go.Figure()
    fig.add_bar(
        y=names,
        x=[100] * len(rows),
        orientation="h",
        name="dense",
        width=0.7,
        hoverinfo="skip",
        marker={"color": look.leader},
    )
    fig.add_bar(
        y=names, x=share, orientation="h", name="plan", width=0.4, marker={"color": look.color(0)},
        hovertemplate="%{y}: %{x:.1f} % of dense<extra></extra>",
    )  # fmt: skip
    wordy = [
        f"<b>{look.percent(s / 100)}</b>  {count(b)}{u} → {count(a)}{u}"
        for s, (_, b, a, u) in zip(share, rows, strict=True)
    ]
    for name, text in zip(names, wordy, strict=True):
        fig.add_annotation(x=1, xref="paper", y=name, text=text, xanchor="left", xshift=8, showarrow=False)
    note(fig, "grey: dense", look)
    axes = {
        "xaxis": x.axis(look, "of the dense model"),
        "yaxis": axis(look, autorange="reversed", showgrid=False, ticks=""),
    }
    right = int(0.58 * look.font_size * max(len(text) - 7 for text in wordy)) + 12
    return dress(fig, look, "cost", int(90 + 2.8 * look.font_size * len(rows)), right, barmode="overlay", **axes)


def cost_table(dense: Cost, plan: Cost) -> dict[str, list[Any]]:
    """One row per quantity: dense, plan, and the kept fraction in (0, 1] (above 1 where the plan costs more)."""
    rows = _rows(dense, plan)
    kept = [after / before if before else None for _, before, after, _ in rows]
    return {"quantity": [r[0] for r in rows], "dense": [r[1] for r in rows], "plan": [r[2] for r in rows], "kept": kept}


def cost_alt(dense: Cost, plan: Cost) -> str:
    """The three kept fractions in one sentence."""
    parts = [f"{after / before:.1%} of the {name}" for name, before, after, _ in _rows(dense, plan) if before]
    return (
        f"The plan keeps {', '.join(parts[:-1])} and {parts[-1]}."
        if len(parts) > 1
        else "The cost of the model is not known."
    )


def _rows(dense: Cost, plan: Cost) -> list[tuple[str, int, int, str]]:
    """(name, dense, plan, unit) per row; what is not known of the dense model has none."""
    rows = [(name, getattr(dense, field), getattr(plan, field), unit) for name, field, unit in ROWS]
    rows = [row for row in rows if row[1]]
    return rows if plan.useful_macs < plan.macs else [row for row in rows if row[0] != "MACs on non-zeros"]
