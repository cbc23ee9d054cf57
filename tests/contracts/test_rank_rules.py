"""What every rank rule in the catalogue promises: a rank in 0..k (0 only where it compares with noise), unchanged when
the matrix is scaled, and an answer for matrices that are zero, flat, tiny or one row."""

from __future__ import annotations

import numpy as np
import pytest

from core.catalogue import RANK_RULES, Method, rank_marks
from core.numerics.svd import Spectrum

ROWS = pytest.mark.parametrize("row", RANK_RULES, ids=[row.name for row in RANK_RULES])
NOISE_RULES = {"gavish-donoho", "marchenko-pastur", "evbmf"}
SHAPES = [(1, 1), (1, 9), (2, 2), (5, 40), (40, 5), (30, 30)]


def spectra_of(m: int, n: int) -> dict[str, Spectrum]:
    k, rng = min(m, n), np.random.default_rng(0)
    values = {
        "random": np.linalg.svd(rng.standard_normal((m, n)), compute_uv=False),
        "decaying": 2.0 ** -np.arange(k),
        "flat": np.ones(k),
        "zero": np.zeros(k),
        "rank one": np.eye(1, k)[0],
    }
    return {name: Spectrum.from_values(m, n, np.sort(S)[::-1].copy()) for name, S in values.items()}


@ROWS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_rank_is_an_integer_within_the_matrix(row: Method, shape: tuple[int, int]) -> None:
    for name, spectrum in spectra_of(*shape).items():
        rank = row.make(spectrum)
        assert isinstance(rank, int) and 0 <= rank <= spectrum.k, (name, rank)
        may_be_none = row.name in NOISE_RULES or name == "zero" or row.name in ("break-even", "detx", "cost-penalised")
        assert rank >= 1 or may_be_none, name


@ROWS
@pytest.mark.parametrize("scale", [1e-6, 0.3, 1e5])
def test_scaling_the_matrix_changes_nothing(row: Method, scale: float) -> None:
    for shape in ((5, 40), (30, 30)):
        for name, spectrum in spectra_of(*shape).items():
            scaled = Spectrum.from_values(spectrum.m, spectrum.n, [scale * s for s in spectrum.S])
            assert row.make(scaled) == row.make(spectrum), name


def test_rules_with_a_threshold_are_monotone_in_it() -> None:
    by_name = {row.name: row for row in RANK_RULES}
    for spectrum in spectra_of(30, 30).values():
        assert by_name["energy-90"].make(spectrum) <= by_name["energy-99"].make(spectrum)


def test_marks_can_be_shown_as_they_are() -> None:
    for spectrum in spectra_of(5, 40).values():
        for mark in rank_marks(spectrum):
            assert type(mark.rank) is int and mark.label and mark.source
