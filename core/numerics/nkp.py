"""Nonlinear kernel projection: the row space that serves a layer's function best, by reweighted orthogonal iteration.

For an orthonormal basis Q (d, r) of the row space, the layer keeps J(Q) = sum_i weight_i u(rho_i), with rho_i the
cosine between row i and its projection and u the utility of the objective. J is convex in Q, so the basis that
maximises its linearisation is never worse: monotone ascent without step sizes. With u = rho² it is subspace iteration.

Source: the name and the aim are those of Vodrahalli et al., arXiv 2202.00834, whose algorithm was not available to us;
the iteration and its proof are derived.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.numerics.relu import Objectives, objective, row_weights
from core.numerics.svd import as_float64, checked_rank, svd

STEPS = 30
"""Steps of one start at most; ten take most of what there is (chosen)."""

TOLERANCE = 1e-7
"""Relative gain below which a step counts as none; PATIENCE of them in a row end the iteration."""

PATIENCE = 3
NUDGE = 1e-3
"""Size of the random push that takes a start off a saddle, where a row at a right angle has no say (chosen)."""

EXHAUSTIVE = 20_000
"""Choices of singular vectors up to which all of them are tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    """A row space and how it was found. Q (d, r) float64, orthonormal. kept  share of the weights that J holds, in
    [0, 1]. trace  that share after every step of the best start, its own first, never falling. start  which start it
    was: "svd", "nudged svd" or "random"."""

    Q: Tensor
    kept: float
    trace: tuple[float, ...]
    start: str


def project(
    W: Tensor,
    rank: int,
    by: Objectives = "relu",
    gamma: Tensor | None = None,
    *,
    starts: int = 2,
    steps: int = STEPS,
    seed: int = 0,
) -> Subspace:
    """The best row space of dimension `rank` found from the SVD's, that one nudged, and `starts` random ones.

    W (m, d), rank in 1..min(m, d). Zero rows have no say. Never worse than the SVD's row space (of unit rows for "bn").
    ValueError for another rank, or a matrix without finite values."""
    V, weights = _rows(W, by, gamma)
    rank = checked_rank(W, rank, 1)
    how, d = objective(by), V.shape[1]
    if not len(V):
        return Subspace(torch.eye(d, rank, dtype=V.dtype, device=V.device), 1.0, (1.0,), "svd")
    first = _leading(V if how.scale_free else V * weights.sqrt()[:, None], rank)
    random = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.randn(d, rank, generator=random, dtype=torch.float64).to(V)

    begun = [("svd", first), ("nudged svd", _orthonormal(first + NUDGE * noise()))]
    begun += [("random", _orthonormal(noise())) for _ in range(starts)]
    best: Subspace | None = None
    for name, Q in begun:
        Q, trace = _ascend(V, weights, Q, by, steps)
        if best is None or trace[-1] > best.kept * (1.0 + TOLERANCE):
            best = Subspace(Q, trace[-1], trace, name)
    assert best is not None
    return best


def kept_by(W: Tensor, Q: Tensor, by: Objectives = "relu", gamma: Tensor | None = None) -> float:
    """Share of the weights that the row space of Q (d, r) keeps: 1 - `layer_loss` of the best rows in it (of "bn" that
    loss itself counts from the other side)."""
    V, weights = _rows(W, by, gamma)
    return _utility(V, weights, Q.double(), by) if len(V) else 1.0


def chosen_vectors(W: Tensor, rank: int, by: Objectives = "relu", gamma: Tensor | None = None) -> tuple[int, ...]:
    """Indices of the right singular vectors whose span keeps most: all choices tried if there are at most EXHAUSTIVE,
    else greedily, then by swaps while they gain. A method to compare with: in general not optimal.

    Raises as `project`."""
    V, weights = _rows(W, by, gamma)
    rank = checked_rank(W, rank, 1)
    if not len(V):
        return tuple(range(rank))
    how = objective(by)
    _, _, Vh = svd(V if how.scale_free else V * weights.sqrt()[:, None])
    squares = (V @ Vh.mT).square()

    def value(chosen: tuple[int, ...]) -> float:
        return float((weights * how.utility(squares[:, list(chosen)].sum(1).clamp(0, 1).sqrt())).sum())

    count = Vh.shape[0]
    rank = min(rank, count)
    if math.comb(count, rank) <= EXHAUSTIVE:
        return max(itertools.combinations(range(count), rank), key=value)
    chosen: tuple[int, ...] = ()
    while len(chosen) < rank:
        chosen = max((tuple(sorted((*chosen, i))) for i in range(count) if i not in chosen), key=value)
    while True:
        outside = [i for i in range(count) if i not in chosen]
        swaps = (tuple(sorted({*chosen} - {j} | {i})) for i in outside for j in chosen)
        better = max(swaps, key=value, default=chosen)
        if value(better) <= value(chosen) * (1.0 + TOLERANCE):
            return chosen
        chosen = better


def _rows(W: Tensor, by: Objectives, gamma: Tensor | None) -> tuple[Tensor, Tensor]:
    """Unit rows and their weights, zero rows left out."""
    W = as_float64(W)
    weights = row_weights(W, by, gamma)
    alive = (weights > 0) & (W.square().sum(1) > 0)
    return W[alive] / W[alive].norm(dim=1, keepdim=True), weights[alive]


def _leading(V: Tensor, rank: int) -> Tensor:
    """Right singular vectors of the largest singular values, completed where there are fewer rows than that."""
    _, _, Vh = svd(V)
    Q = Vh[:rank].mT
    return Q if Q.shape[1] == rank else _orthonormal(torch.cat([Q, torch.eye(V.shape[1]).to(V)], 1))[:, :rank]


def _orthonormal(Q: Tensor) -> Tensor:
    made: Tensor = torch.linalg.qr(Q).Q
    return made


def _utility(V: Tensor, weights: Tensor, Q: Tensor, by: Objectives) -> float:
    rho = (V @ Q).norm(dim=1).clamp(0.0, 1.0)
    return float((weights * objective(by).utility(rho)).sum() / weights.sum())


def _ascend(V: Tensor, weights: Tensor, Q: Tensor, by: Objectives, steps: int) -> tuple[Tensor, tuple[float, ...]]:
    """The iteration from Q; a step that rounding makes worse is not taken."""
    how, trace, idle = objective(by), [_utility(V, weights, Q, by)], 0
    for _ in range(steps):
        P = V @ Q
        rho = P.norm(dim=1).clamp(0.0, 1.0)
        pull = weights * how.gain(rho) / rho.clamp_min(1e-12)
        new = _orthonormal(V.mT @ (pull[:, None] * P))
        value = _utility(V, weights, new, by)
        if value <= trace[-1]:
            break
        Q, idle = new, idle + 1 if value - trace[-1] < TOLERANCE * value else 0
        trace.append(value)
        if idle == PATIENCE:
            break
    return Q, tuple(trace)
