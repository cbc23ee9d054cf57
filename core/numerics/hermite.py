"""What a layer's function loses under activations other than ReLU: by Hermite expansion, over inputs x ~ N(0, I).

For a row of norm s the layer sees sigma(s z), z standard normal, and two rows of norms s, t at cosine rho have

    K(s, t, rho) = E sigma(s z1) sigma(t z2) = sum_k c_k(s) c_k(t) rho^k,   c_k(s) = E[sigma(s z) he_k(z)] / sqrt(k!)

so that the row loss is K(s, s, 1) + K(t, t, 1) - 2 K(s, t, rho). These activations are not homogeneous: the best norm
of a row depends on its own norm, and is found by search. A ReLU with a bias has exact coefficients; integration would
miss its kink. Source: Mehler's formula; the use here is derived.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from core.numerics.svd import as_float64

NODES, TERMS = 256, 80
"""Of Gauss-Hermite integration, and of the expansion (chosen: smooth activations of norms up to 2 are exact to 1e-6;
what a kink leaves beyond the last term is about 1e-3 of the loss)."""

MOST = 3.0
"""The best norm of a row is looked for in 0..MOST times its own."""


@dataclass(frozen=True, slots=True)
class Activation:
    """coefficients  norms (n,) -> (n, TERMS + 1), c_k of each. power  norms (n,) -> (n,), E sigma(s z)²."""

    name: str
    coefficients: Callable[[Tensor], Tensor]
    power: Callable[[Tensor], Tensor]


def activation(name: str) -> Activation:
    """ "gelu", "silu", "tanh", or "relu+b" with a bias b such as "relu+0.5". ValueError for another."""
    if name in SMOOTH:
        return Activation(name, lambda s: _integrated(SMOOTH[name], s), lambda s: _powers(SMOOTH[name], s))
    if name.startswith("relu"):
        try:
            b = float(name[4:])
        except ValueError:
            b = math.nan
        if math.isfinite(b):
            return Activation(name, lambda s: _biased(s, b), lambda s: _biased_power(s, b))
    raise ValueError(f"an activation is one of {', '.join(SMOOTH)} or relu+b with a bias b, got {name!r}")


SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda z: 0.5 * z * torch.erfc(-z / math.sqrt(2.0)),
    "silu": lambda z: z * torch.sigmoid(z),
    "tanh": torch.tanh,
}


def kernel(how: Activation, s: Tensor, t: Tensor, rho: Tensor) -> Tensor:
    """(n,) K of rows of norms s and t (n,) at cosines rho (n,), float64."""
    powers = rho.double()[:, None] ** torch.arange(TERMS + 1, dtype=torch.float64, device=rho.device)
    return (how.coefficients(s) * how.coefficients(t) * powers).sum(1)


def row_losses(W: Tensor, Y: Tensor, name: str) -> Tensor:
    """(m,) float64: E (sigma(w x) - sigma(y x))² of every row. W, Y (m, d). ValueError as `activation`, for other
    shapes or values that are not finite."""
    D, E, how = as_float64(W), as_float64(Y), activation(name)
    if D.shape != E.shape:
        raise ValueError(f"W and Y have one shape, got {tuple(D.shape)} and {tuple(E.shape)}")
    a, b = D.norm(dim=1), E.norm(dim=1)
    rho = ((D * E).sum(1) / (a * b).clamp_min(1e-300)).clamp(-1.0, 1.0)
    same = (D == E).all(1)
    lost = how.power(a) + how.power(b) - 2.0 * kernel(how, a, b, rho)
    return torch.where(same, torch.zeros_like(lost), lost.clamp_min(0.0))


def layer_loss(W: Tensor, Y: Tensor, name: str) -> float:
    """E ||sigma(W x) - sigma(Y x)||² / E ||sigma(W x)||²; 0 where that is 0. Raises as `row_losses`."""
    whole = float(activation(name).power(as_float64(W).norm(dim=1)).sum())
    return float(row_losses(W, Y, name).sum()) / whole if whole else 0.0


def best_norms(name: str, s: Tensor, rho: Tensor) -> Tensor:
    """(n,) norms t of rows at cosines rho (n,) to rows of norms s (n,) that lose least, each in 0..MOST s; by a grid
    and golden section, to 1e-6 of s."""
    how, s, rho = activation(name), s.double(), rho.double()
    c = how.coefficients(s) * rho[:, None] ** torch.arange(TERMS + 1, dtype=torch.float64, device=rho.device)

    def kept(t: Tensor) -> Tensor:
        return 2.0 * (c * how.coefficients(t)).sum(1) - how.power(t)

    grid = torch.linspace(0.0, MOST, 61, dtype=torch.float64, device=s.device)
    values = torch.stack([kept(s * part) for part in grid])
    at = values.argmax(0).clamp(1, len(grid) - 2)
    low, high = grid[at - 1] * s, grid[at + 1] * s
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(32):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        left = kept(a) > kept(b)
        low, high = torch.where(left, low, a), torch.where(left, b, high)
    return (low + high) / 2.0


def _hermite(z: Tensor) -> Tensor:
    """(TERMS + 1, len(z)) orthonormal probabilists' Hermite polynomials."""
    rows = [torch.ones_like(z), z]
    for k in range(1, TERMS):
        rows.append((z * rows[k] - math.sqrt(k) * rows[k - 1]) / math.sqrt(k + 1))
    return torch.stack(rows)


@lru_cache(maxsize=1)
def _nodes() -> tuple[Tensor, Tensor, Tensor]:
    """Nodes z, weights that sum to 1, and the polynomials at the nodes times the weights."""
    z, w = np.polynomial.hermite_e.hermegauss(NODES)
    nodes, weights = torch.from_numpy(z), torch.from_numpy(w / math.sqrt(2.0 * math.pi))
    return nodes, weights, _hermite(nodes) * weights


def _integrated(sigma: Callable[[Tensor], Tensor], s: Tensor) -> Tensor:
    z, _, table = (part.to(s.device) for part in _nodes())
    return sigma(s.double()[:, None] * z) @ table.mT


def _powers(sigma: Callable[[Tensor], Tensor], s: Tensor) -> Tensor:
    z, w, _ = (part.to(s.device) for part in _nodes())
    return sigma(s.double()[:, None] * z).square() @ w


def _biased(s: Tensor, b: float) -> Tensor:
    """c_0 = s pdf(u) + b cdf(u), c_1 = s cdf(u), c_k = s pdf(u) he_{k-2}(-u) / sqrt(k!) with u = b / s: exact."""
    s = s.double()
    safe = s.clamp_min(1e-12)
    u = b / safe
    pdf, cdf = torch.exp(-u * u / 2) / math.sqrt(2.0 * math.pi), 0.5 * torch.erfc(-u / math.sqrt(2.0))
    polynomials = _hermite(-u)
    first = [safe * pdf + b * cdf, safe * cdf]
    rest = [safe * pdf * polynomials[k - 2] / math.sqrt(k * (k - 1)) for k in range(2, TERMS + 1)]
    made = torch.stack([*first, *rest], 1)
    still = torch.zeros_like(made)
    still[:, 0] = max(b, 0.0)
    return torch.where((s > 1e-12)[:, None], made.nan_to_num(), still)


def _biased_power(s: Tensor, b: float) -> Tensor:
    """E relu(s z + b)² = (s² + b²) cdf(u) + s b pdf(u)."""
    s = s.double()
    u = b / s.clamp_min(1e-12)
    pdf, cdf = torch.exp(-u * u / 2) / math.sqrt(2.0 * math.pi), 0.5 * torch.erfc(-u / math.sqrt(2.0))
    return torch.where(s > 1e-12, (s * s + b * b) * cdf + s * b * pdf, torch.full_like(s, max(b, 0.0) ** 2))
