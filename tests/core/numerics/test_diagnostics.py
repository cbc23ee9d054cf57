"""Diagnostics against written-out definitions, known exponents, scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.spatial.distance import jensenshannon

from core.numerics.diagnostics import Diagnostics, diagnose, power_law, random_like, shuffle_distance, shuffled
from core.numerics.svd import Spectrum, spectrum
from tests import oracles


def pareto(alpha: float, num: int, seed: int, x_min: float = 1.0) -> np.ndarray:
    """Draws from density (alpha - 1) / x_min (x / x_min)^-alpha by inversion."""
    return x_min * np.random.default_rng(seed).random(num) ** (-1 / (alpha - 1))


@pytest.mark.parametrize("alpha", [2.0, 3.5, 6.0])
def test_a_known_exponent_returns(alpha: float) -> None:
    law = power_law(pareto(alpha, 2000, seed=1))
    assert law is not None
    assert abs(law.alpha - alpha) < 3 * law.sigma + 0.03 * alpha  # the scan over x_min adds to the standard error
    assert law.distance < 0.03 and law.num_tail > 200


def test_the_exponent_does_not_depend_on_units() -> None:
    x = pareto(3.5, 300, seed=2)
    a, b = power_law(x), power_law(1e-7 * x)
    assert a is not None and b is not None
    assert b.alpha == pytest.approx(a.alpha, rel=1e-9) and b.x_min == pytest.approx(1e-7 * a.x_min, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_fit_is_the_naive_scan(seed: int) -> None:
    x = np.random.default_rng(seed).exponential(size=60) ** 2
    law = power_law(x)
    alpha, x_min, distance, num = oracles.power_law(x)
    assert law is not None
    assert (law.alpha, law.x_min, law.distance) == pytest.approx((alpha, x_min, distance), rel=1e-9)
    assert law.num_tail == num and law.sigma == pytest.approx((alpha - 1) / math.sqrt(num))


def test_a_tail_that_starts_late_is_found() -> None:
    x = np.concatenate([np.random.default_rng(3).uniform(0.0, 5.0, 1000), pareto(3.0, 1000, seed=4, x_min=5.0)])
    law = power_law(x)
    assert law is not None and 4.0 < law.x_min < 9.0 and law.alpha == pytest.approx(3.0, abs=0.35)


@pytest.mark.parametrize("x", [[], [1.0], [2.0, 2.0, 2.0], [0.0, 1.0], [0.0, 0.0]])
def test_no_tail_no_fit(x: list[float]) -> None:
    assert power_law(x) is None


def test_repeated_values_count_as_one_start() -> None:
    law = power_law([1.0, 1.0, 1.0, 2.0, 4.0])
    assert law is not None and law.num_tail in (5, 2)


def test_each_diagnostic_by_its_definition() -> None:
    W = torch.randn(40, 90) + 3.0 * torch.outer(torch.randn(40), torch.randn(90))
    got = diagnose(spectrum(W))
    lam = np.linalg.eigvalsh((W @ W.mT).numpy())[::-1]
    q = lam / lam.sum()
    alpha, _, distance, num = oracles.power_law(lam)
    assert got.stable_rank == pytest.approx(lam.sum() / lam[0])
    assert got.entropy_rank == pytest.approx(oracles.entropy_rank(np.sqrt(lam).tolist()))
    assert got.matrix_entropy == pytest.approx(-(q * np.log(q)).sum() / math.log(40))
    assert got.numerical_rank == 40
    assert got.log_norm == pytest.approx(math.log10(lam.sum()))
    assert got.log_spectral_norm == pytest.approx(math.log10(lam[0]))
    assert got.log_alpha_norm == pytest.approx(math.log10((lam**alpha).sum()), rel=1e-8)
    assert (got.alpha, got.alpha_distance, got.alpha_tail) == pytest.approx((alpha, distance, num), rel=1e-8)
    assert got.alpha_sigma == pytest.approx((alpha - 1) / math.sqrt(num), rel=1e-8)
    assert got.alpha_weighted == pytest.approx(alpha * math.log10(lam[0]), rel=1e-8)
    low = (1 - math.sqrt(4 / 9)) ** 2
    median = brentq(lambda x: quad(oracles.marchenko_pastur_density, low, x, args=(4 / 9,))[0] - 0.5, 0.5, 1.0)
    sigma = float(np.median(np.sqrt(lam))) / math.sqrt(90 * median)
    assert got.mp_edge == pytest.approx(oracles.johnstone_edge(40, 90, sigma, 2.02), rel=1e-6)
    assert got.spikes == int((np.sqrt(lam) > got.mp_edge).sum()) == 1
    assert got.mp_soft_rank == pytest.approx(got.mp_edge**2 / lam[0])


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_numerical_rank_is_numpys(rank: int) -> None:
    W = torch.randn(9, rank) @ torch.randn(rank, 12)
    assert diagnose(spectrum(W)).numerical_rank == np.linalg.matrix_rank(W.numpy()) == rank


def test_a_zero_matrix_says_nothing() -> None:
    assert diagnose(spectrum(torch.zeros(3, 4))) == Diagnostics(
        stable_rank=0.0, entropy_rank=0.0, matrix_entropy=0.0, numerical_rank=0, log_norm=None, log_spectral_norm=None,
        log_alpha_norm=None, alpha=None, alpha_sigma=None, alpha_distance=None, alpha_tail=0, alpha_weighted=None,
        mp_edge=0.0, spikes=0, mp_soft_rank=None,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 2)])
def test_tiny_layers(shape: tuple[int, int]) -> None:
    got = diagnose(spectrum(torch.ones(shape)))
    assert got.numerical_rank == 1 and got.alpha is None and got.log_norm == pytest.approx(math.log10(math.prod(shape)))


def test_very_large_and_small_weights_stay_finite() -> None:
    for scale in (1e-60, 1e60):
        got = diagnose(spectrum(scale * torch.randn(12, 20)))
        assert got.alpha is not None and math.isfinite(got.log_alpha_norm or math.nan) and got.numerical_rank == 12


def test_shuffling_keeps_the_entries_and_loses_the_structure() -> None:
    W = 0.1 * torch.randn(60, 80) + torch.outer(torch.randn(60), torch.randn(80))
    before = W.clone()
    real, base = spectrum(W), shuffled(W, seed=0)
    assert torch.equal(W, before) and (base.m, base.n) == (60, 80)
    assert base.tail[0] == pytest.approx(real.tail[0], rel=1e-12)
    assert base.S[0] < 0.5 * real.S[0] and diagnose(real).spikes == 1
    assert shuffled(W, seed=0) == base != shuffled(W, seed=1)
    assert shuffled(torch.ones(2, 3, dtype=torch.int64), seed=0).S[0] == pytest.approx(math.sqrt(6))


def test_random_initialisation_follows_the_law() -> None:
    got = random_like(200, 800, std=0.02, seed=0)
    assert got == random_like(200, 800, std=0.02, seed=0) != random_like(200, 800, std=0.02, seed=1)
    assert got.S[0] == pytest.approx(0.02 * (math.sqrt(800) + math.sqrt(200)), rel=0.02)
    assert got.S[-1] == pytest.approx(0.02 * (math.sqrt(800) - math.sqrt(200)), rel=0.05)


def test_random_draws_leave_the_global_seed_alone() -> None:
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    random_like(3, 4, 1.0, seed=9)
    shuffled(torch.ones(2, 2), seed=9)
    assert torch.equal(torch.rand(2), want)


def test_shuffle_distance_is_scipys() -> None:
    a, b = random_like(20, 30, 1.0, seed=0), spectrum(torch.ones(20, 30) + 0.1 * torch.randn(20, 30))
    want = jensenshannon(np.array(a.S) ** 2, np.array(b.S) ** 2)
    assert shuffle_distance(a, b) == pytest.approx(want, rel=1e-9) == shuffle_distance(b, a)
    assert shuffle_distance(a, a) == pytest.approx(0.0, abs=1e-7)
    low, zero = Spectrum.from_values(20, 30, [1.0] + [0.0] * 19), Spectrum.from_values(20, 30, [0.0] * 20)
    assert 0.0 < shuffle_distance(a, low) < math.sqrt(math.log(2))
    for other in (zero, random_like(3, 4, 1.0, seed=0)):
        with pytest.raises(ValueError, match="equal length"):
            shuffle_distance(a, other)
