"""Low rank + sparse along one budget: the error at every rank, with the pair in hand and both pure ends marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.lines import SHARE, line, note, ring
from app.figures.scales import PERCENT, Scale
from app.figures.theme import LIGHT, Theme, dress

Pair = tuple[int, int]


def iso_budget_figure(
    pairs: Sequence[Pair], errors: Sequence[float], size: int, at: int, *, look: Theme = LIGHT, height: int = 340
) -> go.Figure:
    """Relative error of the weights against the rank of the low-rank part; what the rank leaves is spent on entries.

    pairs   (rank, entries) in order of rank. errors  shares in [0, 1]. size  entries of the layer's matrix.
    at      index of the pair in hand, which gets the ring."""
    fig = go.Figure()
    ranks, shares = [r for r, _ in pairs], [100 * error for error in errors]
    line(fig, 0, "low-rank + sparse", ranks, shares, look, unit="rank", form=SHARE)
    fig.data[0].customdata = [kept_words(q, size) for _, q in pairs]
    fig.data[0].hovertemplate = "rank %{x} + %{customdata}: %{y:.1f} %<extra></extra>"
    x = Scale(0.0, float(max(ranks[-1], 1)), pad=0.04)
    y = Scale(0.0, max(1.0, *shares), pad=0.1, suffix=PERCENT)
    for i in dict.fromkeys((0, len(pairs) - 1)):
        beside = shares[i - 1] if i else shares[min(1, len(shares) - 1)]
        above = beside <= shares[i]  # away from the line
        place = {"xanchor": "right" if i else "left", "yanchor": "bottom" if above else "top"}
        if pure_words(pairs[i]):
            fig.add_annotation(
                x=ranks[i], y=shares[i], text=pure_words(pairs[i]), yshift=8 if above else -8, showarrow=False,
                font={"size": look.small}, **place,
            )  # fmt: skip
    best = min(range(len(errors)), key=errors.__getitem__)
    ring(fig, x, y, ranks[at], shares[at], f"rank {ranks[at]}", look.color(1), look)
    note(fig, f"least error at rank {ranks[best]}", look, 0.5, "center")
    axes = {"xaxis": x.axis(look, "rank r of the low-rank part"), "yaxis": y.axis(look, "relative error of weights")}
    return dress(fig, look, "iso-budget", height, **axes)


def iso_budget_table(pairs: Sequence[Pair], errors: Sequence[float], size: int) -> dict[str, list[Any]]:
    """One row a pair: rank, entries of the sparse part, their share of the weights, relative error, both in [0, 1]."""
    return {
        "rank": [r for r, _ in pairs],
        "sparse weights": [q for _, q in pairs],
        "share of weights": [q / size for _, q in pairs],
        "weight error": list(errors),
    }


def iso_budget_alt(pairs: Sequence[Pair], errors: Sequence[float], size: int) -> str:
    """Which pair of the budget loses least, against both pure ends."""
    best = min(range(len(errors)), key=errors.__getitem__)
    rank, kept = pairs[best]
    found = f"Least error along this budget: {errors[best]:.1%} at rank {rank} with {kept_words(kept, size)}"
    ends = [(pure_words(pairs[i]), errors[i]) for i in dict.fromkeys((0, len(pairs) - 1)) if i != best]
    return "; ".join([found, *(f"{words} {error:.1%}" for words, error in ends if words)]) + "."


def kept_words(entries: int, size: int) -> str:
    """A number of entries as a share: "12.5 % of the weights"."""
    return f"{100 * entries / size:.1f} % of the weights"


def pure_words(pair: Pair) -> str:
    """What to call a pair with one part alone, "" for one with both."""
    if not pair[0]:
        return "sparse alone"
    return "" if pair[1] else "low rank alone"
