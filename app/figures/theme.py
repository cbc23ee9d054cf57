"""The only place style lives: palettes, line and marker cycles, fonts, margins, per cent.

Palettes are the entries of Okabe and Ito (2008) that keep a contrast of 3:1 on their background, brightened for the
dark theme; text keeps 4.5:1 (WCAG 2.2, 1.4.3 and 1.4.11). The same colours stand in .streamlit/config.toml.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "9px, 3px, 2px, 3px, 2px, 3px")
# seven, so that they never repeat in step with a palette of five or six
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
GLYPHS = ("●", "■", "◆", "▲", "✚", "✖", "★", "▼")  # the same shapes as text, in the same order
SEQUENTIAL = "Cividis"
FONT = '"Source Sans", "Source Sans Pro", "Segoe UI", sans-serif'
CLEAR = "rgba(0, 0, 0, 0)"


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours as #RRGGBB; sizes in px. Series i takes color(i), dash(i), symbol(i), glyph(i): 8 in a row all differ.

    text and muted are for words; context is for grey data lines; grid and leader carry no information.
    """

    background: str
    surface: str
    text: str
    muted: str
    grid: str
    leader: str
    context: str
    palette: tuple[str, ...]
    teaching: bool = False

    @property
    def font_size(self) -> int:
        """Base size of text: 13, in teaching 16."""
        return 16 if self.teaching else 13

    @property
    def small(self) -> int:
        """Size of secondary text: 12, in teaching 16, below which nothing may go on a projector."""
        return 16 if self.teaching else 12

    @property
    def line_width(self) -> float:
        """Width of a data line."""
        return 3.2 if self.teaching else 2.0

    def color(self, i: int) -> str:
        """Colour of series i; the palette repeats."""
        return self.palette[i % len(self.palette)]

    def dash(self, i: int) -> str:
        """Dash pattern of series i."""
        return DASHES[i % len(DASHES)]

    def symbol(self, i: int) -> str:
        """Plotly's marker of series i."""
        return SYMBOLS[i % len(SYMBOLS)]

    def glyph(self, i: int) -> str:
        """The marker of series i as a letter."""
        return GLYPHS[i % len(GLYPHS)]

    def percent(self, fraction: float) -> str:
        """A fraction as per cent: one decimal, none in teaching; below 0.1 % as "< 0.1 %"."""
        if 0 < fraction < 0.001 and not self.teaching:
            return "< 0.1 %"
        return f"{100 * fraction:.{0 if self.teaching else 1}f} %"


LIGHT_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
DARK_PALETTE = ("#56B4E9", "#E69F00", "#00C08B", "#F29BC6", "#F0E442", "#FFFFFF")
_LIGHT = ("#FFFFFF", "#F3F5F7", "#1F2329", "#5B616B", "#E9EBEE", "#C3C8CF", "#868C95")
_DARK = ("#0E1117", "#1C2128", "#E8EAED", "#A9B1BC", "#252B33", "#4A525D", "#6C7480")


def theme(dark: bool = False, teaching: bool = False) -> Theme:
    """The look of every figure: light or dark; teaching has 16 px text, thicker lines and fewer decimals."""
    return Theme(*_DARK, DARK_PALETTE, teaching) if dark else Theme(*_LIGHT, LIGHT_PALETTE, teaching)


LIGHT = theme()


def axis(look: Theme, title: str = "", **more: Any) -> dict[str, Any]:
    """One axis in the house style; `more` overrides."""
    lines = {"gridcolor": look.grid, "linecolor": look.muted, "tickcolor": look.muted, "zeroline": False}
    words = {"title": {"text": title, "standoff": 10}, "tickfont": {"color": look.muted}, "automargin": True}
    return lines | words | more


def dress(fig: go.Figure, look: Theme, name: str, height: int = 420, right: int = 24, **layout: Any) -> go.Figure:
    """Put the house style on a figure; `name` keeps the visitor's zoom (uirevision); `right` is the margin for end
    labels. The plot area is clear, so that shapes below the lines show through."""
    font = {"family": FONT, "size": look.font_size, "color": look.text}
    fig.update_layout(template="none", uirevision=name, height=height, showlegend=False, hovermode="closest", font=font)
    fig.update_layout(paper_bgcolor=look.background, plot_bgcolor=CLEAR, margin={"l": 60, "r": right, "t": 28, "b": 52})
    fig.update_layout(hoverlabel={"bgcolor": look.surface, "bordercolor": look.muted, "font": font})
    fig.update_layout(modebar={"bgcolor": CLEAR, "color": look.muted, "activecolor": look.text})
    return fig.update_layout(**layout)


def toolbar(name: str) -> dict[str, Any]:
    """Plotly's `config` for every figure that is placed or written to a file: the camera saves an SVG called `name`.

    It removes "Share chart" of plotly.js 4, which uploads the figure (Streamlit removes it, a report would not)."""
    camera = {"format": "svg", "filename": name}
    away = {"modeBarButtonsToRemove": ["sendChartToCloud", "sendDataToCloud"], "showSendToCloud": False}
    return {"displaylogo": False, "responsive": True, "toImageButtonOptions": camera, **away}
