"""Rules that read a rank off singular values alone.

S: singular values (k,) in any order, as a sequence, a numpy array or a torch tensor on any device; k = min(m, n)
wherever m and n are asked for. Every rule is unchanged by scaling S, except `gavish_donoho_rank` with a known sigma.

Every rule returns what its theory says, which may be 0: pure noise has no signal, a zero matrix loses nothing at rank
0, a 1 x n layer has no rank that saves. The catalogue, whose ranks build layers, raises 0 to 1; nothing here does.
Gavish-Donoho, Marchenko-Pastur and EVBMF model W as low rank plus white noise. Trained weights are not that, so show
them as views of the noise and not as compression budgets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Values = Sequence[float] | npt.NDArray[Any] | Tensor
    Array = npt.NDArray[np.float64]

_TIE = 1e-14
"""Share of the total by which a sum may miss its target through rounding and still count as reaching it (chosen)."""


def energy_rank(S: Values, threshold: float, norm: str = "frobenius") -> int:
    """Least r whose kept share is at least `threshold` in [0, 1]; 0 for a zero matrix.

    norm: "frobenius", share of sum S_i² (what `Spectrum.energy` gives); "nuclear", share of sum S_i. The same 95 %
    means different ranks, so always name the one used."""
    if norm not in ("frobenius", "nuclear"):
        raise ValueError(f'norm must be "frobenius" or "nuclear", got {norm!r}')
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must be in [0, 1], got {threshold}")
    parts = _scaled(S) ** 2 if norm == "frobenius" else _scaled(S)
    return _first_at_most(parts, 1.0 - threshold)


def error_rank(S: Values, tolerance: float) -> int:
    """Least r whose relative Frobenius error, `Spectrum.error(r)`, is at most `tolerance` in [0, 1]; 0 for a zero
    matrix."""
    if not 0.0 <= tolerance <= 1.0:
        raise ValueError(f"tolerance must be in [0, 1], got {tolerance}")
    return _first_at_most(_scaled(S) ** 2, tolerance**2)


def stable_rank(S: Values) -> float:
    """sum S_i² / S_1², in [1, k]; 0 for a zero matrix."""
    s = _values(S)
    return float(np.sum(np.square(s / s[0]))) if s[0] > 0.0 else 0.0


def entropy_rank(S: Values) -> float:
    """exp(-sum q ln q) with q = S / sum S, in [1, k]; 0 for a zero matrix. Source: Roy and Vetterli 2007 (effective
    rank)."""
    s = _values(S)
    if s[0] == 0.0:
        return 0.0
    q = s[s > 0.0] / s[0]
    q /= q.sum()
    return float(np.exp(-np.sum(q * np.log(q))))


def gavish_donoho_rank(S: Values, m: int, n: int, sigma: float | None = None) -> int:
    """Number of S above the optimal hard threshold for low rank plus white noise of standard deviation sigma.

    beta = k / max(m, n), lambda* = sqrt(2 (beta + 1) + 8 beta / (beta + 1 + sqrt(beta² + 14 beta + 1))).
    Known sigma (units of W): S > lambda* sqrt(max(m, n)) sigma. Unknown: S > lambda* / sqrt(mu_beta) median(S), mu_beta
    the median of the Marchenko-Pastur law. Needs all k values.
    Source: Gavish and Donoho 2014, "The optimal hard threshold for singular values is 4 / sqrt(3)"."""
    s = _full(S, m, n)
    beta = s.size / max(m, n)
    if sigma is None:
        threshold = gavish_donoho_factor(beta) / math.sqrt(marchenko_pastur_median(beta)) * float(np.median(s))
    elif sigma >= 0.0:
        threshold = gavish_donoho_factor(beta) * math.sqrt(max(m, n)) * sigma
    else:
        raise ValueError(f"sigma must not be negative, got {sigma}")
    return int(np.count_nonzero(s > threshold))


def gavish_donoho_factor(beta: float) -> float:
    """lambda*(beta), beta in (0, 1]: the hard threshold in units of sqrt(max(m, n)) sigma; 4 / sqrt(3) when square."""
    return math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + math.sqrt(beta * beta + 14 * beta + 1)))


@lru_cache(maxsize=4096)
def marchenko_pastur_median(beta: float) -> float:
    """mu_beta: median of the Marchenko-Pastur law with ratio beta in (0, 1] and unit variance.

    With x = 1 + beta - 2 sqrt(beta) cos(phi), phi in [0, pi], the distribution function has the closed form (derived)
    (2 b sin(phi) + (1 + beta) phi - 2 (1 - beta) arctan((1 + b) / (1 - b) tan(phi / 2))) / (2 pi beta), b = sqrt(beta),
    solved for 1/2 by bisection."""
    if not 0.0 < beta <= 1.0:
        raise ValueError(f"beta must be in (0, 1], got {beta}")
    b = math.sqrt(beta)
    low, high = 0.0, math.pi
    for _ in range(60):
        phi = 0.5 * (low + high)
        angle = math.atan2((1 + b) * math.sin(phi / 2), (1 - b) * math.cos(phi / 2))
        if 2 * b * math.sin(phi) + (1 + beta) * phi - 2 * (1 - beta) * angle < math.pi * beta:
            low = phi
        else:
            high = phi
    return 1 + beta - 2 * b * math.cos(0.5 * (low + high))


def marchenko_pastur_edge(S: Values, m: int, n: int, sigma: float | None = None, cushion: float | None = 2.02) -> float:
    """Largest singular value that white noise with the bulk of S would show, in the units of S.

    N = max(m, n), M = min(m, n). sigma: standard deviation of the noise; None: read off the bulk,
    median(S) / sqrt(N mu), mu the median of the law. cushion=None: the limit sigma (sqrt(N) + sqrt(M)). Otherwise the
    finite-size law sigma sqrt(c + cushion d), c = (sqrt(N - 1) + sqrt(M))²,
    d = sqrt(c) (1 / sqrt(N - 1) + 1 / sqrt(M))^(1/3).

    Share of pure-noise matrices above the edge, by Monte Carlo at 64 x 256: sigma known, 13 % without cushion and 4.5 %
    with 0.98, the 95 % point of the Tracy-Widom law; sigma read off the bulk, whose own scatter adds, 17 % and 6.5 %
    (11 % at 20 x 30). Hence 2.02, the 99 % point: 1.8 % (4.6 % at 20 x 30, 1 % at 512 x 512). Heavy-tailed entries
    break every edge: draw the shuffled spectrum too. Source of c and d: Johnstone 2001, theorem 1.1."""
    s = _full(S, m, n)
    N, M = max(m, n), min(m, n)
    if sigma is None:
        sigma = float(np.median(s)) / math.sqrt(N * marchenko_pastur_median(M / N))
    elif not sigma >= 0.0:
        raise ValueError(f"sigma must not be negative, got {sigma}")
    if cushion is None or N == 1:
        return sigma * (math.sqrt(N) + math.sqrt(M))
    side = math.sqrt(N - 1) + math.sqrt(M)
    scale = side * (1 / math.sqrt(N - 1) + 1 / math.sqrt(M)) ** (1 / 3)
    return sigma * math.sqrt(side * side + cushion * scale)


def marchenko_pastur_rank(S: Values, m: int, n: int) -> int:
    """Number of S above `marchenko_pastur_edge`: spikes that white noise does not explain."""
    return int(np.count_nonzero(_full(S, m, n) > marchenko_pastur_edge(S, m, n)))


def evbmf_rank(S: Values, m: int, n: int) -> int:
    """Rank of the analytic empirical variational Bayes matrix factorization with unknown noise; 0 for pure noise.

    L = min(m, n), M = max(m, n), a = L / M, t = 2.5129 sqrt(a), x_bar = (1 + t)(1 + a / t). The noise variance v
    minimises the free energy over the published bracket (here: a grid in ln v, then golden section around its best
    point, because the function is not unimodal); the rank counts S_i² > M v x_bar. Values under 1e-15 S_1 count as
    1e-15 S_1. On trained networks often very small: a lower guide. Source: Nakajima, Sugiyama, Babacan and Tomioka
    2013."""
    s = _full(S, m, n)
    if s[0] == 0.0:
        return 0
    L, M = s.size, max(m, n)
    e = np.square(np.maximum(s / s[0], 1e-15))  # (L,) eigenvalues, e[0] = 1
    a = L / M
    t = 2.5129 * math.sqrt(a)
    x_bar = (1 + t) * (1 + a / t)
    first = math.ceil(L / (1 + a)) - 1  # 0-based; everything from here on is certainly noise
    low = math.log(max(e[first] / (M * x_bar), float(np.mean(e[first:])) / M))
    high = math.log(max(float(np.sum(e)) / (L * M), math.exp(low)))

    def free_energy(ln_v: Array) -> Array:
        """(p,) values at p noise levels, up to terms that do not depend on v."""
        x = e / (M * np.exp(ln_v)[:, None])
        noise = x <= x_bar
        y = np.where(noise, x_bar, x)  # keeps the square root real where it is not used
        d = y - (1 + a)
        tau = 0.5 * (d + np.sqrt(d * d - 4 * a))
        signal = y - tau + np.log((tau + 1) / y) + a * np.log(tau / a + 1)
        return np.asarray(np.where(noise, x - np.log(x), signal).sum(axis=1))

    grid = np.linspace(low, high, 200)
    best = int(np.argmin(free_energy(grid)))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, 199)])
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        f = free_energy(np.array([left, right]))
        low, high = (low, right) if f[0] < f[1] else (left, high)
    return int(np.count_nonzero(e > M * math.exp(0.5 * (low + high)) * x_bar))


def tail_start_rank(S: Values) -> int:
    """Largest r for which the r largest eigenvalues S_i², scaled so that all k have mean 1, have a product of at least
    1; 0 for a zero matrix, k for a flat one. Source: WeightWatcher's detX; motivated by a volume-preserving tail."""
    s = _values(S)
    if s[0] == 0.0:
        return 0
    lam = np.square(s / s[0])
    with np.errstate(divide="ignore"):
        logs = np.cumsum(np.log(lam / lam.mean()))
    return int(np.count_nonzero(logs >= -1e-12 * s.size))


def cost_penalised_rank(S: Values, weight: float, unit_cost: float) -> int:
    """r that minimises error(r)² + weight * unit_cost * r, the relative squared error plus a price for every unit of
    rank.

    unit_cost: what one unit of rank costs, e.g. (m + n) / (m n) as a share of the dense parameters; weight: relative
    squared error worth paying for one unit of that cost. Closed form: the number of S_i² > weight unit_cost sum S².
    Source: Idelbayev and Carreira-Perpinan 2020 (its C step, normalised by the norm of W). ValueError if either is
    negative."""
    if weight < 0.0 or unit_cost < 0.0:
        raise ValueError(f"weight and unit_cost must not be negative, got {weight} and {unit_cost}")
    lam = _scaled(S) ** 2
    return int(np.count_nonzero(lam > weight * unit_cost * lam.sum()))


def break_even_rank(m: int, n: int) -> int:
    """Largest r with r (m + n) < m n: the last rank at which factors hold fewer numbers than W. 0 if none does."""
    if m < 1 or n < 1:
        raise ValueError(f"m and n must be positive, got {m} and {n}")
    return (m * n - 1) // (m + n)


def _values(S: Values) -> Array:
    """S as a float64 array, largest first. ValueError unless it is one-dimensional, not empty, finite and
    non-negative."""
    raw: Any = S
    if hasattr(raw, "detach"):  # a torch tensor, on any device, without importing torch
        raw = raw.detach().double().cpu().numpy()
    s = np.asarray(raw, dtype=np.float64)
    if s.ndim != 1 or s.size == 0:
        raise ValueError(f"singular values must form one non-empty row, got shape {s.shape}")
    if not np.isfinite(s).all() or (s < 0.0).any():
        raise ValueError("singular values must be finite and non-negative; found NaN, infinity or a negative number")
    return np.sort(s)[::-1]


def _scaled(S: Values) -> Array:
    """`_values` over a power of two near the largest, so that squares stay in range and no digit changes."""
    s = _values(S)
    return np.ldexp(s, -int(np.frexp(s[0])[1]))


def _full(S: Values, m: int, n: int) -> Array:
    s = _values(S)
    if s.size != min(m, n):
        raise ValueError(f"this rule needs all {min(m, n)} singular values of a {m} x {n} matrix, got {s.size}")
    return s


def _first_at_most(parts: Array, share: float) -> int:
    """Least r with sum of parts[r:] <= share of the sum of all; sums run from the small end."""
    tail = np.append(np.cumsum(parts[::-1])[::-1], 0.0)
    slack = _TIE if share > 0.0 else 0.0  # a share of nothing asks for every non-zero value
    return int(np.argmax(tail <= (share + slack) * tail[0]))
