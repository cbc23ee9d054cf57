"""Small surveys made by hand: real spectra, everything else as plain attributes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from core.numerics.svd import Spectrum


def _spectrum(m: int, n: int, decay: float = 0.5, scale: float = 3.0) -> Spectrum:
    return Spectrum.from_values(m, n, scale * np.arange(1, min(m, n) + 1) ** -decay)


def _layer(
    name: str, m: int = 64, n: int = 576, decay: float = 0.5, kernel: tuple[int, ...] = (3, 3)
) -> SimpleNamespace:
    spectrum = _spectrum(m, n, decay)
    ranks = tuple(range(1, min(m, n) + 1))
    error = tuple(spectrum.error(r) for r in ranks)
    kept = tuple(range(10, 101, 10))
    curves = (
        SimpleNamespace(family="lowrank", at=ranks, plain=error, output=tuple(0.5 * e for e in error)),
        SimpleNamespace(family="spatial", at=ranks, plain=error, output=tuple(0.3 * e for e in error)),
        SimpleNamespace(family="sparse", at=kept, plain=tuple(1 - p / 100 for p in kept), output=()),
        SimpleNamespace(family="sparse24", at=(50,), plain=(0.3,), output=()),
        SimpleNamespace(family="filters", at=(16, 32, 64), plain=(0.9, 0.7, 0.0), output=()),
    )
    view = SimpleNamespace(name=name, kind="conv2d", m=m, n=n, kernel=kernel)
    return SimpleNamespace(view=view, spectra=(("rows", spectrum),), curves=curves)


@pytest.fixture
def make_spectrum():
    """(m, n, decay, scale) -> Spectrum with sigma_k = scale k^-decay."""
    return _spectrum


@pytest.fixture
def make_layer():
    """(name, m, n, decay, kernel) -> a layer with curves in five families; the sparse ones without outputs."""
    return _layer


@pytest.fixture
def forty():
    """40 layers with names of usual length and 512 singular values each."""
    return [_layer(f"features.stage{i // 8}.block{i % 8}.conv", 512, 1024, 0.3 + 0.02 * i) for i in range(40)]
