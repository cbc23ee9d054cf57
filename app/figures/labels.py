"""Direct labels at line ends, spread so that none overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app.figures.scales import Scale
from app.figures.text import safe
from app.figures.theme import Theme

LONGEST = 26  # letters of a label before it is cut in the middle


@dataclass(frozen=True, slots=True)
class End:
    """The last drawn point of one line, in data units; `glyph` is its marker as text."""

    name: str
    x: float
    y: float
    color: str
    glyph: str = ""


def spread(wanted: Sequence[float], gap: float, across: Sequence[float] = ()) -> list[float]:
    """Positions in [0, 1] at least `gap` apart, in the order of `wanted` and near it; closer where they do not fit.

    `across` (same length) settles ties: of two lines ending at one height the one that ends further left is put nearer
    to that edge, so that leaders to the right do not cross.
    """
    gap = min(gap, 1 / max(len(wanted) - 1, 1))
    tie = across or [0.0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda i: (round(wanted[i], 3), tie[i] if wanted[i] < 0.5 else -tie[i]))
    placed, edge = list(wanted), 0.0
    for i in order:
        placed[i] = max(wanted[i], edge)
        edge = placed[i] + gap
    edge = 1.0
    for i in reversed(order):
        placed[i] = min(placed[i], edge)
        edge = placed[i] - gap
    return [max(p, 0.0) for p in placed]


def margin(names: Sequence[str], look: Theme) -> int:
    """Right margin in px that the labels of `names` need."""
    longest = max((min(len(n), LONGEST) for n in names), default=0)
    return int(24 + 0.55 * look.font_size * (longest + 2)) if longest else 24


def end_labels(fig: go.Figure, ends: Sequence[End], x: Scale, y: Scale, look: Theme, height: int) -> None:
    """Write each name right of the plot at the height of its line's end, with a thin leader from that end.

    `height` is the figure's in px. The labels are placed in axis units, so they stay with their lines when one zooms.
    """
    low, high = y.range
    wanted = [min(max((y.to(e.y) - low) / (high - low), 0.0), 1.0) for e in ends]
    heights = spread(wanted, 1.4 * look.font_size / max(height - 90, 100), [e.x for e in ends])
    for end, at in zip(ends, heights, strict=True):
        glyph = f'<span style="color:{end.color}">{end.glyph}</span> ' if end.glyph else ""
        fig.add_annotation(
            x=x.to(end.x), y=y.to(end.y), ax=x.range[1], ay=low + at * (high - low), axref="x", ayref="y",
            text=glyph + safe(end.name, LONGEST), xanchor="left", showarrow=True, arrowhead=0, arrowwidth=1,
            arrowcolor=look.leader, font={"color": look.text, "size": look.small}, borderpad=2, standoff=4,
        )  # fmt: skip
