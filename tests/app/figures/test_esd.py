from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from app.figures.eigenvalues import bulk, histogram, tail
from app.figures.esd import esd_alt, esd_figure, esd_table
from core.numerics.svd import Spectrum


def noise(m: int, n: int, seed: int = 0) -> Spectrum:
    W = np.random.default_rng(seed).normal(size=(m, n)) * 0.1
    return Spectrum.from_values(m, n, np.linalg.svd(W, compute_uv=False))


def test_every_eigenvalue_is_in_one_bin():
    edges, heights = histogram(noise(64, 256))
    assert heights.sum() == 64
    assert np.allclose(np.diff(np.log(edges)), np.log(edges[1] / edges[0]))


def test_the_bulk_is_where_a_random_matrix_has_its_eigenvalues():
    spectrum = noise(300, 900)
    edges, heights = histogram(spectrum)
    x, counts = bulk(spectrum, edges)
    middle = np.sqrt(edges[1:] * edges[:-1])
    expected = np.interp(np.log(middle), np.log(x), counts)
    assert expected.sum() == pytest.approx(300, rel=0.03)
    assert np.abs(expected - heights).max() <= 6, "a few eigenvalues per bin of about 10"


def test_spikes_do_not_move_the_bulk():
    clean = noise(100, 300)
    spiky = Spectrum.from_values(100, 300, [50.0] * 5 + list(clean.S[5:]))
    edges = histogram(clean)[0]
    top = [x[counts > 0.5].max() for x, counts in (bulk(clean, edges), bulk(spiky, edges))]
    assert top[1] == pytest.approx(top[0], rel=0.1)


def test_the_tail_counts_what_the_density_says():
    spectrum = noise(64, 256)
    edges = np.geomspace(0.1, 100, 31)
    x, counts = tail(spectrum, 2.5, 10, edges)
    x_min, half = spectrum.S[9] ** 2, np.sqrt(edges[1] / edges[0])
    for at, found in zip(x[3:6], counts[3:6], strict=True):
        grid = np.linspace(at / half, at * half, 20_001)
        assert found == pytest.approx(10 * np.trapezoid(1.5 / x_min * (grid / x_min) ** -2.5, grid), rel=1e-5)


def test_the_figure_has_what_was_given_and_no_more():
    spectrum, facts = noise(64, 256), SimpleNamespace(alpha=2.5, alpha_tail=10, mp_edge=2.0, spikes=3)
    assert [trace.name for trace in esd_figure(spectrum).data] == ["eigenvalues"]
    full = esd_figure(spectrum, facts, noise(64, 256, 1))
    assert [trace.name for trace in full.data] == ["eigenvalues", "tail α = 2.50", "noise bulk (MP)", "shuffled"]
    assert full.layout.shapes[0].x0 == pytest.approx(2.0**2)
    assert any("noise edge λ = 4; 3 above" in a.text for a in full.layout.annotations), "in the units of the axis"
    assert full.layout.xaxis.type == full.layout.yaxis.type == "log"


def test_a_layer_of_zeros_and_a_layer_of_one_value_still_draw():
    facts = SimpleNamespace(alpha=None, alpha_tail=0, mp_edge=0.0, spikes=0)
    assert esd_figure(Spectrum.from_values(3, 3, [0.0] * 3), facts).data
    assert esd_figure(Spectrum.from_values(1, 9, [2.0]), facts, Spectrum.from_values(1, 9, [2.0])).data


def test_table_and_alt_text():
    table = esd_table(noise(64, 256), noise(64, 256, 1))
    assert sum(table["eigenvalues"]) == 64 and list(table) == ["from", "to", "eigenvalues", "shuffled"]
    assert "3 eigenvalues above the noise edge λ = 4;" in esd_alt(SimpleNamespace(alpha=None, mp_edge=2.0, spikes=3))
    assert "exponent 2.50" in esd_alt(SimpleNamespace(alpha=2.5, mp_edge=2.0, spikes=3))
    assert esd_alt(None) == "Histogram of the layer's eigenvalues."
