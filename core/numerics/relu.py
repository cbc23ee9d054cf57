"""What a layer's function loses when its weights lose rank: exact expectations over inputs x ~ N(0, I).

For rows w, y with norms a, b at angle theta, every objective here has the row loss

    (a - b)² + 2 a b (1 - k(theta))      in units in which dropping the row costs a²

with a kernel k that is 1 at theta = 0. So y's best direction is that of w projected on the row space, and its best norm
a k. Behind BatchNorm the norm of a row does not matter, and the loss is gamma² (1 - k).

    linear       k = rho = cos(theta)                                   nothing, an addition, or attention follows
    relu         k = g(rho) = (sin theta + (pi - theta) cos theta) / pi      ReLU follows
    centred      k = (g - 1/pi) / (1 - 1/pi)                            ReLU, and the next bias may absorb a mean
    leaky(slope) k = ((1 - slope)² g + 2 slope rho) / (1 + slope²)          leaky ReLU
    bn           k = g, and no norm                                     BatchNorm, then ReLU

Sources: the kernel g is that of Cho and Saul 2009 (arc-cosine kernel of degree 1). The question, a layer's function in
place of its parameters, is that of Vodrahalli et al., arXiv 2202.00834; the formulas here are derived.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.numerics.svd import as_float64, spectrum, svd

PI = math.pi

BOUND = 0.8376635
"""min over t of (1 - g(sqrt t)²) / (1 - t), reached at t = 0.189123: no subspace does better against the ReLU than this
times what spectral truncation loses of the energy. Derived."""


def angle(rho: Tensor) -> Tensor:
    """theta = arccos(rho), rho in [-1, 1]."""
    return torch.arccos(rho.clamp(-1.0, 1.0))


def arc_g(rho: Tensor) -> Tensor:
    """g(rho) = 2 E[relu(u) relu(v)] for standard normal u, v of correlation rho in [-1, 1]; g(0) = 1 / pi, g(1) = 1."""
    return 1.0 - _miss_g(angle(rho))


def arc_dg(rho: Tensor) -> Tensor:
    """g'(rho) = (pi - arccos rho) / pi."""
    return (PI - angle(rho)) / PI


@dataclass(frozen=True, slots=True)
class Objective:
    """How a layer's outputs are used. miss  theta -> 1 - k, small angles without cancellation. slope  rho -> dk/drho.

    scale_free  whether the norm of a row does not matter (BatchNorm follows)."""

    name: str
    miss: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    scale_free: bool = False

    def kernel(self, rho: Tensor) -> Tensor:
        """k(rho): also the norm, relative to w's, that is best for a row at that cosine."""
        return 1.0 - self.miss(angle(rho))

    def utility(self, rho: Tensor) -> Tensor:
        """What a row keeps of its weight at its best norm: k², or k where norms do not matter. Convex in rho."""
        k = self.kernel(rho)
        return k if self.scale_free else k * k

    def gain(self, rho: Tensor) -> Tensor:
        """Derivative of `utility` by rho."""
        return self.slope(rho) if self.scale_free else 2.0 * self.kernel(rho) * self.slope(rho)


def leaky(slope: float) -> Objective:
    """A leaky ReLU follows; slope 1 is `linear`. ValueError for a slope that is not finite."""
    if not math.isfinite(slope):
        raise ValueError(f"a slope is finite, got {slope}")
    whole = 1.0 + slope * slope

    def miss(theta: Tensor) -> Tensor:
        return ((1.0 - slope) ** 2 * _miss_g(theta) + 2.0 * slope * _miss_cos(theta)) / whole

    return Objective(f"leaky({slope:g})", miss, lambda rho: ((1.0 - slope) ** 2 * arc_dg(rho) + 2.0 * slope) / whole)


def _miss_cos(theta: Tensor) -> Tensor:
    return 2.0 * torch.sin(theta / 2) ** 2


def _miss_g(theta: Tensor) -> Tensor:
    return _miss_cos(theta) + (theta * torch.cos(theta) - torch.sin(theta)) / PI


OBJECTIVES: dict[str, Objective] = {
    made.name: made
    for made in (
        Objective("linear", _miss_cos, torch.ones_like),
        Objective("relu", _miss_g, arc_dg),
        Objective("centred", lambda t: _miss_g(t) / (1.0 - 1.0 / PI), lambda rho: arc_dg(rho) / (1.0 - 1.0 / PI)),
        Objective("bn", _miss_g, arc_dg, scale_free=True),
    )
}

Objectives = str | Objective


def objective(name: Objectives) -> Objective:
    """An objective by its name, "leaky(0.1)" among them. ValueError for one that is unknown."""
    if isinstance(name, Objective):
        return name
    if name.startswith("leaky(") and name.endswith(")"):
        try:
            return leaky(float(name[6:-1]))
        except ValueError:
            pass
    if name not in OBJECTIVES:
        raise ValueError(f"an objective is one of {', '.join(OBJECTIVES)} or leaky(slope), got {name!r}")
    return OBJECTIVES[name]


def row_losses(W: Tensor, Y: Tensor, by: Objectives = "relu", gamma: Tensor | None = None) -> Tensor:
    """(m,) float64: what each row's output loses with Y (m, d) in place of W (m, d), in units of `row_weights`.

    gamma (m,)  scales of a BatchNorm that follows, of "bn" alone. A zero row of Y gives nothing; with "bn" it counts as
    at a right angle. ValueError for other shapes or values that are not finite."""
    W, Y = as_float64(W), as_float64(Y)
    if W.shape != Y.shape:
        raise ValueError(f"W and Y have one shape, got {tuple(W.shape)} and {tuple(Y.shape)}")
    how, a, b = objective(by), W.norm(dim=1), Y.norm(dim=1)
    u = W / a.clamp_min(1e-300)[:, None]
    v = Y / b.clamp_min(1e-300)[:, None]
    theta = 2.0 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))
    theta = torch.where((a > 0) & (b > 0), theta, torch.full_like(theta, PI / 2))
    if how.scale_free:
        return row_weights(W, how, gamma) * how.miss(theta)
    made: Tensor = (a - b) ** 2 + 2.0 * a * b * how.miss(theta)
    return made


def row_weights(W: Tensor, by: Objectives = "relu", gamma: Tensor | None = None) -> Tensor:
    """(m,) float64: squared norms of the rows; behind BatchNorm gamma², 1 without one, and 0 for zero rows."""
    squares = W.double().square().sum(1)
    if not objective(by).scale_free:
        return squares
    scales = torch.ones_like(squares) if gamma is None else gamma.double().square().to(squares)
    return torch.where(squares > 0, scales, torch.zeros_like(squares))


def layer_loss(W: Tensor, Y: Tensor, by: Objectives = "relu", gamma: Tensor | None = None) -> float:
    """E ||f(W x) - f(Y x)||² / E ||f(W x)||² over x ~ N(0, I), for f as the objective says: 0 for Y = W, 1 for Y = 0.
    With "bn" the mean of 1 - g weighted by gamma², which is half of that ratio. 0 where W is zero. Raises as
    `row_losses`."""
    whole = float(row_weights(as_float64(W), by, gamma).sum())
    return float(row_losses(W, Y, by, gamma).sum()) / whole if whole else 0.0


SCALES = ("none", "optimal", "norm")
"""Norm of a row after truncation: of its projection, the best one, or that of the row of W."""


def scale_of(rho: Tensor, by: Objectives, scale: str) -> Tensor:
    """Norm of a truncated row relative to that of W, at cosine rho. ValueError for a scale not of `SCALES`."""
    if scale not in SCALES:
        raise ValueError(f"a scale is one of {SCALES}, got {scale!r}")
    return rho if scale == "none" else objective(by).kernel(rho) if scale == "optimal" else torch.ones_like(rho)


def loss_curve(W: Tensor, by: Objectives = "relu", scale: str = "optimal", gamma: Tensor | None = None) -> Tensor:
    """(k + 1,) float64: layer loss at every rank r = 0 ... k = min(m, d) of the truncated SVD with rows scaled so, from
    one SVD of W, or of W with unit rows for "bn". Rank 0 counts as nothing kept. Raises as `row_losses`."""
    return loss_curves(W, by, (scale,), gamma)[scale]


def loss_curves(
    W: Tensor, by: Objectives = "relu", scales: Sequence[str] = SCALES, gamma: Tensor | None = None
) -> dict[str, Tensor]:
    """`loss_curve` at each of several scales, from one SVD for all of them."""
    how, W = objective(by), as_float64(W)
    weights = row_weights(W, how, gamma)
    alive = weights > 0
    V = W[alive] / W[alive].norm(dim=1, keepdim=True) if how.scale_free else W[alive]
    if not len(V):
        return {scale: torch.zeros(min(W.shape) + 1, dtype=torch.float64, device=W.device) for scale in scales}
    U, S, _ = svd(V)
    parts = (U * S).square()
    kept = torch.cat([parts.new_zeros(len(V), 1), parts.cumsum(1)], 1)
    lost = torch.cat([parts.flip(1).cumsum(1).flip(1), parts.new_zeros(len(V), 1)], 1)
    theta = torch.atan2(lost.sqrt(), kept.sqrt())
    rho, miss = torch.cos(theta), how.miss(theta)
    curves = {}
    for scale in scales:
        rows = miss
        if not how.scale_free:
            s = scale_of(rho, how, scale)
            rows = (1.0 - s) ** 2 + 2.0 * s * miss
            if scale != "none":
                rows[:, 0] = 1.0  # no rank, no row to scale
        made = (weights[alive, None] * rows).sum(0) / weights.sum()
        full = made.new_zeros(min(W.shape) + 1)
        full[: len(made)] = made[: len(full)]
        curves[scale] = full
    return curves


def bracket(W: Tensor, rank: int) -> tuple[float, float]:
    """(lower, upper) bound of the smallest ReLU loss that any matrix of this rank has: BOUND (1 - f) and 1 - f, with f
    the share of squared singular values that the largest `rank` hold. Derived (Ky Fan)."""
    low, high = brackets(W)
    at = min(rank, len(low) - 1)
    return low[at], high[at]


def brackets(W: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`bracket` at every rank 0 ... min(m, d), lower bounds and upper ones, from one spectrum."""
    found = spectrum(W)
    lost = tuple(found.error(rank) ** 2 for rank in range(found.k + 1))
    return tuple(BOUND * value for value in lost), lost
