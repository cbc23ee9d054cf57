"""Which points of a long curve are drawn, and saying so.

300 log-spaced points cannot be told from 5,000 on a logarithmic axis; the payload falls nine-fold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from core.compression.survey import LayerSurvey
    from core.numerics.svd import Spectrum

POINTS = 300  # drawn per curve at most; source: measured, see the design notes on payload
FLOOR = 1e-7  # values below FLOOR * sigma_1 are not drawn: chosen, they would squeeze the rest into a corner


def indices(k: int, limit: int | None = POINTS, keep: Iterable[int] = (), log: bool = True) -> np.ndarray:
    """Ranks 1..k to draw, increasing, both ends included: at most `limit` (None: all) plus those of `keep` in 1..k."""
    if k < 1:
        return np.zeros(0, dtype=np.int32)
    if limit is None or k <= limit:
        return np.arange(1, k + 1, dtype=np.int32)
    space = np.geomspace if log else np.linspace
    chosen = np.unique(np.rint(space(1, k, limit)))
    for num in np.geomspace(limit, 8 * limit, 24):  # the low end repeats integers: ask for more until `limit` differ
        finer = np.unique(np.rint(space(1, k, int(num))))
        if len(finer) > limit:
            break
        chosen = finer
    kept = [r for r in keep if 1 <= r <= k]
    return np.unique(np.concatenate([chosen, kept])).astype(np.int32)


def thinned(
    spectrum: Spectrum, limit: int | None = POINTS, keep: Iterable[int] = (), log: bool = True
) -> tuple[np.ndarray, str]:
    """`indices` for a spectrum, and the note to show: "Thinned to 300 of 5,000 points", "" when all are drawn."""
    k = len(spectrum.S)
    chosen = indices(k, limit, keep, log)
    return chosen, f"Thinned to {len(chosen):,} of {k:,} points" if len(chosen) < k else ""


def values(spectrum: Spectrum, quantity: str, normalise: bool = True) -> np.ndarray:
    """Array (k,) over ranks r = 1..k. "S": sigma_r, over sigma_1 if `normalise`, NaN below FLOOR (not drawn);
    "energy": kept share in [0, 1]; "error": relative Frobenius error in [0, 1]. A zero matrix has energy 1, error 0.
    ValueError for another quantity."""
    S, tail = np.asarray(spectrum.S, dtype=float), np.asarray(spectrum.tail, dtype=float)
    if quantity == "S":
        top = S[0] if len(S) and S[0] > 0 else 1.0
        return np.where(S > FLOOR * top, S / (top if normalise else 1.0), np.nan)
    if quantity not in ("energy", "error"):
        raise ValueError(f'quantity must be "S", "energy" or "error", got {quantity!r}')
    error = tail[1:] / tail[0] if tail[0] > 0 else np.zeros(len(S))
    return error if quantity == "error" else 1 - error**2


def spectrum_of(layer: LayerSurvey, unfolding: str = "rows") -> Spectrum | None:
    """The layer's spectrum in that unfolding, else its first, else None (no finite weights)."""
    named = dict(layer.spectra)
    return named.get(unfolding) or next(iter(named.values()), None)
