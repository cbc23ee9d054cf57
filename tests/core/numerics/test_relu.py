"""The function a layer loses: against integration, sampling, reference values made elsewhere, and derived bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor

from core.numerics import relu
from core.numerics.relu import (
    BOUND,
    OBJECTIVES,
    arc_dg,
    arc_g,
    bracket,
    layer_loss,
    leaky,
    loss_curve,
    objective,
    row_losses,
)


def normal(seed: int, m: int, d: int, scale: float = 1.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((m, d)) * scale)


A, B = normal(0, 12, 8), normal(1, 64, 32, math.sqrt(2 / 32))


def truncated(W: Tensor, r: int) -> Tensor:
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    return (U[:, :r] * S[:r]) @ Vh[:r]


def integral(rho: float) -> float:
    """2 E relu(u) relu(v) by quadrature over the quarter plane in polar coordinates, where the radius integrates to 1.

    u = cos(t), v = cos(t - theta) times the radius; E r² / 2 = 1 over the plane's angle 2 pi."""
    theta = math.acos(rho)
    found, _ = integrate.quad(lambda t: math.cos(t) * math.cos(t - theta), theta - math.pi / 2, math.pi / 2)
    return 2 * found / math.pi


@pytest.mark.parametrize("rho", [-1.0, -0.7, -0.2, 0.0, 0.3, 0.5, 0.9, 0.999, 1.0])
def test_the_kernel_is_the_integral_and_its_slope_the_difference(rho: float) -> None:
    g = float(arc_g(torch.tensor(rho, dtype=torch.float64)))
    assert g == pytest.approx(integral(rho), abs=1e-9)
    h = 1e-6
    if abs(rho) < 0.99:
        ends = arc_g(torch.tensor([rho - h, rho + h], dtype=torch.float64))
        assert float(arc_dg(torch.tensor(rho, dtype=torch.float64))) == pytest.approx(
            float(ends[1] - ends[0]) / (2 * h), abs=1e-7
        )


def test_identities_of_the_kernel() -> None:
    rho = torch.linspace(-1, 1, 401, dtype=torch.float64)
    g = arc_g(rho)
    assert torch.allclose(arc_g(-rho), g - rho, atol=1e-12) and bool((g >= rho - 1e-12).all())
    assert float(arc_g(torch.zeros(1))) == pytest.approx(1 / math.pi, abs=1e-6)
    t = torch.linspace(1e-6, 1 - 1e-9, 200_001, dtype=torch.float64)
    ratio = (1 - arc_g(t.sqrt()) ** 2) / (1 - t)
    assert float(ratio.min()) == pytest.approx(BOUND, abs=1e-7)
    assert float(t[ratio.argmin()]) == pytest.approx(0.189123, abs=1e-4)


@pytest.mark.parametrize(
    ("rho", "losses"), [(0.3, (0.800353, 0.766958, 1.034511)), (0.5, (0.641002, 0.629122, 0.782004))]
)
def test_row_losses_of_the_three_scales(rho: float, losses: tuple[float, float, float]) -> None:
    w = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(3, 1)
    unit = torch.tensor([rho, math.sqrt(1 - rho * rho)], dtype=torch.float64)
    norms = torch.tensor([rho, float(arc_g(torch.tensor(rho, dtype=torch.float64))), 1.0], dtype=torch.float64)
    assert row_losses(w, norms[:, None] * unit).tolist() == pytest.approx(losses, abs=1e-6)


@pytest.mark.parametrize(
    ("W", "r", "none", "optimal", "norm"),
    [
        (A, 1, 0.612590, 0.582961, 0.778714),
        (A, 2, 0.387554, 0.380002, 0.460466),
        (A, 3, 0.272101, 0.268803, 0.311958),
        (B, 1, 0.840424, 0.789128, 1.104026),
        (B, 4, 0.608905, 0.596033, 0.742415),
        (B, 8, 0.416032, 0.412771, 0.475230),
        (normal(2, 256, 64), 8, 0.654953, 0.639872, 0.806835),
    ],
)
def test_reference_values(W: Tensor, r: int, none: float, optimal: float, norm: float) -> None:
    for scale, value in (("none", none), ("optimal", optimal), ("norm", norm)):
        assert float(loss_curve(W, "relu", scale)[r]) == pytest.approx(value, abs=1e-6)
    assert layer_loss(W, truncated(W, r)) == pytest.approx(none, abs=1e-6)


def test_reference_values_behind_batchnorm_and_without_the_mean() -> None:
    assert layer_loss(B, truncated(B, 4), "bn") == pytest.approx(0.376975, abs=1e-6)
    assert float(loss_curve(B, "bn")[4]) == pytest.approx(0.371749, abs=1e-6)
    assert float(loss_curve(B, "centred", "none")[4]) == pytest.approx(0.778849, abs=1e-6)
    assert float(loss_curve(B, "centred", "optimal")[4]) == pytest.approx(0.774078, abs=1e-6)


ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": torch.relu,
    "leaky(0.2)": lambda z: torch.nn.functional.leaky_relu(z, 0.2),
}


@pytest.mark.parametrize("name", [*ACTIVATIONS, "centred", "bn"])
def test_sampling_finds_the_same_within_four_standard_errors(name: str) -> None:
    W, Y = normal(3, 10, 6), truncated(normal(3, 10, 6), 2) * torch.linspace(0.5, 1.5, 10, dtype=torch.float64)[:, None]
    x = torch.randn(400_000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gamma = torch.linspace(0.2, 2.0, 10, dtype=torch.float64)
    if name == "bn":
        u, v = (torch.relu(x @ (M / M.norm(dim=1, keepdim=True)).mT * gamma) for M in (W, Y))
        each, whole = (u - v).square().sum(1), float(gamma.square().sum())
    elif name == "centred":
        u, v = torch.relu(x @ W.mT), torch.relu(x @ Y.mT)
        gap, first = u - v - (u - v).mean(0), u - u.mean(0)
        each, whole = gap.square().sum(1), float(first.square().sum(1).mean())
    else:
        u, v = ACTIVATIONS[name](x @ W.mT), ACTIVATIONS[name](x @ Y.mT)
        each, whole = (u - v).square().sum(1), float(u.square().sum(1).mean())
    error = float(each.std()) / math.sqrt(len(each)) / whole
    assert abs(layer_loss(W, Y, name, gamma if name == "bn" else None) - float(each.mean()) / whole) < 4 * error + 1e-4


@pytest.mark.parametrize("name", [*OBJECTIVES, "leaky(0.1)"])
def test_the_curve_is_the_loss_of_the_truncation_it_speaks_of(name: str) -> None:
    how = objective(name)
    for scale in ("none",) if how.scale_free else relu.SCALES:
        curve = loss_curve(A, name, scale)
        assert len(curve) == 9 and float(curve[8]) == pytest.approx(0.0, abs=1e-12)
        for r in (1, 3, 6):
            Y = truncated(A / A.norm(dim=1, keepdim=True) if how.scale_free else A, r)
            if not how.scale_free and scale != "none":
                rho = Y.norm(dim=1) / A.norm(dim=1)
                Y = Y / Y.norm(dim=1, keepdim=True) * (A.norm(dim=1) * relu.scale_of(rho, how, scale))[:, None]
            assert layer_loss(A, Y, name) == pytest.approx(float(curve[r]), rel=1e-9)


def families() -> dict[str, Tensor]:
    random = np.random.default_rng(7)
    sparse = random.standard_normal((40, 20)) * (random.random((40, 20)) < 0.1)
    centres = random.standard_normal((3, 20))
    return {
        "random": normal(5, 40, 20),
        "sparse": torch.from_numpy(sparse),
        "heavy tails": torch.from_numpy(random.standard_t(1.5, (40, 20))),
        "clustered": torch.from_numpy(centres[random.integers(0, 3, 40)] + 0.1 * random.standard_normal((40, 20))),
    }


@pytest.mark.parametrize("kind", families())
def test_the_bracket_is_never_left(kind: str) -> None:
    W = families()[kind]
    for r in range(1, 20):
        low, high = bracket(W, r)
        best, plain = float(loss_curve(W)[r]), float(loss_curve(W, scale="none")[r])
        assert low - 1e-12 <= best <= plain + 1e-12 <= high + 2e-12


def test_near_equal_rows_lose_what_they_lose_and_not_rounding() -> None:
    """At an angle of 1e-7 the loss is E (relu u - relu v)² = theta² / 2 of the row's own, to first order."""
    theta = 1e-7
    w = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[math.cos(theta), math.sin(theta)]], dtype=torch.float64)
    assert float(row_losses(w, y)[0]) == pytest.approx(theta**2, rel=1e-6)


def test_zero_rows_have_no_say_and_dropped_rows_cost_themselves() -> None:
    W = torch.cat([A, torch.zeros(3, 8, dtype=torch.float64)])
    assert torch.allclose(loss_curve(W), loss_curve(A)) and layer_loss(W, torch.zeros_like(W)) == 1.0
    assert layer_loss(torch.zeros(2, 3), torch.zeros(2, 3)) == 0.0 and float(loss_curve(torch.zeros(2, 3)).sum()) == 0.0
    assert layer_loss(A, torch.zeros_like(A), "bn") == pytest.approx(1 - 1 / math.pi)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: objective("swish"), "'swish'"),
        (lambda: objective("leaky(x)"), "leaky"),
        (lambda: leaky(math.inf), "finite"),
        (lambda: row_losses(A, A[:, :3]), "one shape"),
        (lambda: row_losses(torch.full((2, 2), math.nan), torch.zeros(2, 2)), "NaN"),
        (lambda: loss_curve(A, "relu", "best"), "'best'"),
        (lambda: loss_curve(A[0]), "two-dimensional|dimension|matrix"),
    ],
)
def test_what_makes_no_sense_is_refused(bad: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bad()
