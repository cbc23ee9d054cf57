"""What the spectra figure plots, and the axes that hold it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.figures.labels import End
from app.figures.scales import PERCENT, Scale
from app.figures.thinning import POINTS, spectrum_of, values

if TYPE_CHECKING:
    from core.compression.survey import LayerSurvey
    from core.numerics.svd import Spectrum

SELECTED_POINTS = 960  # shared by all coloured lines, so that a figure of 40 layers stays under 100 KiB
WHITENED = "whitened"
"""The one matrix that weighs a layer by its inputs, so that its spectrum speaks of outputs and not of weights."""


@dataclass(frozen=True, slots=True)
class SpectraView:
    """What is plotted: "S" (singular values; over each line's own sigma_1 if `normalise`), "energy" or "error", against
    rank 1..k or only `index_range` (first, last), of the matrix called `unfolding`, or a layer's first without it. At
    most `points` per line, None for every one."""

    quantity: str = "S"
    normalise: bool = True
    log_x: bool = True
    unfolding: str = "rows"
    index_range: tuple[int, int] | None = None
    points: int | None = POINTS

    def limit(self, num_lines: int) -> int | None:
        """Points of each of `num_lines` coloured lines."""
        return None if self.points is None else min(self.points, SELECTED_POINTS // max(num_lines, 1))

    def curve(self, spectrum: Spectrum) -> np.ndarray:
        """What is drawn of one spectrum, (k,): singular values, or energy and error in per cent."""
        return values(spectrum, self.quantity, self.normalise) * (1 if self.quantity == "S" else 100)

    def named(self, layers: Iterable[LayerSurvey]) -> list[tuple[str, Spectrum]]:
        """Name and spectrum of the layers that have one."""
        return [(layer.view.name, s) for layer in layers if (s := spectrum_of(layer, self.unfolding))]

    def scales(self, spectra: Sequence[Spectrum]) -> tuple[Scale, Scale]:
        """Axes that hold every spectrum: ranks 1..longest unless a range is asked for."""
        first, last = self.index_range or (1, max((len(s.S) for s in spectra), default=2))
        x = Scale(first, max(last, first + 1), self.log_x)
        if self.quantity != "S":
            return x, Scale(0.0, 100.0, pad=0.04, suffix=PERCENT)
        shown = np.concatenate([self.curve(s)[first - 1 : last] for s in spectra] or [np.ones(1)])
        shown = shown[np.isfinite(shown)]
        low, high = (float(shown.min()), float(shown.max())) if len(shown) else (0.1, 1.0)
        return x, Scale(min(low, high / 3), high, log=True, pad=0.05)

    def end(self, name: str, drawn: np.ndarray, x: Scale, color: str, glyph: str) -> list[End]:
        """Where a line (k,) leaves the plot, as zero or one End."""
        last = [r for r in range(int(x.low), min(int(x.high), len(drawn)) + 1) if np.isfinite(drawn[r - 1])][-1:]
        return [End(name, r, float(drawn[r - 1]), color, glyph) for r in last]

    @property
    def of(self) -> str:
        """What the matrix speaks of."""
        return "outputs" if self.unfolding == WHITENED else "weights"

    @property
    def words(self) -> str:
        """What is drawn, and of what."""
        if self.quantity == "error":
            return f"relative error of the {self.of}"
        named, seen = {"S": ("singular value", "whitened "), "energy": ("energy kept", "output ")}[self.quantity]
        return seen + named if self.unfolding == WHITENED else named

    @property
    def plain(self) -> bool:
        """Whether it draws singular values of the weights, what a spectrum is without further words."""
        return self.quantity == "S" and self.unfolding != WHITENED

    @property
    def title(self) -> str:
        """Title of the value axis, with its unit."""
        if self.quantity != "S":
            return self.words
        return f"{self.words} σ<sub>k</sub>" + (" / σ<sub>1</sub>" if self.normalise else f" (units of the {self.of})")
