"""Rank bars: the one canvas component, for what must move while it is dragged.

Bars of every layer, the primary layer's spectrum and error curves, and the dial "keep N %" are drawn and updated in
the browser; Python hears one message when the pointer is released, or 250 ms after the last key.

Data contract (plain JSON values; every float finite)::

    {"view": "tune" | "strip",               # strip: bars as high as log weights, not draggable, a click selects
     "mode": "rank" | "sparsity" | "both",   # words of the axis title
     "quantity": "params" | "macs" | "bytes",
     "layers": [{"name", "label",            # name is the identity, label the text under the bar
         "obstacle": "" | why,               # why it stays dense; such a layer needs no families
         "locked": bool,
         "dense": [params, macs, bytes],     # integers, per sample
         "family": i, "level": int,          # index into families, -1 = dense; a rank or a per cent kept, 1..full
         "families": [{"id", "label", "unit": "rank" | "% kept", "full": int,
             "base": [p, m, b], "slope": [p, m, b],   # cost(level) = base + slope * level, integers
             "cost": [[p, m, b], ...],       # or instead one cost per level 1..full
             "even": [p, m, b],              # largest level that saves in each quantity, 0 = none
             "at": [...],                    # increasing levels of the curves below
             "plain": [...], "output": [...] | None,  # relative errors, joined by straight lines
             "S": [...] | None}]}],          # sigma at `at` over the largest sigma
     "other": [p, m, b],                     # what no choice changes
     "path": {"name": "", "keep": [...], "choice": [[[family, level], ...one per layer], ...one per stop]} | None,
     "dial": 1.0,                            # kept fraction; the nearest stop of the path is shown
     "primary": name, "revision": int,
     "scale": 1.0, "filename": "tune.png"}   # optional: text size, name of the downloaded picture

A new ``revision`` replaces the browser's choices with these; the same revision leaves them, and a drag under way,
alone. Zoom and scroll are the browser's own. A layer that costs strictly more than dense in the chosen quantity counts
as dense in all three totals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor
from pathlib import Path
from typing import Any

import streamlit as st

_FOLDER = Path(__file__).parent
_PARTS = ("rank_bars_model.js", "rank_bars_draw.js", "rank_bars_curves.js", "rank_bars_dom.js", "rank_bars.js")


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


_mount = st.components.v2.component("rank_bars", css=_text("rank_bars.css"), js="\n".join(map(_text, _PARTS)))


def rank_bars(
    data: Mapping[str, Any], key: str, height: int = 420, on_change: Callable[[], None] | None = None
) -> dict[str, Any] | None:
    """Place the component and return its last message, or None before the first.

    ``height`` is that of the bars and of the curves beside them, in CSS pixels. The message is kept by Streamlit and
    returned on every run, so callers compare ``seq``, which only grows (also across reloads)::

        {"kind": "edit", "layer", "family", "level"} | {"kind": "dial", "keep", "path"} | {"kind": "select", "layer"}
        | {"kind": "lock", "layer", "locked"}, each with "seq" and "earlier"

    "path" names the path that was walked; another may be in force by the time the message comes.
    "edit" and "lock" also make their layer the primary one. "earlier" lists messages that no run had seen when this
    one was sent; ``unseen`` puts them in order. ``on_change`` is called before the run that a message causes, and can
    read the message with ``last_message(key)``. A message reruns the fragment the component stands in, else the page.
    """
    message = last_message(key)
    sent = {**data, "height": height, "seen": message["seq"] if message else 0}
    result = _mount(key=key, data=sent, on_message_change=on_change or _nothing)
    return result.get("message")


def last_message(key: str) -> dict[str, Any] | None:
    """Return the last message of the component with this key, or None."""
    state = st.session_state.get(key)
    return state.get("message") if state else None


def unseen(message: Mapping[str, Any] | None, seq: int) -> list[dict[str, Any]]:
    """Return the messages after ``seq``, oldest first: those overtaken by the last one, then the last one itself."""
    if not message:
        return []
    last = {name: value for name, value in message.items() if name != "earlier"}
    return [item for item in (*message.get("earlier", ()), last) if item["seq"] > seq]


def share_percent(part: int, whole: int) -> str:
    """Format part / whole as the component does: integers, half up to a tenth of a per cent. ``whole`` 0: unknown."""
    if not whole:
        return "unknown"
    tenths = (2000 * part + whole) // (2 * whole)
    return f"{tenths // 10}.{tenths % 10}\u00a0%"


def error_percent(error: float) -> str:
    """Format a relative error in [0, inf) as the component does: half up to a tenth of a per cent, in doubles."""
    return f"{floor(1000 * error + 0.5) / 10:.1f}\u00a0%"


def _nothing() -> None:
    """Do nothing; Streamlit reports a state value only if it has a callback."""
