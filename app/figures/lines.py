"""What line figures share: a coloured line, one grey context trace, a ringed rank, a bar, a note above the plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.figures.scales import Scale
from app.figures.text import safe
from app.figures.theme import Theme

NUMBER, SHARE = "%{y:.3g}", "%{y:.1f} %"  # how hover text writes a value, and a share in per cent
CIRCLE = "M6,0 C6,3.3 3.3,6 0,6 C-3.3,6 -6,3.3 -6,0 C-6,-3.3 -3.3,-6 0,-6 C3.3,-6 6,-3.3 6,0 Z"
"""A circle of radius 6 px as a path, since Plotly halves pixel-sized circle shapes on logarithmic axes."""
STEADY = {"marker": {"opacity": 1}}  # a click selects a layer; it must not fade the other points


def line(
    fig: go.Figure,
    i: int,
    name: str,
    x: Any,
    y: Any,
    look: Theme,
    *,
    unit: str = "k",
    form: str = NUMBER,
    key: str = "",
) -> None:
    """Line number `i` of a figure: its colour, dash and marker; nine markers are drawn, every point can be clicked.

    `customdata` = `key`, or `name`, at every point (a line without markers gives no click). `unit` and `form` (NUMBER
    or SHARE) word the hover text.
    """
    fig.add_scatter(
        x=np.asarray(x),
        y=np.asarray(y, dtype=np.float32),
        customdata=[key or name] * len(x),
        name=safe(name),
        mode="lines+markers",
        line={"color": look.color(i), "dash": look.dash(i), "width": look.line_width},
        marker={"color": look.color(i), "symbol": look.symbol(i), "size": 8, "maxdisplayed": 9 if len(x) > 1 else 0},
        unselected=STEADY,
        hovertemplate=f"%{{fullData.name}}<br>{unit} = %{{x}}: {form}<extra></extra>",
    )


def dotted(fig: go.Figure, name: str, x: Any, y: Any, look: Theme, *, unit: str = "k", form: str = NUMBER) -> None:
    """A thin dotted reference line, not clickable."""
    hover = f"%{{fullData.name}}<br>{unit} = %{{x}}: {form}<extra></extra>"
    style = {"color": look.muted, "dash": "dot", "width": 1.4}
    points = {"x": np.asarray(x), "y": np.asarray(y, dtype=np.float32)}
    fig.add_scatter(**points, name=safe(name), mode="lines", line=style, hovertemplate=hover)


def grey(
    fig: go.Figure, curves: Sequence[tuple[str, Any, Any]], look: Theme, *,
    unit: str = "k", form: str = NUMBER, dash: str = "solid",
) -> None:  # fmt: skip
    """Many (name, x, y) curves as one grey trace joined by gaps; `customdata` = name. It costs what one line costs."""
    names = [name for name, x, _ in curves for _ in range(len(x) + 1)]
    shown = [safe(name) for name in names]
    field = "customdata" if shown == names else "text"  # one copy of the names, unless some need escaping
    fig.add_scatter(
        x=np.concatenate([np.append(x, x[-1:]) for _, x, _ in curves]),
        y=np.concatenate([np.append(y, np.nan) for _, _, y in curves]).astype(np.float32),
        customdata=names,
        text=None if field == "customdata" else shown,
        name="context",
        mode="lines+markers",
        line={"color": look.context, "width": 1, "dash": dash},
        marker={"color": look.context, "size": 2.5},
        unselected=STEADY,
        hovertemplate=f"%{{{field}}}<br>{unit} = %{{x}}: {form}<extra></extra>",
    )


def ring(fig: go.Figure, x: Scale, y: Scale, at: float, value: float, text: str, color: str, look: Theme) -> None:
    """Mark the chosen point (data units) of a line: a ring 12 px wide and `text` beside it. A shape, as it is cheap."""
    box = {"xsizemode": "pixel", "ysizemode": "pixel", "xanchor": at, "yanchor": value}
    fig.add_shape(type="path", path=CIRCLE, fillcolor=look.background, line={"color": color, "width": 3}, **box)
    place = {"xanchor": "left", "yanchor": "bottom", "xshift": 6, "yshift": 4, "showarrow": False}
    fig.add_annotation(x=x.to(at), y=y.to(value), text=text, bgcolor=look.background, borderpad=1, **place)


def tick(fig: go.Figure, x: Scale, y: Scale, at: float, value: float, text: str, color: str, look: Theme) -> None:
    """Mark a point (data units) of a line with an upright bar 20 px tall and `text` below it."""
    box = {"xsizemode": "pixel", "ysizemode": "pixel", "xanchor": at, "yanchor": value}
    fig.add_shape(type="path", path="M0,-10 L0,10", line={"color": color, "width": 3}, **box)
    place = {"yanchor": "top", "yshift": -10, "showarrow": False, "font": {"color": look.muted, "size": look.small}}
    fig.add_annotation(x=x.to(at), y=y.to(value), text=text, **place)


def note(fig: go.Figure, text: str, look: Theme, x: float = 0.0, anchor: str = "left") -> None:
    """A quiet line of text above the plot; nothing when `text` is empty."""
    if text:
        place = {"x": x, "y": 1, "xref": "paper", "yref": "paper", "xanchor": anchor, "yanchor": "bottom"}
        fig.add_annotation(text=text, showarrow=False, font={"color": look.muted, "size": look.small}, **place)
