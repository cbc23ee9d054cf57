"""Learns a ReLU layer from samples (x, relu(W x)) with Gaussian inputs, then the best low rank for its function.

    active   row by row the linear equations w x = y of the samples with y > 0: exact, from about 2 d of them
    ols      twice the slope of a linear fit with intercept: stands noise
    chow     (2 / n) Fᵀ X, from E[relu(w x) x] = w / 2
    centred  the same with the mean of the outputs taken off: less variance

Noise breaks the equations of `active`, visibly: their residuals are no longer zero, and `learn` then takes `ols`.
Sources: that such a layer can be learned without being low-rank itself is a claim of Vodrahalli et al., arXiv
2202.00834 (its abstract; the algorithm was not available); estimators, errors and bounds here are derived.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.numerics import nkp
from core.numerics.inits import lowrank_init
from core.numerics.svd import as_float64

ESTIMATORS = ("active", "ols", "chow", "centred")

NOISELESS = 1e-8
"""Largest residual of the active equations, relative to the outputs' root mean square, that counts as none."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A, B  factors of the learned layer at the rank asked for. W (m, d)  the estimate they are made of.

    estimator  of ESTIMATORS that gave W. residual  of the active equations, relative; infinite where a row had fewer
    active samples than inputs. noisy  whether that residual says the samples are not noiseless. note  that in words."""

    A: Tensor
    B: Tensor
    W: Tensor
    estimator: str
    residual: float
    noisy: bool
    note: str


def estimate(X: Tensor, F: Tensor, estimator: str = "active") -> Tensor:
    """(m, d) float64: W from inputs X (n, d) and outputs F (n, m). ValueError for an unknown estimator, other shapes,
    values that are not finite, or fewer than d + 1 samples."""
    X, F = _checked(X, F)
    n = len(X)
    if estimator == "active":
        return _active(X, F)[0]
    if estimator == "ols":
        ones = torch.cat([X, torch.ones_like(X[:, :1])], 1)
        slope: Tensor = torch.linalg.lstsq(ones, F).solution[:-1].mT
        return 2.0 * slope
    if estimator in ("chow", "centred"):
        outputs = F - F.mean(0) if estimator == "centred" else F
        return 2.0 / n * outputs.mT @ X
    raise ValueError(f"an estimator is one of {ESTIMATORS}, got {estimator!r}")


def learn(X: Tensor, F: Tensor, rank: int, seed: int = 0) -> Learned:
    """The layer behind noiseless samples, else its least-squares estimate; and its `nkp` factors. Raises as `estimate`,
    and for a rank outside 1..min(m, d)."""
    X, F = _checked(X, F)
    W, residual = _active(X, F)
    noisy = not residual < NOISELESS
    if noisy:
        W = estimate(X, F, "ols")
    A, B = lowrank_init(W, rank, "nkp", seed=seed)
    if not noisy:
        note = "The active equations hold exactly, so the layer is known exactly."
    elif math.isinf(residual):
        note = (
            "Some row has fewer active samples than inputs; the layer is estimated by least squares. More samples help."
        )
    else:
        note = f"The active equations miss by {residual:.2g}: the samples are noisy, and least squares stands in."
    return Learned(A, B, W, "ols" if noisy else "active", residual, noisy, note)


def expected_error(estimator: str, n: int, d: int) -> float:
    """Expected ||Ŵ - W||² / ||W||² of an estimator from n noiseless samples of d inputs: exact for "chow", to leading
    order in 1 / n for "ols" and "centred", 0 for "active" from `enough_samples` on. Derived."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"an estimator is one of {ESTIMATORS}, got {estimator!r}")
    pi = math.pi
    return {
        "active": 0.0,
        "chow": (2 * d + 3) / n,
        "centred": (2 * (d + 2) * (1 - 1 / pi) - 1) / n,
        "ols": 4 * ((d - 1) * (0.25 - 0.5 / pi) + 0.75 - 1.5 / pi) / n,
    }[estimator]


def enough_samples(d: int, m: int, delta: float = 0.01) -> int:
    """Samples from which all m rows have d active ones with probability 1 - delta: 2 d + L + 2 sqrt(d L + L² / 4), with
    L = log(m / delta). Derived from Hoeffding's bound."""
    L = math.log(m / delta)
    return math.ceil(2 * d + L + 2 * math.sqrt(d * L + L * L / 4))


def learned_kept(found: Learned, W: Tensor, rank: int) -> tuple[float, float]:
    """(loss of the learned factors against the true W, loss of the best ones found knowing W): the excess is what the
    samples cost."""
    from core.numerics.relu import layer_loss

    return layer_loss(W, found.A @ found.B), 1.0 - nkp.project(W, rank).kept


def degree_two(X: Tensor, y: Tensor, rank: int) -> Tensor:
    """Q (d, rank): leading eigenvectors by magnitude of the mean of (y - mean y) x xᵀ, for a scalar output
    y (n,) = sum_i a_i relu(w_i x). With at most d neurons and all a_i of one sign they span the neurons, to 1 / sqrt n;
    with cancelling signs or more neurons they do not, and nothing here can tell."""
    X = as_float64(X)
    M = (X * (y.double() - y.double().mean())[:, None]).mT @ X / len(X)
    lam, V = torch.linalg.eigh((M + M.mT) / 2)
    leading: Tensor = V[:, torch.argsort(lam.abs(), descending=True)[:rank]]
    return leading


def _active(X: Tensor, F: Tensor) -> tuple[Tensor, float]:
    """W by least squares on the active samples of each row, and the largest relative residual."""
    d = X.shape[1]
    scale = F.square().mean().sqrt().clamp_min(1e-300)
    rows, worst = [], 0.0
    for y in F.mT:
        on = y > 0
        if int(on.sum()) < d:
            if bool(on.any()) or not bool((y == 0).all()):
                worst = math.inf
            rows.append(torch.zeros_like(X[0]))
            continue
        w = torch.linalg.lstsq(X[on], y[on, None]).solution[:, 0]
        worst = max(worst, float((X[on] @ w - y[on]).abs().max() / scale))
        rows.append(w)
    return torch.stack(rows), worst


def _checked(X: Tensor, F: Tensor) -> tuple[Tensor, Tensor]:
    X, F = as_float64(X), as_float64(F)
    if len(X) != len(F):
        raise ValueError(f"{len(X)} inputs and {len(F)} outputs are not pairs")
    if len(X) <= X.shape[1]:
        raise ValueError(f"{len(X)} samples cannot determine {X.shape[1]} weights a row; give more")
    return X, F
