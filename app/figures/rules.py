"""Every rank rule's answer for one layer: the spectrum above, one row per rule below, on the same rank axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from app.figures.lines import STEADY, line, note
from app.figures.scales import Scale
from app.figures.text import safe
from app.figures.theme import LIGHT, Theme, axis, dress
from app.figures.thinning import POINTS, thinned, values

if TYPE_CHECKING:
    from core.catalogue import RankMark
    from core.numerics.svd import Spectrum

ZERO = 0.55  # where rank 0 ("nothing above the noise") stands on a logarithmic axis; chosen, left of 1


def rules_figure(
    spectrum: Spectrum, rules: Sequence[RankMark], edge: float | None = None, break_even: int | None = None, *,
    log_x: bool = True, points: int | None = POINTS, look: Theme = LIGHT, height: int = 340,
) -> go.Figure:  # fmt: skip
    """Singular values with every rule's rank. `edge` is the noise edge in the units of sigma; ranks above `break_even`
    are shaded, as they save nothing. `height` in px is the upper part's; each row adds its own. A rule's marker carries
    `customdata` = the rule's name."""
    S, k = values(spectrum, "S", normalise=False), len(spectrum.S)
    rows = sorted(rules, key=lambda rule: (-rule.rank, rule.label))  # row 0 is the lowest
    part = 1.75 * look.font_size * max(len(rows), 1) + 14
    below = part / (part + height - 80)
    zero = ZERO if log_x else 0.0
    shown = np.append(S[np.isfinite(S)], edge or [])
    low, high = (float(shown.min()), float(shown.max())) if len(shown) else (0.1, 1.0)
    x = Scale(zero if any(rule.rank == 0 for rule in rows) else 1, max(k, 2), log=log_x, pad=0.03)
    y = Scale(min(low, high / 3), high, log=True, pad=0.06)
    fig = go.Figure()
    at, thin = thinned(spectrum, points, [rule.rank for rule in rows], log_x)
    line(fig, 0, "singular values", at, S[at - 1], look)
    _add_rows(fig, rows, x, zero, below, look)
    if edge:
        style = {"color": look.color(2), "width": 1.5, "dash": "dash"}
        fig.add_shape(type="line", xref="paper", x0=0, x1=1, y0=edge, y1=edge, line=style)
        place = {"xref": "paper", "x": 0, "xanchor": "left", "yanchor": "top", "xshift": 4, "showarrow": False}
        fig.add_annotation(text=f"noise edge {edge:.3g}", y=y.to(edge), font={"size": look.small}, **place)
    if break_even is not None and break_even < k:
        zone = {"x0": max(break_even + 0.5, x.low), "x1": 2 * k, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
        fig.add_shape(type="rect", fillcolor=look.muted, opacity=0.13, line={"width": 0}, **zone)
        says = f"above rank {break_even}: costs more than dense" if break_even else "no rank saves here"
        note(fig, says, look, 1.0, "right")
    note(fig, thin, look)
    ranks = x.axis(look, "rank r", anchor="y2")
    if log_x and x.low == ZERO:
        ranks |= {"tickvals": [ZERO, *ranks["tickvals"]], "ticktext": ["0", *ranks["ticktext"]]}
    upper = y.axis(look, "singular value σ<sub>k</sub>", domain=[below + 0.02, 1])
    lower = axis(look, domain=[0, below], range=[-0.6, len(rows) - 0.4], showticklabels=False, showgrid=False, ticks="")
    return dress(fig, look, "rules", int(height + part), xaxis=ranks, yaxis=upper, yaxis2=lower)


def _add_rows(fig: go.Figure, rows: Sequence[RankMark], x: Scale, zero: float, below: float, look: Theme) -> None:
    """One marker and label per rule, each with a thin line up through the spectrum."""
    at = [max(rule.rank, zero) for rule in rows]
    middle = (x.to(x.high) + x.to(x.low)) / 2
    fig.add_scatter(
        x=at,
        y=list(range(len(rows))),
        yaxis="y2",
        mode="markers+text",
        name="rules",
        customdata=[rule.name for rule in rows],
        marker={"color": look.color(1), "symbol": look.symbol(2), "size": 9},
        text=[f"\u2002{safe(rule.label)}: <b>{rule.rank}</b>\u2002" for rule in rows],
        textposition=["middle left" if x.to(place) > middle else "middle right" for place in at],
        textfont={"size": look.small, "color": look.text},
        hovertext=[f"{safe(rule.label)}<br>{safe(rule.source)}" for rule in rows],
        hoverinfo="text",
        cliponaxis=False,
        unselected=STEADY,
    )
    for i, place in enumerate(at):
        ends = {"x0": place, "x1": place, "y0": (i + 0.5) / len(rows) * below, "y1": 1, "yref": "paper"}
        fig.add_shape(type="line", layer="below", line={"color": look.leader, "width": 1, "dash": "dot"}, **ends)


def rules_table(spectrum: Spectrum, rules: Sequence[RankMark], break_even: int | None = None) -> dict[str, list[Any]]:
    """One row per rule, by rank: rule, rank, energy and error there (shares in [0, 1]), whether it saves, source."""
    rows = sorted(rules, key=lambda rule: (rule.rank, rule.label))
    ranks = [rule.rank for rule in rows]
    shares = {"energy": [spectrum.energy(r) for r in ranks], "error": [spectrum.error(r) for r in ranks]}
    saves = {"saves": [None if break_even is None else r <= break_even for r in ranks]}
    return {"rule": [r.label for r in rows], "rank": ranks, **shares, **saves, "source": [r.source for r in rows]}


def rules_alt(rules: Sequence[RankMark], break_even: int | None = None) -> str:
    """The range of the rules' answers and how many of them save."""
    if not rules:
        return "Singular values of the layer; no rank rule is shown."
    low, high = min(rules, key=lambda rule: rule.rank), max(rules, key=lambda rule: rule.rank)
    text = f"Rank rules answer from {low.rank} ({low.label}) to {high.rank} ({high.label})"
    if break_even is None:
        return text + "."
    saving = sum(rule.rank <= break_even for rule in rules)
    return f"{text}; {saving} of {len(rules)} are at or below the break-even rank {break_even}."
