"""Gavish-Donoho, Marchenko-Pastur and EVBMF: published values, integrals, planted ranks, pure noise by Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from core.numerics.ranks import (
    evbmf_rank,
    gavish_donoho_factor,
    gavish_donoho_rank,
    marchenko_pastur_edge,
    marchenko_pastur_median,
    marchenko_pastur_rank,
)
from tests import oracles

TABLE = [  # beta, lambda*, mu, omega = lambda* / sqrt(mu)
    (0.1, 1.5816, 0.9666, 1.6088),
    (0.25, 1.7580, 0.9160, 1.8369),
    (0.5, 1.9786, 0.8305, 2.1712),
    (0.75, 2.1561, 0.7429, 2.5014),
    (1.0, 2.3094, 0.6528, 2.8584),
]


def values(W: np.ndarray) -> np.ndarray:
    return np.linalg.svd(W, compute_uv=False)


def noisy(rng: np.random.Generator, m: int, n: int, rank: int, strength: float = 3.0) -> np.ndarray:
    """Unit white noise plus `rank` orthogonal directions of singular value strength * (sqrt(m) + sqrt(n))."""
    U, V = (np.linalg.qr(rng.normal(size=(side, rank)))[0] for side in (m, n))
    return rng.normal(size=(m, n)) + strength * (math.sqrt(m) + math.sqrt(n)) * U @ V.T


@pytest.mark.parametrize(("beta", "factor", "mu", "omega"), TABLE)
def test_reference_values(beta: float, factor: float, mu: float, omega: float) -> None:
    assert gavish_donoho_factor(beta) == pytest.approx(factor, abs=5.1e-5)
    assert marchenko_pastur_median(beta) == pytest.approx(mu, abs=5.1e-5)
    assert gavish_donoho_factor(beta) / math.sqrt(marchenko_pastur_median(beta)) == pytest.approx(omega, abs=5.1e-5)
    cubic_fit = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43  # as published
    assert cubic_fit == pytest.approx(omega, abs=0.02)


@pytest.mark.parametrize(("beta", "factor", "mu", "omega"), TABLE)
def test_the_threshold_lies_where_the_table_says(beta: float, factor: float, mu: float, omega: float) -> None:
    n = round(60 / beta)
    for over, signal in [(0.999, 0), (1.001, 1)]:
        assert gavish_donoho_rank([over * omega] + [1.0] * 59, 60, n) == signal
        assert gavish_donoho_rank([over * factor * 0.5 * math.sqrt(n)] + [0.5] * 59, n, 60, sigma=0.5) == signal


def test_square_limit() -> None:
    assert gavish_donoho_factor(1.0) == pytest.approx(4 / math.sqrt(3), rel=1e-14)


@pytest.mark.parametrize("beta", [0.01, 0.3, 0.9, 1.0])
def test_half_the_law_lies_below_its_median(beta: float) -> None:
    low = (1 - math.sqrt(beta)) ** 2
    top = math.sqrt(marchenko_pastur_median(beta) - low)  # x = low + t² takes the square roots out of the integrand
    below = quad(lambda t: 2 * t * oracles.marchenko_pastur_density(low + t * t, beta), 0, top, epsabs=1e-10)[0]
    assert below == pytest.approx(0.5, abs=1e-8)


@pytest.mark.parametrize("beta", [0.0, 1.1, -0.5])
def test_median_needs_a_ratio(beta: float) -> None:
    with pytest.raises(ValueError, match=str(beta)):
        marchenko_pastur_median(beta)


@pytest.mark.parametrize(("m", "n"), [(256, 1024), (512, 512), (64, 576)])
def test_pure_noise_has_no_signal(m: int, n: int) -> None:
    S = values(0.02 * np.random.default_rng(m).normal(size=(m, n)))
    assert gavish_donoho_rank(S, m, n) == gavish_donoho_rank(S, m, n, sigma=0.02) == 0
    assert marchenko_pastur_rank(S, m, n) == 0
    assert evbmf_rank(S, m, n) == 0


@pytest.mark.parametrize("shape", [(200, 800), (800, 200), (150, 150), (64, 576)])
@pytest.mark.parametrize("rank", [1, 10, 20])
def test_planted_ranks_return(shape: tuple[int, int], rank: int) -> None:
    S = values(noisy(np.random.default_rng(rank), *shape, rank))
    assert gavish_donoho_rank(S, *shape) == rank
    assert gavish_donoho_rank(S, *shape, sigma=1.0) == rank  # with the short side's length: 125 at 200 x 800
    assert evbmf_rank(S, *shape) == rank
    assert rank <= marchenko_pastur_rank(S, *shape) <= rank + 1


def test_exact_low_rank_is_found_without_noise() -> None:
    S = [5.0, 4.0, 3.0] + [0.0] * 17
    assert gavish_donoho_rank(S, 20, 30) == marchenko_pastur_rank(S, 20, 30) == evbmf_rank(S, 20, 30) == 3


@pytest.mark.parametrize("n", [1, 2, 50])
def test_single_rows(n: int) -> None:
    for rule in (gavish_donoho_rank, marchenko_pastur_rank, evbmf_rank):
        assert rule([3.0], 1, n) == rule([3.0], n, 1) == 0


@pytest.mark.parametrize(("m", "n"), [(64, 256), (10, 11), (300, 20)])
def test_edges_are_the_written_laws(m: int, n: int) -> None:
    S = values(0.3 * np.random.default_rng(m).normal(size=(m, n)))
    sigma = float(np.median(S)) / math.sqrt(max(m, n) * marchenko_pastur_median(min(m, n) / max(m, n)))
    limit = sigma * (math.sqrt(m) + math.sqrt(n))
    assert marchenko_pastur_edge(S, m, n, cushion=None) == pytest.approx(limit, rel=1e-13)
    for units in (0.0, 0.98, 2.02):
        want = oracles.johnstone_edge(m, n, sigma, units)
        assert marchenko_pastur_edge(S, m, n, cushion=units) == pytest.approx(want, rel=1e-13)
    assert marchenko_pastur_edge(S, m, n, sigma=0.3) == pytest.approx(oracles.johnstone_edge(m, n, 0.3, 2.02))
    if min(m, n) > 20:
        assert sigma == pytest.approx(0.3, rel=0.02)


def test_the_cushioned_edge_lets_about_four_in_a_hundred_noise_matrices_through() -> None:
    """Known noise, cushion of the 95 % point: 4.0 %, and without cushion 12-16 %; noise read off the bulk, the default:
    about 2 %. 800 matrices, so standard errors of 0.7, 1.2 and 0.5 points."""
    W = np.random.default_rng(7).normal(size=(800, 64, 256))
    S = np.sqrt(np.linalg.eigvalsh(W @ W.transpose(0, 2, 1))[:, ::-1])
    cushioned = np.mean([s[0] > marchenko_pastur_edge(s, 64, 256, sigma=1.0, cushion=0.98) for s in S])
    bare = np.mean([s[0] > marchenko_pastur_edge(s, 64, 256, sigma=1.0, cushion=None) for s in S])
    by_default = np.mean([marchenko_pastur_rank(s, 64, 256) > 0 for s in S])
    assert 0.02 < cushioned < 0.065
    assert 0.10 < bare < 0.18
    assert 0.002 < by_default < 0.035


@pytest.mark.parametrize("shape", [(30, 90), (40, 40)])
@pytest.mark.parametrize("rank", [0, 4])
def test_evbmf_is_the_published_minimum(shape: tuple[int, int], rank: int) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        S = values(noisy(rng, *shape, rank, strength=1.4) if rank else rng.normal(size=shape))
        v, want = oracles.evbmf_noise(S, *shape, points=3000)
        assert evbmf_rank(S, *shape) == want
        assert v == pytest.approx(1.0, rel=0.15)


def test_evbmf_on_decaying_spectra_is_the_published_minimum() -> None:
    """Trained layers decay smoothly: no planted gap to lean on, several local minima."""
    for decay in (0.5, 0.8, 0.9, 0.94, 0.97, 0.99):
        for floor in (0.0, 0.02, 0.2):
            S = decay ** np.arange(40) + floor
            assert evbmf_rank(S, 40, 100) == oracles.evbmf_noise(S, 40, 100, points=1500)[1]


def test_evbmf_cuts_where_the_published_constant_says() -> None:
    """Twenty values 0.5 % apart around the threshold over a bulk of noise; 2.7 in place of 2.5129 would cut 3 lower."""
    noise = values(np.random.default_rng(0).normal(size=(280, 750)))
    S = np.sort(np.concatenate([52.0 * 1.005 ** np.arange(10, -10, -1), noise]))[::-1]
    want = oracles.evbmf_noise(S, 300, 750, points=800)[1]
    assert 3 < want < 20 and abs(evbmf_rank(S, 300, 750) - want) <= 1
