"""The learner: exact on noiseless samples, errors as derived, noise that is noticed, and what cannot be identified."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from core.numerics.learner import (
    ESTIMATORS,
    degree_two,
    enough_samples,
    estimate,
    expected_error,
    learn,
    learned_kept,
)
from tests.core.numerics.test_relu import normal


def samples(W: Tensor, n: int, seed: int, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    X = torch.randn(n, W.shape[1], generator=random, dtype=torch.float64)
    F = torch.relu(X @ W.mT)
    return X, F + noise * torch.randn(F.shape, generator=random, dtype=torch.float64)


def test_noiseless_samples_give_the_layer_exactly() -> None:
    W = normal(1, 24, 16)
    X, F = samples(W, enough_samples(16, 24), 0)
    found = learn(X, F, 4)
    assert torch.allclose(found.W, W, atol=1e-9) and (found.estimator, found.noisy) == ("active", False)
    learned, best = learned_kept(found, W, 4)
    assert learned == pytest.approx(best, abs=1e-9) and found.A.shape == (24, 4) and found.B.shape == (4, 16)


def test_the_bound_on_samples_is_kept_and_half_of_it_is_too_few() -> None:
    W = normal(2, 24, 16)
    assert enough_samples(16, 24) == 64
    lost = {n: sum(learn(*samples(W, n, seed), 2).noisy for seed in range(40)) for n in (64, 32)}
    assert lost[64] == 0 and lost[32] > 10


@pytest.mark.parametrize("estimator", ["chow", "centred", "ols"])
def test_errors_are_as_derived(estimator: str) -> None:
    W, n = normal(3, 6, 5), 400
    errors = [
        float((estimate(*samples(W, n, seed), estimator) - W).square().sum() / W.square().sum()) for seed in range(300)
    ]
    mean, spread = sum(errors) / len(errors), torch.tensor(errors).std().item() / math.sqrt(len(errors))
    over = 1.0 if estimator == "chow" else 1.04  # the others are to leading order, and lie a little above it
    assert mean == pytest.approx(over * expected_error(estimator, n, 5), abs=4 * spread + 0.03 * mean)


def test_errors_fall_like_one_over_n_and_the_excess_loss_does() -> None:
    W = normal(4, 12, 8)
    excess = []
    for n in (400, 6400):
        found = [learn(*samples(W, n, seed, 0.3), 3) for seed in range(12)]
        assert all(one.noisy and one.estimator == "ols" for one in found)
        excess.append(sum(a - b for a, b in (learned_kept(one, W, 3) for one in found)) / 12)
    assert 6 < excess[0] / excess[1] < 40, "sixteen times the samples"


def test_noise_is_noticed_and_said() -> None:
    W = normal(5, 12, 8)
    clean, dirty = (learn(*samples(W, 500, 1, noise), 3) for noise in (0.0, 1e-3))
    assert not clean.noisy and clean.residual < 1e-10 and "exactly" in clean.note
    assert dirty.noisy and dirty.residual > 1e-4 and "noisy" in dirty.note
    few = learn(*samples(W, 12, 1), 3)
    assert few.noisy and math.isinf(few.residual) and "More samples" in few.note


def test_a_dead_row_is_a_zero_row() -> None:
    W = torch.cat([normal(6, 4, 5), torch.zeros(1, 5, dtype=torch.float64)])
    found = learn(*samples(W, 200, 0), 2)
    assert not found.noisy and torch.equal(found.W[4], torch.zeros(5, dtype=torch.float64))


def test_a_scalar_output_shows_the_span_of_few_neurons_of_one_sign_and_nothing_of_cancelling_ones() -> None:
    """Sines of the subspace angle near 0.09 at 1e5 samples, and a third of it at ten times as many."""
    W, random = normal(7, 4, 16), torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(W.mT).Q
    sines = []
    for n in (100_000, 1_000_000):
        X = torch.randn(n, 16, generator=random, dtype=torch.float64)
        y = torch.relu(X @ W.mT).sum(1)
        found = degree_two(X, y, 4)
        sines.append(float(torch.linalg.matrix_norm(found - Q @ (Q.mT @ found), 2)))
        if n == 100_000:
            hidden = torch.relu(X @ W[:1].mT)[:, 0] - torch.relu(-(X @ W[:1].mT))[:, 0]
            lost = degree_two(X, hidden, 1)
            assert float((lost.mT @ W[0] / W[0].norm()).abs()) < 0.9, "a linear function has no second degree"
    assert sines[0] < 0.2 and 2.0 < sines[0] / sines[1] < 5.0


@pytest.mark.parametrize(
    ("X", "F", "says"),
    [
        (torch.zeros(10, 3), torch.zeros(9, 2), "not pairs"),
        (torch.zeros(3, 3), torch.zeros(3, 2), "give more"),
        (torch.full((9, 3), math.nan), torch.zeros(9, 2), "NaN"),
    ],
)
def test_what_makes_no_sense_is_refused(X: Tensor, F: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        learn(X, F, 1)
    with pytest.raises(ValueError, match="estimator"):
        estimate(torch.zeros(9, 3), torch.zeros(9, 2), "magic")
    assert set(ESTIMATORS) == {"active", "ols", "chow", "centred"}
