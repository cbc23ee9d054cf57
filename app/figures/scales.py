"""One axis: what is shown, linear or logarithmic, where its ticks are, and data in axis units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from app.figures.text import plain
from app.figures.theme import Theme, axis

PERCENT = " %"


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high` in data units; with `log`, both > 0. `pad` is the free share at either end.

    `suffix` follows every tick; a share in [0, 1] is drawn as per cent, with low 0, high 100 and suffix PERCENT.
    """

    low: float
    high: float
    log: bool = False
    pad: float = 0.02
    suffix: str = ""

    def to(self, value: float) -> float:
        """Data to axis units: log10 on a logarithmic axis (annotations are placed in these)."""
        return math.log10(value) if self.log else float(value)

    @property
    def range(self) -> tuple[float, float]:
        """Both ends in axis units, padding included."""
        low, high = self.to(self.low), self.to(self.high)
        extra = self.pad * ((high - low) or 1.0)
        return low - extra, high + extra

    def axis(self, look: Theme, title: str, **more: Any) -> dict[str, Any]:
        """Plotly's axis in the house style; `more` overrides."""
        ticks = log_ticks(self.low, self.high) if self.log else {}
        return (
            axis(look, title, type="log" if self.log else "linear", range=self.range, ticksuffix=self.suffix)
            | ticks
            | more
        )


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks from `low` to `high` > 0: steps 1, 2, 5 over fewer than three decades, powers of ten over more."""
    steps = (1, 2, 5) if math.log10(high / low) <= 2.75 else (1,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    at = [s * 10.0**d for d in range(first, last + 1) for s in steps if low * 0.999 <= s * 10.0**d <= high * 1.001]
    return {"tickmode": "array", "tickvals": at, "ticktext": [plain(v) for v in at]}
