"""What a spectrum says about a layer: sizes, heavy tail, noise edge, and how it differs from a random one.

Eigenvalues here are lam = S², of W Wᵀ, not divided by the number of inputs. Definitions follow WeightWatcher (Martin
and Mahoney 2021, and its code where the two differ) unless said otherwise; its own flags call alpha < 2 over-trained
and alpha > 6 under-trained. These are descriptions, not verdicts: show fit quality and the shuffled layer beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.numerics.ranks import marchenko_pastur_edge, marchenko_pastur_rank
from core.numerics.svd import Spectrum, spectrum

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Density proportional to lam^-alpha for lam >= x_min, fitted to a tail.

    alpha     exponent, > 1.        x_min   start of the tail, one of the eigenvalues.
    distance  Kolmogorov-Smirnov distance between the tail and the fit, in [0, 1]: the fit quality, 0 is perfect.
    num_tail  eigenvalues at or above x_min.
    """

    alpha: float
    x_min: float
    distance: float
    num_tail: int

    @property
    def sigma(self) -> float:
        """Standard error of alpha, (alpha - 1) / sqrt(num_tail)."""
        return (self.alpha - 1.0) / math.sqrt(self.num_tail)


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """One layer's diagnostics; plain numbers. None where there is nothing to say (zero matrix, or no tail to fit).

    stable_rank        sum lam / lam_1, in [1, k].
    entropy_rank       exp of the entropy of S / sum S (Roy and Vetterli), in [1, k].
    matrix_entropy     entropy of lam / sum lam over ln(numerical rank), in [0, 1] (WeightWatcher's "entropy").
    numerical_rank     number of S above max(m, n) eps S_1, eps = 2^-52, as numpy.linalg.matrix_rank.
    log_norm           log10 of sum lam = log10 ‖W‖_F².
    log_spectral_norm  log10 of lam_1 = log10 ‖W‖_2².
    log_alpha_norm     log10 of sum lam^alpha.
    alpha, alpha_sigma, alpha_distance, alpha_tail    the power law: exponent, its standard error, fit quality, points.
    alpha_weighted     alpha log10 lam_1 ("alpha-hat").
    mp_edge            largest S that white noise with this bulk would show, units of W (with its finite-size cushion).
    spikes             number of S above it.
    mp_soft_rank       mp_edge² / lam_1; at 1 or above nothing stands out of the noise.
    """

    stable_rank: float
    entropy_rank: float
    matrix_entropy: float
    numerical_rank: int
    log_norm: float | None
    log_spectral_norm: float | None
    log_alpha_norm: float | None
    alpha: float | None
    alpha_sigma: float | None
    alpha_distance: float | None
    alpha_tail: int
    alpha_weighted: float | None
    mp_edge: float
    spikes: int
    mp_soft_rank: float | None


def diagnose(spectrum: Spectrum) -> Diagnostics:
    """All diagnostics of one layer from its singular values alone. The power law is fitted to the eigenvalues of
    numerically non-zero S; WeightWatcher drops those under 1e-5 instead, which depends on the units of W."""
    m, n, S = spectrum.m, spectrum.n, np.asarray(spectrum.S)
    kept = S[S > max(m, n) * 2.0**-52 * S[0]]
    edge = marchenko_pastur_edge(S, m, n)
    law = power_law(kept**2) if kept.size else None
    log_1 = 2.0 * math.log10(S[0]) if kept.size else None
    q = (kept / spectrum.tail[0]) ** 2 if kept.size else kept
    return Diagnostics(
        stable_rank=spectrum.stable_rank,
        entropy_rank=spectrum.entropy_rank,
        matrix_entropy=float(-np.sum(q * np.log(q)) / math.log(kept.size)) if kept.size > 1 else 0.0,
        numerical_rank=int(kept.size),
        log_norm=2.0 * math.log10(spectrum.tail[0]) if kept.size else None,
        log_spectral_norm=log_1,
        log_alpha_norm=law.alpha * log_1 + math.log10(np.sum((kept / S[0]) ** (2.0 * law.alpha)))
        if law is not None and log_1 is not None
        else None,
        alpha=law.alpha if law else None,
        alpha_sigma=law.sigma if law else None,
        alpha_distance=law.distance if law else None,
        alpha_tail=law.num_tail if law else 0,
        alpha_weighted=law.alpha * log_1 if law is not None and log_1 is not None else None,
        mp_edge=edge,
        spikes=marchenko_pastur_rank(S, m, n),
        mp_soft_rank=(edge / float(S[0])) ** 2 if kept.size else None,
    )


def power_law(lam: Sequence[float] | npt.NDArray[Any]) -> PowerLaw | None:
    """Maximum-likelihood power law with a scan over x_min; None without two different positive values.

    For each distinct value x_min but the largest, with the n values x_1 <= ... <= x_n at or above it,
    alpha = 1 + n / sum ln(x_j / x_min), D = max_j |F(x_j) - (j - 1) / n|, F(x) = 1 - (x / x_min)^(1 - alpha); the least
    D wins. The sums come from one cumulative sum, D from one pass per candidate: O(p²) for p values, every candidate is
    tried. Source: Clauset, Shalizi and Newman 2009, with the empirical function (j - 1) / n of WeightWatcher's code."""
    x = np.sort(np.asarray(lam, dtype=np.float64))
    logs = np.log(x[x > 0.0])
    if logs.size < 2:
        return None
    above = np.cumsum(logs[::-1])[::-1]
    starts = np.flatnonzero(np.diff(logs, prepend=-np.inf) > 0.0)
    best: PowerLaw | None = None
    for i in starts[:-1]:
        n = logs.size - int(i)
        beta = n / (above[i] - n * logs[i])  # alpha - 1
        F = -np.expm1(-beta * (logs[i:] - logs[i]))
        D = float(np.max(np.abs(F - np.arange(n) / n)))
        if best is None or D < best.distance:
            best = PowerLaw(float(1.0 + beta), float(np.exp(logs[i])), D, n)
    return best


def shuffled(W: Tensor, seed: int) -> Spectrum:
    """Spectrum of W (m, n) with its entries permuted: same values, all structure gone. Equal seeds give equal results
    on every device (the permutation is drawn on the CPU)."""
    import torch

    order = torch.randperm(W.numel(), generator=torch.Generator().manual_seed(seed))
    return spectrum(W.detach().reshape(-1)[order.to(W.device)].reshape(W.shape))


def random_like(m: int, n: int, std: float, seed: int) -> Spectrum:
    """Spectrum of an (m, n) matrix of independent normal entries with standard deviation std: a layer at its random
    initialisation. Drawn on the CPU, so equal seeds give equal results."""
    import torch

    W = torch.empty(m, n, dtype=torch.float64)
    return spectrum(W.normal_(0.0, std, generator=torch.Generator().manual_seed(seed)))


def shuffle_distance(a: Spectrum, b: Spectrum) -> float:
    """Distance of two spectra of equal length, in [0, sqrt(ln 2)]: square root of the Jensen-Shannon divergence
    (natural logarithm) between their sorted eigenvalues normalised to sum 1. 0 if equal. Source: WeightWatcher's
    rand_distance. ValueError if the lengths differ or one is zero."""
    if a.k != b.k or not (a.tail[0] and b.tail[0]):
        raise ValueError(f"need two non-zero spectra of equal length, got {a.k} and {b.k} values")
    p, q = ((np.asarray(s.S) / s.tail[0]) ** 2 for s in (a, b))
    mean = 0.5 * (p + q)
    half = [float(np.sum(v[v > 0] * np.log(v[v > 0] / mean[v > 0]))) for v in (p, q)]
    return math.sqrt(max(0.0, 0.5 * sum(half)))
