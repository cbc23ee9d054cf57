"""Eigenvalues of a layer in log-spaced bins, and the counts that a power-law tail or a noise bulk would put there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from core.numerics.svd import Spectrum

LEAST, MOST = 8, 40  # bins
FLOOR = 1e-4  # values below FLOOR sigma_1 stay out: chosen, they would squeeze the rest into a corner


def histogram(spectrum: Spectrum, edges: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Log-spaced edges (b + 1,) and counts (b,) of the eigenvalues lam = sigma²; 2 sqrt(k) bins, 8 to 40 (chosen)."""
    S = np.asarray(spectrum.S, dtype=float)
    top = S[0] if len(S) else 0.0
    lam = np.square(S[S > FLOOR * top])
    if edges is None:
        if not len(lam):
            return np.array([0.1, 1.0]), np.zeros(1)
        num = int(min(max(2 * math.sqrt(len(lam)), LEAST), MOST))
        edges = np.geomspace(lam.min() / 1.05, lam.max() * 1.05, num + 1)
    return edges, np.histogram(lam, edges)[0]


def tail(spectrum: Spectrum, alpha: float, num_tail: int, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts per bin of a power law with exponent `alpha`, from its x_min (the num_tail-th largest eigenvalue) on.

    x and counts, each (24,). Source: integral of the density (alpha - 1) / x_min (x / x_min)^-alpha over a bin."""
    x_min = spectrum.S[min(num_tail, len(spectrum.S)) - 1] ** 2
    half = math.sqrt(edges[1] / edges[0])
    x = np.geomspace(x_min, edges[-1], 24)
    return x, num_tail * ((x / half / x_min) ** (1 - alpha) - (x * half / x_min) ** (1 - alpha))


def bulk(spectrum: Spectrum, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts per bin of a Marchenko-Pastur bulk with the layer's shape and its median eigenvalue; x and counts, (c,).

    Source: density sqrt((b - x)(x - a)) / (2 pi beta x) on [a, b] = [(1 - sqrt(beta))², (1 + sqrt(beta))²], beta the
    short side over the long one; integrated on a grid that is finest at both ends, where the density bends."""
    beta = min(spectrum.m, spectrum.n) / max(spectrum.m, spectrum.n)
    a, b = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    x = (a + b) / 2 - (b - a) / 2 * np.cos(np.linspace(0, np.pi, 4001))
    density = np.sqrt(np.maximum((b - x) * (x - a), 0)) / np.maximum(x, 1e-12)
    F = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    F /= F[-1]
    unit = max(float(np.median(np.square(spectrum.S))) / float(np.interp(0.5, F, x)), 1e-300)
    at = np.geomspace(edges[0], edges[-1], 4 * len(edges))
    half = math.sqrt(edges[1] / edges[0])
    return at, len(spectrum.S) * (np.interp(at * half / unit, x, F) - np.interp(at / half / unit, x, F))
