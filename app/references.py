"""Spectra to compare a layer with: random weights, its own shuffled, another checkpoint. No streamlit, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from core.compression.survey import LayerSurvey, Survey
from core.numerics.svd import Spectrum

KINDS = {
    "none": "nothing",
    "random": "random weights",
    "shuffled": "shuffled weights",
    "twin": "another checkpoint",
}


def references(
    kind: str, layers: Sequence[LayerSurvey], matrix: str, most: int, twin: Survey | None = None
) -> tuple[list[tuple[str, Spectrum]], str]:
    """(label, spectrum) of the reference `kind` for at most `most` of `layers` (the first first), and why some have
    none, "" if all have one.

    matrix   which matrix of a layer is meant: "rows", "columns", "spatial", or "whitened", which has no reference: the
             inputs that whitened it belong to its own weights."""
    if kind == "none" or not layers:
        return [], ""
    if matrix == "whitened":
        return [], "A whitened spectrum has no reference: choose a plain matrix to compare."
    found, missing = [], []
    for layer in layers:
        made = _reference(kind, layer, matrix, twin)
        if made is None:
            missing.append(layer.view.name)
        elif len(found) < most:
            found.append((f"{layer.view.name}, {_WORDS[kind]}", made))
    drawn = len(found) + len(missing)
    if missing:
        reason = "is stored for the rows matrix only" if kind == "shuffled" else "has no layer of that name and shape"
        return found, f"No reference for {', '.join(missing)}: {'shuffled' if kind == 'shuffled' else 'it'} {reason}."
    if drawn < len(layers):
        return found, f"References of {drawn} of {len(layers)} layers are drawn: untick some to see the others."
    return found, ""


def alike(survey: Survey, other: Survey) -> int:
    """Layers of `survey` that `other` has under the same name and with the same shape."""
    shapes = {(view.name, view.m, view.n, view.groups) for view in other.views}
    return sum((view.name, view.m, view.n, view.groups) in shapes for view in survey.views)


@lru_cache(maxsize=256)
def random_spectrum(m: int, n: int, std: float, groups: int = 1, seed: int = 0) -> Spectrum:
    """Singular values of `groups` blocks that share an (m, n) block-diagonal matrix, of independent normal entries with
    standard deviation `std`: a layer as it is initialised. Deterministic in the seed; O(k²).

    They are those of a bidiagonal k x k matrix with independent chi entries, N >= k the sides of a block: diagonal
    chi(N), ..., chi(N - k + 1), below it chi(k - 1), ..., chi(1).
    Source: Silverstein 1985; Dumitriu and Edelman 2002, for beta = 1. ValueError if the sides do not divide."""
    from scipy.linalg import eigvalsh_tridiagonal

    if groups < 1 or m % groups or n % groups:
        raise ValueError(f"{groups} equal blocks do not fill a {m} x {n} matrix")
    rng = np.random.default_rng(seed)
    k, N = min(m, n) // groups, max(m, n) // groups
    values = []
    for _ in range(groups):
        d = np.sqrt(rng.chisquare(np.arange(N, N - k, -1)))
        e = np.sqrt(rng.chisquare(np.arange(k - 1, 0, -1))) if k > 1 else np.zeros(0)
        diagonal = d**2
        diagonal[1:] += e**2
        lam = eigvalsh_tridiagonal(diagonal, d[:-1] * e) if k > 1 else diagonal
        values.append(np.sqrt(np.maximum(lam, 0.0)))
    return Spectrum.from_values(m, n, np.sort(std * np.concatenate(values))[::-1])


def spread(layer: LayerSurvey) -> float:
    """Root mean square of the layer's weights, which is the standard deviation a random layer of its size is given."""
    return layer.spectrum.tail[0] / math.sqrt(layer.view.size) if layer.spectrum else 0.0


def matrix_of(layer: LayerSurvey, matrix: str) -> Spectrum | None:
    """The spectrum of one of the layer's matrices, the rows one where it has no other; None without finite weights, or
    without calibration for "whitened"."""
    if matrix == "whitened":
        return layer.whitened
    return dict(layer.spectra).get(matrix) or layer.spectrum


def _reference(kind: str, layer: LayerSurvey, matrix: str, twin: Survey | None) -> Spectrum | None:
    own = matrix_of(layer, matrix)
    if own is None:
        return None
    if kind == "random":
        return random_spectrum(own.m, own.n, spread(layer), _blocks(layer, own))
    if kind == "shuffled":
        rows = matrix == "rows" or matrix not in dict(layer.spectra)
        return layer.shuffled if rows and layer.shuffled and layer.shuffled.k == own.k else None
    same = [other for other in (twin.layers if twin else ()) if other.view.name == layer.view.name]
    found = matrix_of(same[0], matrix) if same else None
    return found if found and (found.m, found.n) == (own.m, own.n) else None


def _blocks(layer: LayerSurvey, own: Spectrum) -> int:
    """Groups that the spectrum pools: a grouped layer's matrix is block-diagonal."""
    groups = layer.view.groups
    return groups if own.m == groups * layer.view.m and own.n == groups * layer.view.n else 1


_WORDS = {"random": "random", "shuffled": "shuffled", "twin": "other checkpoint"}
