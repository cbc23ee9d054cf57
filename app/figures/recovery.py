"""Training a compressed network, epoch by epoch: held-out accuracy, with the epoch whose weights stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.scales import PERCENT, Scale
from app.figures.theme import LIGHT, Theme, dress

Log = Mapping[str, Any]


def recovery_figure(curve: Sequence[Log], *, kept: bool = True, look: Theme = LIGHT, height: int = 280) -> go.Figure:
    """Accuracy on the held-out training examples after every epoch, epoch 0 before any. curve: records as
    `core.training.recover_spec.EpochLog` holds them. kept: whether the best epoch's weights stayed; False under way."""
    epochs = [log["epoch"] for log in curve]
    accuracy = [100 * log["held_out"] for log in curve]
    best = max(log["epoch"] for log in curve if log["best"])
    fig = go.Figure()
    fig.add_scatter(
        x=epochs,
        y=accuracy,
        mode="lines+markers",
        name="held-out accuracy",
        line={"color": look.color(0), "width": look.line_width},
        marker={"symbol": look.symbol(0), "size": 8},
        customdata=[[log["loss"] if log["epoch"] else None, log["lr"], log["seconds"]] for log in curve],
        hovertemplate="epoch %{x}: %{y:.1f} %<br>loss %{customdata[0]:.3g}, rate %{customdata[1]:.2g}, "
        "%{customdata[2]:.0f} s<extra></extra>",
    )
    line = {"color": look.muted, "width": 1.5, "dash": "dash"}
    fig.add_shape(type="line", yref="paper", y0=0, y1=1, x0=best, x1=best, line=line, layer="below")
    words = (f"epoch {best} stayed" if kept else f"best: epoch {best}") if best else "nothing was better than before"
    side = "right" if best > 0.6 * epochs[-1] else "left"
    fig.add_annotation(
        text=words, x=best, y=0.04, yref="paper", xanchor=side, showarrow=False, font={"size": look.small}
    )
    x = Scale(0.0, float(max(epochs[-1], 1)), pad=0.04)
    y = Scale(min(accuracy), max(*accuracy, min(accuracy) + 1.0), pad=0.1, suffix=PERCENT)
    axes = {
        "xaxis": x.axis(look, "epoch", dtick=max(1, round(epochs[-1] / 10))),
        "yaxis": y.axis(look, "accuracy, held-out examples"),
    }
    return dress(fig, look, "recovery", height, **axes)


def recovery_table(curve: Sequence[Log]) -> dict[str, list[Any]]:
    """One row an epoch; the loss of epoch 0 is not defined."""
    return {
        "epoch": [log["epoch"] for log in curve],
        "mean training loss": [log["loss"] if log["epoch"] else None for log in curve],
        "held-out accuracy": [log["held_out"] for log in curve],
        "rate": [log["lr"] for log in curve],
        "seconds": [log["seconds"] for log in curve],
        "stayed": [log["best"] and log["epoch"] == max(x["epoch"] for x in curve if x["best"]) for log in curve],
    }


def recovery_alt(curve: Sequence[Log]) -> str:
    """From where to where."""
    best = max(curve, key=lambda log: (log["held_out"], -log["epoch"]))
    return (
        f"Held-out accuracy went from {curve[0]['held_out']:.1%} to {best['held_out']:.1%} at epoch {best['epoch']} of "
        f"{curve[-1]['epoch']} trained."
    )
