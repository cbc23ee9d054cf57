"""How names and numbers are written in figures. Per cent is `Theme.percent`."""

from __future__ import annotations

import math
from html import escape

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def safe(name: str, limit: int = 0) -> str:
    """A name from a checkpoint as literal text for Plotly, which reads a small HTML; with `limit`, cut in the middle to
    so many letters."""
    if limit and len(name) > limit:
        name = f"{name[: (limit - 1) // 2]}…{name[len(name) - limit // 2 :]}"
    return escape(name, quote=False)


def count(number: float) -> str:
    """A non-negative count in three significant digits with k, M or G (powers of 1000): 272474 -> "272 k"."""
    for scale, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * scale:
            value = number / scale
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{letter}"
    return f"{number:.0f}"


def plain(value: float) -> str:
    """A positive number as people write it: 0.01, 0.5, 20, 10⁻⁵, 2·10⁶."""
    if 1e-3 <= value < 1e5:
        return f"{value:,.6g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    power = "10" + str(exponent).translate(SUPERSCRIPT)
    lead = value / 10.0**exponent
    return power if abs(lead - 1) < 1e-6 else f"{lead:.3g}·{power}"
