"""Rank rules that need no noise model, against literal definitions, closed forms and `Spectrum`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.numerics.ranks import (
    break_even_rank,
    cost_penalised_rank,
    energy_rank,
    entropy_rank,
    error_rank,
    evbmf_rank,
    gavish_donoho_rank,
    marchenko_pastur_rank,
    stable_rank,
    tail_start_rank,
)
from core.numerics.svd import Spectrum
from tests import oracles

RULES = {
    "energy": lambda S: energy_rank(S, 0.8),
    "nuclear": lambda S: energy_rank(S, 0.8, norm="nuclear"),
    "error": lambda S: error_rank(S, 0.3),
    "stable": stable_rank,
    "entropy": entropy_rank,
    "tail start": tail_start_rank,
    "cost": lambda S: cost_penalised_rank(S, 1.0, 0.02),
    "gavish_donoho": lambda S: gavish_donoho_rank(S, len(S), 2 * len(S)),
    "marchenko_pastur": lambda S: marchenko_pastur_rank(S, len(S), 2 * len(S)),
    "evbmf": lambda S: evbmf_rank(S, len(S), 2 * len(S)),
}


def some_spectra() -> list[list[float]]:
    rng = np.random.default_rng(5)
    drawn = [np.sort(rng.exponential(size=k))[::-1] ** p for k in (2, 5, 17) for p in (0.3, 1.0, 3.0)]
    return [S.tolist() for S in drawn]


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("norm", ["frobenius", "nuclear"])
def test_energy_rank_is_the_least_that_keeps_enough(threshold: float, norm: str) -> None:
    power = 2 if norm == "frobenius" else 1
    for S in some_spectra():
        parts = [s**power for s in S]
        want = oracles.least_rank(parts, lambda kept, whole: sum(kept) >= threshold * sum(whole))
        assert energy_rank(S, threshold, norm=norm) == want


def test_the_two_energies_differ() -> None:
    S = [10.0, 5.0, 4.0, 3.0, 2.0, 1.0]  # squares 100 25 16 9 4 1 of 155; 19 of 25
    assert energy_rank(S, 0.8) == 2 and energy_rank(S, 0.8, norm="nuclear") == 4


@pytest.mark.parametrize("tolerance", [0.01, 0.1, 0.5, 0.9])
def test_error_rank_is_the_least_that_loses_little(tolerance: float) -> None:
    for S in some_spectra():
        spectrum = Spectrum.from_values(len(S), len(S) + 3, S)
        want = next(r for r in range(len(S) + 1) if spectrum.error(r) <= tolerance)
        assert error_rank(S, tolerance) == want
        assert energy_rank(S, 1 - tolerance**2) == want


@pytest.mark.parametrize("k", [3, 7, 10, 49, 100])
def test_ties_are_not_lost_to_rounding(k: int) -> None:
    for r in range(1, k + 1):
        assert energy_rank([0.1] * k, r / k) == r
        assert energy_rank([0.1] * k, r / k, norm="nuclear") == r
        assert error_rank([0.1] * k, math.sqrt(1 - r / k)) == r


def test_ends_of_the_dials() -> None:
    S = [3.0, 1.0, 1e-12, 0.0]
    assert energy_rank(S, 1.0) == 3 and error_rank(S, 0.0) == 3  # every non-zero value
    assert energy_rank(S, 0.0) == 0 and error_rank(S, 1.0) == 0
    assert energy_rank([1e-300] * 4, 1.0) == 4
    assert energy_rank([1.0, 1e-4], 1 - 2e-8) == 1 and energy_rank([1.0, 1e-4], 1 - 5e-9) == 2  # 1e-8 of the energy


def test_rules_move_one_way_with_their_dial() -> None:
    for S in some_spectra():
        by_energy = [energy_rank(S, t) for t in np.linspace(0, 1, 41)]
        by_error = [error_rank(S, t) for t in np.linspace(0, 1, 41)]
        by_price = [cost_penalised_rank(S, w, 0.1) for w in np.linspace(0, 12, 41)]
        assert by_energy == sorted(by_energy)
        assert by_error == sorted(by_error, reverse=True)
        assert by_price == sorted(by_price, reverse=True)


def test_flat_spectrum_is_high_rank_and_partial_spectra_are_refused() -> None:
    assert energy_rank([1.0] * 64, 0.9) == 58  # energy relative to the whole, not to a leading quarter
    for rule in (gavish_donoho_rank, marchenko_pastur_rank, evbmf_rank):
        with pytest.raises(ValueError, match="all 64 singular values of a 64 x 100 matrix, got 16"):
            rule([1.0] * 16, 64, 100)


def test_stable_and_entropy_rank() -> None:
    for S in some_spectra():
        assert stable_rank(S) == pytest.approx(sum(s * s for s in S) / max(S) ** 2, rel=1e-13)
        assert entropy_rank(S) == pytest.approx(oracles.entropy_rank(S), rel=1e-13)
        spectrum = Spectrum.from_values(len(S), len(S), S)
        assert spectrum.stable_rank == pytest.approx(stable_rank(S), rel=1e-13)
        assert spectrum.entropy_rank == pytest.approx(entropy_rank(S), rel=1e-13)
    assert entropy_rank([2.0, 1.0, 1.0]) == pytest.approx(2 * math.sqrt(2))  # H = ln 2 / 2 + 2 ln 4 / 4
    assert entropy_rank([1e-200] * 5) == pytest.approx(5.0) and stable_rank([1e-200] * 5) == pytest.approx(5.0)


def test_tail_start_is_detx() -> None:
    for S in some_spectra():
        assert tail_start_rank(S) == oracles.tail_start(S)
    assert tail_start_rank([2.0, 1.0, 0.5]) == 2  # mean 1.75: 4 / 1.75 = 2.29, times 1 / 1.75 = 1.31, times 1 / 7 < 1
    assert tail_start_rank([0.3] * 50) == 50 and tail_start_rank([1.0, 0.0, 0.0, 0.0]) == 1


def test_cost_penalised_rank_minimises_its_objective() -> None:
    for S in some_spectra():
        for weight in (0.01, 0.5, 3.0):
            total = sum(s * s for s in S)
            values = [sum(s * s for s in S[r:]) / total + weight * 0.1 * r for r in range(len(S) + 1)]
            assert cost_penalised_rank(S, weight, 0.1) == int(np.argmin(values))


@pytest.mark.parametrize(("m", "n", "want"), [(1000, 2048, 671), (512, 512, 255), (1, 9, 0), (1, 1, 0), (64, 576, 57)])
def test_break_even_is_strict(m: int, n: int, want: int) -> None:
    assert break_even_rank(m, n) == break_even_rank(n, m) == want
    assert want * (m + n) < m * n <= (want + 1) * (m + n)


def test_break_even_example_and_loops() -> None:
    assert 800 * (1000 + 2048) == 2_438_400 > 1000 * 2048
    for m in range(1, 12):
        for n in range(1, 12):
            assert break_even_rank(m, n) == max(r for r in range(m * n + 1) if r * (m + n) < m * n)


@pytest.mark.parametrize("name", RULES)
def test_scale_order_and_container_do_not_matter(name: str) -> None:
    rule = RULES[name]
    S = np.array(some_spectra()[-2])
    want = rule(S)
    for scaled in (S * 2.0**300, S * 2.0**-300, S * 3.7):
        assert rule(scaled) == pytest.approx(want, rel=1e-12)
    same = [S.tolist(), tuple(S.tolist()), S[::-1], torch.from_numpy(S), torch.from_numpy(S).requires_grad_()]
    for other in same:
        assert rule(other) == want
    assert rule(torch.from_numpy(S).bfloat16()) >= 0  # no numpy dtype of its own
    assert 0 <= want <= len(S)


@pytest.mark.parametrize("name", RULES)
def test_degenerate_spectra(name: str) -> None:
    rule = RULES[name]
    assert rule([0.0, 0.0, 0.0]) == 0
    assert 0 <= rule([2.0]) <= 1
    for bad in ([], [[1.0, 2.0]], [1.0, float("nan")], [float("inf"), 1.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="singular values"):
            rule(bad)


def test_arguments_out_of_range_are_quoted() -> None:
    for call, quoted in [
        (lambda: energy_rank([1.0], 95), "95"),
        (lambda: energy_rank([1.0], 0.9, norm="spectral"), "spectral"),
        (lambda: error_rank([1.0], -0.1), "-0.1"),
        (lambda: cost_penalised_rank([1.0], -1.0, 1.0), "-1.0"),
        (lambda: break_even_rank(0, 3), "0 and 3"),
        (lambda: gavish_donoho_rank([1.0], 1, 1, sigma=-2.0), "-2.0"),
    ]:
        with pytest.raises(ValueError, match=quoted):
            call()


@pytest.mark.gpu
def test_values_on_the_gpu_are_read() -> None:
    S = torch.tensor([3.0, 2.0, 1.0])
    assert energy_rank(S.cuda(), 0.9) == energy_rank(S, 0.9)
