from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from app.references import alike, matrix_of, random_spectrum, references, spread
from core import journeys
from core.numerics.svd import Spectrum


@pytest.fixture(scope="module")
def convnet():
    return journeys.demo_survey("digits-convnet")


@pytest.fixture(scope="module")
def vit():
    return journeys.demo_survey("digits-vit")


@pytest.mark.parametrize(("m", "n"), [(12, 30), (30, 12), (16, 16)])
def test_random_values_have_the_law_of_a_gaussian_matrix(m, n):
    """The witness draws the matrix itself and decomposes it."""
    draws = 300
    found = np.array([random_spectrum(m, n, 0.5, seed=s).S for s in range(draws)])
    rng = np.random.default_rng(7)
    wanted = np.array([np.linalg.svd(0.5 * rng.normal(size=(m, n)), compute_uv=False) for _ in range(draws)])
    error = np.sqrt((found.var(0) + wanted.var(0)) / draws)
    assert (np.abs(found.mean(0) - wanted.mean(0)) < 4.5 * error).all()
    assert np.allclose(found.std(0), wanted.std(0), rtol=0.3)


def test_random_values_of_a_grouped_layer_are_those_of_its_blocks():
    spectrum = random_spectrum(4 * 6, 4 * 50, 1.0, groups=4)
    assert spectrum.k == 24
    edge = math.sqrt(50) + math.sqrt(6)
    assert 0.5 * edge < spectrum.S[0] < 1.35 * edge, "one block of 6 x 50, not a matrix of 24 x 200"
    assert (math.sqrt(200) + math.sqrt(24)) > 1.8 * edge


def test_random_values_are_deterministic_and_scale():
    assert random_spectrum(9, 5, 1.0, seed=3) == random_spectrum(9, 5, 1.0, seed=3)
    assert random_spectrum(9, 5, 1.0, seed=3) != random_spectrum(9, 5, 1.0, seed=4)
    assert np.allclose(random_spectrum(9, 5, 2.5).S, 2.5 * np.array(random_spectrum(9, 5, 1.0).S))
    assert random_spectrum(1, 7, 1.0).k == 1


def test_blocks_must_fill_the_matrix():
    with pytest.raises(ValueError, match="3 equal blocks"):
        random_spectrum(8, 9, 1.0, groups=3)


def test_the_spread_is_that_of_the_weights(convnet):
    layer = convnet.layer("conv3")
    norm2 = sum(s * s for s in layer.spectrum.S)
    assert spread(layer) == pytest.approx(math.sqrt(norm2 / (48 * 32 * 9)))


def test_a_random_reference_has_the_layer_s_norm(convnet):
    layers = [convnet.layer("conv3"), convnet.layer("conv4")]
    for matrix in ("rows", "columns", "spatial"):
        found, missing = references("random", layers, matrix, 3)
        assert missing == ""
        for layer, (label, spectrum) in zip(layers, found, strict=True):
            own = dict(layer.spectra)[matrix]
            assert label == f"{layer.view.name}, random"
            assert (spectrum.m, spectrum.n) == (own.m, own.n)
            assert spectrum.tail[0] == pytest.approx(own.tail[0], rel=0.05)


def test_a_shuffled_reference_is_the_stored_one_and_of_the_rows_matrix_only(convnet):
    layer = convnet.layer("conv3")
    assert references("shuffled", [layer], "rows", 3) == ([("conv3, shuffled", layer.shuffled)], "")
    found, missing = references("shuffled", [layer, convnet.layer("fc")], "columns", 3)
    assert [label for label, _ in found] == ["fc, shuffled"], "a linear layer has one matrix only"
    assert "conv3" in missing and "rows matrix only" in missing


def test_another_checkpoint_is_matched_by_name_and_shape(convnet, vit):
    other = replace(convnet, layers=(*convnet.layers[:2], *vit.layers))
    assert alike(convnet, other) == 2
    assert alike(convnet, vit) == 0
    found, missing = references("twin", list(convnet.layers[:3]), "rows", 3, other)
    assert [label for label, _ in found] == ["conv1, other checkpoint", "conv2, other checkpoint"]
    assert missing == "No reference for conv3: it has no layer of that name and shape."


def test_what_does_not_fit_is_said(convnet):
    layers = list(convnet.layers)
    found, missing = references("random", layers, "rows", 3)
    assert len(found) == 3
    assert missing == "References of 3 of 5 layers are drawn: untick some to see the others."
    assert references("none", layers, "rows", 3) == ([], "")
    assert references("random", [], "rows", 3) == ([], "")
    assert references("random", layers, "whitened", 3)[1].startswith("A whitened spectrum has no reference")


def test_a_layer_has_the_matrix_asked_for_or_its_only_one(convnet):
    conv, linear = convnet.layer("conv3"), convnet.layer("fc")
    assert matrix_of(conv, "spatial") == dict(conv.spectra)["spatial"]
    assert matrix_of(linear, "spatial") == linear.spectrum
    assert matrix_of(conv, "whitened") == conv.whitened
    assert matrix_of(replace(conv, spectra=()), "rows") is None
    assert isinstance(matrix_of(conv, "rows"), Spectrum)
