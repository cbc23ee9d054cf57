"""Teaching mode on a projector: the picture and its numbers first, everything else below them."""

from __future__ import annotations

import streamlit as st

SCALE = 1.1
"""Of text in the bars; with the browser at 150 % the smallest is 18 pixels (chosen)."""

TUNE_HEIGHT, STRIP_HEIGHT = 206, 224
"""Of the bars: what 1280 × 720 pixels at 150 % leave (measured)."""

_STYLE = """<style>
@media (max-height: 620px) {
  [data-testid="stHeader"] { height: 2.75rem; min-height: 2.75rem; }
  [data-testid="stMainBlockContainer"] { padding-top: 3rem; }
  [data-testid="stMainBlockContainer"] > [data-testid="stVerticalBlock"] { gap: 0.5rem; }
  [data-testid="stMainBlockContainer"] [data-testid="stVerticalBlock"] > * { flex-shrink: 0; }
  [data-testid="stMainBlockContainer"] > * > [data-testid="stLayoutWrapper"]:has(.st-key-share) { order: 9; }
  [data-testid="stMainBlockContainer"] h3 { font-size: 1.25rem; padding: 0 0 0.5rem; }
  [data-testid="stMetric"], [data-testid="stMetric"] > div { padding: 0; min-height: 0; border: 0; }
  [data-testid="stMetricValue"] { font-size: 1.25rem; }
  [data-testid="stMetricDelta"] { display: none; }
}
</style>"""
"""On a low window: less space, and the bar with title, model and dialogs at the end of the page."""


def fit() -> None:
    """Makes room on a low window."""
    st.html(_STYLE)
