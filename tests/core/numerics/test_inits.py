"""Row spaces and factors: reference values made elsewhere, monotone ascent, a trap, and contracts of every method."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from core.numerics import nkp
from core.numerics.inits import METHODS, data_rescale, function_loss, lowrank_init, row_rescale
from core.numerics.relu import layer_loss, loss_curve
from tests.core.numerics.test_relu import A, B, families, normal, truncated

KEEPS = tuple(method for method in METHODS if method not in ("orthogonal", "kaiming"))
"""Methods that start from W."""


def moment(d: int) -> Tensor:
    X = normal(9, 4 * d, d)
    return X.mT @ X / len(X)


def made(W: Tensor, r: int, method: str, **more: object) -> tuple[Tensor, Tensor]:
    return lowrank_init(W, r, method, C=moment(W.shape[1]) if method == "whitened" else None, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("W", "r", "loss"),
    [(A, 1, 0.582495), (A, 2, 0.379311), (A, 3, 0.268499), (B, 4, 0.595871), (B, 8, 0.412737)],
)
def test_the_iteration_reaches_the_best_known(W: Tensor, r: int, loss: float) -> None:
    found = nkp.project(W, r, starts=60 if r == 1 else 8, steps=400)
    assert 1 - found.kept <= loss + 2e-6
    assert 1 - found.kept == pytest.approx(1 - nkp.kept_by(W, found.Q), abs=1e-12)
    assert torch.allclose(found.Q.mT @ found.Q, torch.eye(r, dtype=torch.float64), atol=1e-10)


def test_other_objectives_reach_their_reference_values() -> None:
    assert 1 - nkp.project(B, 4, "bn", steps=400).kept == pytest.approx(0.370354, abs=2e-5)
    assert 1 - nkp.project(B, 4, "centred", steps=400).kept == pytest.approx(0.772265, abs=2e-5)


def test_chosen_singular_vectors_are_the_reference_choice() -> None:
    for r, loss in ((1, 0.582961), (2, 0.380002), (3, 0.268803)):
        Q = torch.linalg.svd(A).Vh[list(nkp.chosen_vectors(A, r))].mT
        assert 1 - nkp.kept_by(A, Q) == pytest.approx(loss, abs=1e-6)
    greedy = nkp.chosen_vectors(normal(4, 30, 40), 10)  # too many to try all
    assert len(set(greedy)) == 10


@pytest.mark.parametrize("by", ["linear", "relu", "centred", "bn", "leaky(0.1)"])
@pytest.mark.parametrize("kind", families())
def test_ascent_is_monotone_and_no_worse_than_the_singular_vectors(kind: str, by: str) -> None:
    W = families()[kind]
    for r in (1, 4, 11):
        found = nkp.project(W, r, by)
        assert all(b >= a for a, b in zip(found.trace, found.trace[1:], strict=False))
        scale = "optimal" if by != "bn" else "none"
        assert 1 - found.kept <= float(loss_curve(W, by, scale)[r]) + 1e-9


def test_linear_ends_where_the_singular_vectors_are() -> None:
    found = nkp.project(A, 3, "linear", starts=4, steps=500)
    S = torch.linalg.svdvals(A)
    assert found.kept == pytest.approx(float(S[:3].square().sum() / S.square().sum()), abs=1e-6)


def test_a_counterexample_to_choosing_singular_vectors() -> None:
    """Unit rows at 0, 60 and 120 degrees and a short one at 15: the best direction is none of the two singular ones."""
    angles = [math.radians(a) for a in (0, 60, 120, 15)]
    W = torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)
    W[3] *= 0.2
    grid = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    best = max(nkp.kept_by(W, torch.tensor([[math.cos(a)], [math.sin(a)]])) for a in grid.tolist())
    whole = float(W.square().sum())
    assert best * whole == pytest.approx(1.779420, abs=1e-5)
    assert nkp.project(W, 1).kept * whole == pytest.approx(1.779420, abs=1e-5)
    Q = torch.linalg.svd(W).Vh[list(nkp.chosen_vectors(W, 1))].mT
    assert nkp.kept_by(W, Q) * whole == pytest.approx(1.757481, abs=1e-5)


def test_a_saddle_is_left() -> None:
    """Most weight lies on one axis of which the singular vectors know nothing but that: rows at right angles to the
    leading one have no say until a start is nudged."""
    W = torch.zeros(41, 40, dtype=torch.float64)
    W[0, 0] = 1.001
    W[1:, 1:] = torch.full((40, 39), 1 / math.sqrt(39)) * 0.0 + torch.eye(40, 39)
    assert nkp.project(W, 1, starts=0, steps=200).kept >= nkp.kept_by(W, torch.eye(40, 1)) - 1e-12
    found = nkp.project(W, 1, starts=4, steps=400)
    assert found.kept > nkp.kept_by(W, torch.eye(40, 1)) * 1.05 and found.start != "svd"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_balanced_factors_of_the_rank(method: str) -> None:
    W = normal(11, 20, 12).float()
    A_, B_ = made(W, 4, method)
    assert A_.shape == (20, 4) and B_.shape == (4, 12) and A_.dtype == B_.dtype == torch.float32
    assert int(torch.linalg.matrix_rank(A_.double() @ B_.double())) == 4
    again = made(W, 4, method)
    assert torch.equal(A_, again[0]) and torch.equal(B_, again[1]), "the same seed, the same factors"
    if method != "kaiming":
        S, T = torch.linalg.svdvals(A_.double()), torch.linalg.svdvals(B_.double())
        assert torch.allclose(S, T, rtol=1e-5)
        assert torch.allclose(A_.mT @ A_, B_ @ B_.mT, atol=1e-4 * float(S[0] ** 2))


@pytest.mark.parametrize("method", [method for method in KEEPS if method != "sampled"])
def test_at_full_rank_the_product_is_the_matrix(method: str) -> None:
    for W in (normal(12, 9, 6), normal(12, 6, 9)):
        A_, B_ = made(W, 6, method)
        assert torch.allclose(A_ @ B_, W, atol=1e-8)


@pytest.mark.parametrize("by", ["relu", "centred", "leaky(0.2)"])
def test_none_is_worse_than_what_it_starts_from(by: str) -> None:
    W = normal(13, 64, 24)
    for r in (1, 3, 8):
        spectral, rescaled, subset, projected = (
            layer_loss(W, torch.mm(*lowrank_init(W, r, method, by)), by)
            for method in ("spectral", "rescaled", "nkp-subset", "nkp")
        )
        assert projected <= rescaled + 1e-9 and subset <= rescaled + 1e-9 and rescaled <= spectral + 1e-12
    sampled = layer_loss(W, torch.mm(*lowrank_init(W, 3, "sampled")), "relu")
    assert sampled <= layer_loss(W, torch.mm(*lowrank_init(W, 3, "rescaled")), "relu")


def test_scales_are_those_of_the_curve() -> None:
    for scale in ("none", "optimal", "norm"):
        Y = torch.mm(*lowrank_init(B, 4, "rescaled", scale=scale))
        assert layer_loss(B, Y) == pytest.approx(float(loss_curve(B, "relu", scale)[4]), rel=1e-9)
    norms = torch.mm(*lowrank_init(B, 4, "rescaled", scale="norm")).norm(dim=1)
    assert torch.allclose(norms, B.norm(dim=1))


def test_behind_batchnorm_rows_count_by_gamma_and_keep_their_norm() -> None:
    gamma = torch.cat([torch.full((4,), 5.0), torch.full((60,), 0.1)]).double()
    Y = torch.mm(*lowrank_init(B, 4, "nkp", "bn", gamma=gamma))
    assert layer_loss(B, Y, "bn", gamma) < layer_loss(B, torch.mm(*lowrank_init(B, 4, "nkp", "bn")), "bn", gamma)
    assert torch.allclose(Y.norm(dim=1), B.norm(dim=1)) and layer_loss(B[:4], Y[:4], "bn") < 0.05


def test_a_row_at_a_right_angle_gets_the_first_direction() -> None:
    W = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    Y = torch.mm(*lowrank_init(W, 1, "rescaled"))
    assert Y.norm(dim=1).tolist() == pytest.approx([3.0, 2.0 / math.pi, 1.0 / math.pi])
    whole = float(W.square().sum())
    assert layer_loss(W, Y) == pytest.approx((4 + 1) * (1 - 1 / math.pi**2) / whole)


def test_whitened_is_best_for_inputs_of_that_moment() -> None:
    W, C = normal(14, 30, 16), torch.diag(torch.logspace(1, -3, 16, dtype=torch.float64))
    root = C.sqrt()
    for by, scale in (("linear", "optimal"), ("relu", "optimal")):
        Y = torch.mm(*lowrank_init(W, 4, "whitened", by, scale, C=C))
        plain = torch.mm(*lowrank_init(W, 4, "rescaled", by, scale))
        assert layer_loss(W @ root, Y @ root, by) < 0.7 * layer_loss(W @ root, plain @ root, by)


def test_rescaling_pruned_rows_matches_the_energy_they_keep() -> None:
    Y = torch.where(A.abs() >= A.abs().flatten().median(), A, torch.zeros_like(A))
    new = row_rescale(A, Y)
    assert layer_loss(A, new) <= layer_loss(A, Y)
    kept = (Y.norm(dim=1) / A.norm(dim=1)).tolist()
    from core.numerics.relu import arc_g

    want = [float(a * arc_g(torch.tensor(k, dtype=torch.float64))) for a, k in zip(A.norm(dim=1), kept, strict=True)]
    assert new.norm(dim=1).tolist() == pytest.approx(want)


def test_data_rescaling_is_the_least_squares_fit_of_each_row() -> None:
    X, Y = normal(15, 300, 8).abs(), truncated(A, 2)
    s = data_rescale(A, Y, X)
    wanted, given = torch.relu(X @ A.mT), torch.relu(X @ Y.mT)
    for i in range(len(s)):
        fit = (
            np.linalg.lstsq(given[:, i : i + 1].numpy(), wanted[:, i].numpy(), rcond=None)[0][0]
            if given[:, i].any()
            else 1.0
        )
        assert float(s[i]) == pytest.approx(float(fit), abs=1e-9)
    dead = data_rescale(A, -A.abs(), X.abs())
    assert dead.tolist() == [1.0] * 12


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"r": 0}, "rank"),
        ({"r": 9}, "rank"),
        ({"method": "magic"}, "'magic'"),
        ({"objective": "swish"}, "'swish'"),
        ({"scale": "best"}, "'best'"),
        ({"method": "whitened"}, "second moment"),
        ({"method": "sampled", "objective": "bn"}, "'bn'"),
        ({"W": torch.full((4, 3), math.nan)}, "NaN"),
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        lowrank_init(**{"W": A, "r": 2, **bad})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh", "relu+0.5"])
def test_other_activations_have_their_best_norms(name: str) -> None:
    W = normal(16, 20, 12, 0.4)
    spectral, rescaled = (
        function_loss(W, torch.mm(*lowrank_init(W, 3, m, name)), name) for m in ("spectral", "rescaled")
    )
    for factor in (0.97, 1.03):
        moved = torch.mm(*lowrank_init(W, 3, "rescaled", name)) * factor
        assert function_loss(W, moved, name) > rescaled
    assert rescaled < spectral
    with pytest.raises(ValueError, match="spectral and rescaled"):
        lowrank_init(W, 3, "nkp", name)


def test_zero_rows_stay_zero() -> None:
    W = torch.cat([A, torch.zeros(2, 8, dtype=torch.float64)])
    for method in ("spectral", "rescaled", "nkp"):
        assert float(torch.mm(*lowrank_init(W, 3, method))[12:].norm()) < 1e-12
    assert float(torch.mm(*lowrank_init(torch.zeros(4, 3), 2, "nkp")).norm()) == 0.0
