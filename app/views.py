"""How pages are looked at, as words of the address: what a figure shows, what is searched, which tab is open.

One row says under which parameter the address has it and under which key the session; `state` reads and mirrors them.
A new control that others should see by a link is a new row; its widget must outlive its page (`persist_state`), or the
key must be the page's own and the widget's callback write it. No streamlit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 200
"""Characters of a parameter at most; a longer one is nonsense (chosen: far above what any row writes)."""

SEARCH = 100
"""Characters of a search at most (chosen)."""


MOST_LOST = 50.0
"""Points of accuracy that one may say to lose at most."""

IN_HAND = 8
"""Points of a trade-off in hand at most."""


@dataclass(frozen=True, slots=True)
class View:
    """parameter: of the address. key: of the session. default: what stays out of the address. read: the value of a
    text, None for nonsense. write: the text of a value."""

    parameter: str
    key: str
    default: Any
    read: Callable[[str], Any]
    write: Callable[[Any], str] = str

    def value(self, text: str) -> Any:
        """What a text of the address stands for, the default for none and for nonsense."""
        found = self.read(text) if 0 < len(text) <= LONGEST else None
        return self.default if found is None else found

    def text(self, value: Any) -> str:
        """What the address says, "" for the default and for what could not be read back."""
        made = "" if value is None or value == self.default else self.write(value)
        return made if made and self.value(made) == value else ""


def _one(parameter: str, key: str, options: Mapping[str, Any]) -> View:
    """One of several values by their words in the address; the first is the default."""
    words = {value: word for word, value in options.items()}
    return View(parameter, key, next(iter(words)), options.get, lambda value: words.get(value, ""))


def _same(*words: str) -> dict[str, str]:
    return {word: word for word in words}


def _search(text: str) -> str | None:
    return text if len(text) <= SEARCH and text.isprintable() else None


def _listed(text: str) -> list[str] | None:
    names = text.split(",")
    return names if all(re.fullmatch("[a-z0-9_]+", name) for name in names) else None


def _range(text: str) -> tuple[int, int] | None:
    found = re.fullmatch("([0-9]{1,6})-([0-9]{1,6})", text)
    first, last = (int(part) for part in found.groups()) if found else (0, 0)
    return (first, last) if 1 <= first < last else None


def _digest(text: str) -> str | None:
    return text if re.fullmatch("[0-9a-f]{12}", text) else None


def _lost(text: str) -> float | None:
    found = re.fullmatch("[0-9]{1,2}([.][0-9])?", text)
    return float(text) if found and float(text) <= MOST_LOST else None


def _points(text: str) -> list[str] | None:
    keys = text.split(",")
    good = len(keys) <= IN_HAND and all(re.fullmatch("[0-9a-f]{12,16}(-rec)?", key) for key in keys)
    return keys if good else None


SPECTRA = (
    _one("show", "spectra-quantity", {"spectrum": "S", "energy": "energy", "error": "error"}),
    _one("matrix", "spectra-matrix", _same("rows", "columns", "spatial", "whitened")),
    _one("versus", "spectra-reference", _same("none", "random", "shuffled", "twin")),
    View("twin", "spectra-twin", None, _digest),
    View("find", "spectra-search", "", _search),
    View("kinds", "spectra-kinds", [], _listed, ",".join),
    _one("x", "spectra-x", _same("log", "linear")),
    View("k", "spectra-range", None, _range, lambda ends: f"{ends[0]}-{ends[1]}"),
    _one("over", "spectra-normalise", {"largest": True, "nothing": False}),
    _one("points", "spectra-all", {"few": False, "all": True}),
    _one(
        "tab",
        "spectra-tab",
        {
            "rules": "Rank rules",
            "errors": "Error curves",
            "eigenvalues": "Eigenvalues",
            "layers": "All layers",
            "ledger": "Ledger",
        },
    ),
    _one("against", "spectra-against", _same("kept", "rank")),
)

TUNE = (
    _one(
        "below",
        "tune-below",
        {
            "changes": "Before and after",
            "layer": "Layer in hand",
            "lowrank-sparse": "Low rank + sparse",
            "table": "Edit as a table",
        },
    ),
)

TRADEOFFS = (
    _one("axis", "tradeoff-axis", _same("macs", "params", "bytes", "latency")),
    _one("colour", "tradeoff-by", {"forms": "families"} | _same("method", "repair", "seed")),
    View("lost", "tradeoff-lost", 1.0, _lost, lambda value: f"{value:g}"),
    View("hand", "tradeoff-chosen", [], _points, ",".join),
    _one(
        "more",
        "tradeoff-all",
        {
            "closed": "Closed",
            "parallel": "Parallel coordinates",
            "predicted": "Predicted",
            "sensitivity": "Sensitivity of layers",
        },
    ),
)

RUNS = (_one("beside", "runs-against", _same("macs", "params", "bytes")),)

VIEWS = (*SPECTRA, *TUNE, *TRADEOFFS, *RUNS)
