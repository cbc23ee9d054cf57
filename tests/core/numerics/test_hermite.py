"""Losses under GELU, SiLU, tanh and a biased ReLU: against sampling, two-dimensional integration and known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.numerics import hermite
from core.numerics.hermite import activation, best_norms, kernel, layer_loss, row_losses
from core.numerics.inits import row_rescale
from core.numerics.relu import row_losses as relu_losses
from tests.core.numerics.test_relu import normal, truncated

FUNCTIONS = {
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
    "relu+0.5": lambda z: torch.relu(z + 0.5),
    "relu-1": lambda z: torch.relu(z - 1.0),
}


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize("name", hermite.SMOOTH)
@pytest.mark.parametrize(("s", "t", "rho"), [(1.0, 0.3, 0.3), (1.4, 1.4, 0.9), (0.5, 2.0, -0.6)])
def test_the_series_is_the_integral(name: str, s: float, t: float, rho: float) -> None:
    z, w = np.polynomial.hermite_e.hermegauss(64)
    a, b = torch.from_numpy(z)[:, None], torch.from_numpy(z)[None, :]
    v = rho * a + math.sqrt(1 - rho * rho) * b
    grid = FUNCTIONS[name](s * a) * FUNCTIONS[name](t * v) * torch.from_numpy(np.outer(w, w)) / (2 * math.pi)
    assert float(kernel(activation(name), one(s), one(t), one(rho))[0]) == pytest.approx(float(grid.sum()), abs=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sampling_finds_the_same_within_four_standard_errors(name: str) -> None:
    W = normal(3, 8, 6, 0.5)
    Y = truncated(W, 2)
    x = torch.randn(400_000, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gap = (FUNCTIONS[name](x @ W.mT) - FUNCTIONS[name](x @ Y.mT)).square()
    found, error = gap.mean(0), gap.std(0) / math.sqrt(len(x))
    assert bool(((row_losses(W, Y, name) - found).abs() < 4 * error + 1e-5).all())
    whole = float(FUNCTIONS[name](x @ W.mT).square().sum(1).mean())
    assert layer_loss(W, Y, name) == pytest.approx(float(found.sum()) / whole, rel=0.02)


@pytest.mark.parametrize(
    ("name", "s", "projected", "best", "share"),
    [
        ("gelu", math.sqrt(2), 0.8907, 0.8630, None),
        ("silu", math.sqrt(2), 0.9058, 0.8916, None),
        ("silu", 1.0, 0.9113, 0.9044, None),
        ("tanh", 1.0, 0.9396, 0.9162, 0.188),
    ],
)
def test_known_gains_of_rescaling(name: str, s: float, projected: float, best: float, share: float | None) -> None:
    w = s * torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    y = 0.3 * s * torch.tensor([[0.3, math.sqrt(1 - 0.09)]], dtype=torch.float64)
    assert layer_loss(w, y, name) == pytest.approx(projected, abs=1e-4)
    new = row_rescale(w, y, name)
    assert layer_loss(w, new, name) == pytest.approx(best, abs=1e-4)
    if share is not None:
        assert float(new.norm() / s) == pytest.approx(share, abs=1e-3)


def test_the_best_norm_is_where_a_fine_grid_has_it() -> None:
    for name in ("gelu", "tanh", "relu+0.5"):
        t = float(best_norms(name, one(1.3), one(0.4))[0])
        grid = torch.linspace(0.001, 3.9, 40_000, dtype=torch.float64)
        how = activation(name)
        kept = 2 * kernel(how, torch.full_like(grid, 1.3), grid, torch.full_like(grid, 0.4)) - how.power(grid)
        assert t == pytest.approx(float(grid[kept.argmax()]), abs=2e-4)


def test_without_a_bias_it_is_the_relu() -> None:
    W, Y = normal(3, 8, 6), truncated(normal(3, 8, 6), 2)
    assert torch.allclose(row_losses(W, Y, "relu+0"), relu_losses(W, Y) / 2, rtol=5e-3), (
        "what the kink leaves beyond the last term"
    )
    assert torch.equal(row_losses(W, W, "relu+0.3"), torch.zeros(8, dtype=torch.float64))


@pytest.mark.parametrize("name", ["swish", "relu", "relu+x", "relu+inf"])
def test_an_unknown_activation_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="an activation is one of"):
        activation(name)
