from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from app.figures.thinning import FLOOR, indices, spectrum_of, thinned, values
from core.numerics.svd import Spectrum


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize(("k", "limit"), [(5000, 300), (512, 120), (513, 512), (100, 6)])
def test_thinning_keeps_both_ends_and_the_limit(k, limit, log):
    chosen = indices(k, limit, log=log)
    assert chosen[0] == 1 and chosen[-1] == k
    assert limit * 0.9 <= len(chosen) <= limit
    assert (np.diff(chosen) > 0).all()


def test_short_curves_and_show_all_are_complete():
    assert indices(7, 300).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert len(indices(5000, None)) == 5000
    assert len(indices(0)) == 0


def test_wanted_ranks_are_always_drawn():
    assert {1234, 4321} <= set(indices(5000, 100, keep=(1234, 4321, 0, 9999)).tolist())


def test_log_spacing_draws_the_head_completely_and_even_spacing_does_not():
    assert indices(5000, 300)[:20].tolist() == list(range(1, 21))
    gaps = np.diff(indices(5000, 300, log=False))
    assert gaps.max() - gaps.min() <= 1


def test_the_note_says_how_many(make_spectrum):
    assert thinned(make_spectrum(5000, 5000))[1].startswith("Thinned to ")
    assert thinned(make_spectrum(5000, 5000))[1].endswith(" of 5,000 points")
    assert thinned(make_spectrum(5000, 5000), None)[1] == ""


def test_values_follow_the_definitions():
    S = [4.0, 2.0, 1.0]
    spectrum = Spectrum.from_values(3, 5, S)
    total = sum(s * s for s in S)
    assert values(spectrum, "S").tolist() == [1, 0.5, 0.25]
    assert values(spectrum, "S", normalise=False).tolist() == S
    for r in (1, 2, 3):
        assert values(spectrum, "energy")[r - 1] == pytest.approx(sum(s * s for s in S[:r]) / total)
        assert values(spectrum, "error")[r - 1] == pytest.approx(math.sqrt(sum(s * s for s in S[r:]) / total))


def test_values_far_below_the_largest_are_left_out():
    drawn = values(Spectrum.from_values(3, 3, [1.0, 2 * FLOOR, FLOOR / 2]), "S")
    assert np.isfinite(drawn).tolist() == [True, True, False]


def test_a_zero_matrix_has_no_error_and_no_line():
    zero = Spectrum.from_values(2, 3, [0.0, 0.0])
    assert np.isnan(values(zero, "S")).all()
    assert values(zero, "energy").tolist() == [1, 1]
    assert values(zero, "error").tolist() == [0, 0]


def test_an_unknown_quantity_is_refused(make_spectrum):
    with pytest.raises(ValueError, match="variance"):
        values(make_spectrum(3, 3), "variance")


def test_the_unfolding_asked_for_else_the_first_else_none(make_spectrum):
    rows, spatial = make_spectrum(4, 9), make_spectrum(6, 6)
    layer = SimpleNamespace(spectra=(("rows", rows), ("spatial", spatial)))
    assert spectrum_of(layer, "spatial") is spatial
    assert spectrum_of(layer, "columns") is rows
    assert spectrum_of(SimpleNamespace(spectra=())) is None
