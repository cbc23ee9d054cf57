"""Factors fitted to what a layer should put out, from second moments alone.

A layer sees inputs X (n, samples) and should give Y (m, samples). With G = X Xᵀ and C = Y Xᵀ the squared error of a
matrix M is ‖Y - M X‖² = tr(M G Mᵀ) - 2 tr(M Cᵀ) + ‖Y‖², so nothing but G (n, n) and C (m, n) has to be kept.

Every factorised form is one structure. Split the columns of M into `taps` t of q columns each, M_t (m, q); then
M_t = A_t B with one B (r, q) shared by all taps:

    form                       taps      q          B                A_t
    Linear; k x k, then 1 x 1  1         n          k x k, c -> r    1 x 1, r -> o
    k x 1, then 1 x k          kw        c*kh       k x 1, c -> r    column t of the 1 x k, r -> o
    1 x 1, then k x k          kh*kw     c          1 x 1, c -> r    offset t of the k x k, r -> o

Source: derived; for one tap it is reduced-rank regression (Izenman 1975), whose optimum is the truncated whitened SVD
of the least-squares M.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ALTERNATIONS = 2
"""Least-squares rounds for more than one tap (chosen: on ResNet-20 the first gives nearly all, the second some)."""

CONJUGATE_STEPS = 12
"""Preconditioned conjugate-gradient steps for B in a round (chosen: the error changes by under 1 % beyond)."""

RIDGE = 1e-4
"""Pull towards the original weight, in units of the mean diagonal of G (chosen as in the prototype)."""

_NOTHING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What a layer should do: the best unrestricted matrix M (m, n) and the metric G (n, n) of its inputs, float64."""

    M: Tensor
    G: Tensor

    def error(self, M: Tensor) -> float:
        """√(tr((M - M*) G (M - M*)ᵀ) / tr(M* G M*ᵀ)): relative root mean square error of the outputs, 0 if M* is 0."""
        size = float(((self.M @ self.G) * self.M).sum())
        D = M.to(self.M) - self.M
        return math.sqrt(max(float(((D @ self.G) * D).sum()), 0.0) / size) if size > 0.0 else 0.0


def target(W: Tensor, G: Tensor, C: Tensor | None = None, ridge: float = RIDGE) -> Target:
    """argmin over M of ‖Y - M X‖² + a ‖M - W‖², a = ridge * mean(diag G), with the metric G + a I.

    W (m, n), G = X Xᵀ (n, n), C = Y Xᵀ (m, n) up to one common factor; C None means Y = W X, so M = W."""
    W, G = W.double(), G.double()
    a = ridge * float(G.diagonal().mean()) + _NOTHING
    damped = G + a * torch.eye(G.shape[0], dtype=G.dtype, device=G.device)
    if C is None:
        return Target(W, damped)
    return Target(torch.linalg.solve(damped, (C.double() + a * W).mT).mT, damped)


def taps(channels: int, kernel: tuple[int, ...], unfolding: str) -> Tensor:
    """(taps, q) column indices of the rows-unfolding (c, *kernel) of a weight, as in the table above.

    unfolding  of `numerics.conv`: "rows", "columns" or "spatial"."""
    index = torch.arange(channels * math.prod(kernel)).view(channels, *kernel)
    if unfolding == "rows" or not kernel:
        return index.reshape(1, -1)
    if unfolding == "spatial":
        return index.permute(2, 0, 1).reshape(kernel[1], -1)
    return index.movedim(0, -1).reshape(-1, channels)


class Fitter:
    """Fits factors of any rank to one goal; what does not depend on the rank is made once.

    P (taps, q) from `taps`. `fit(r)` gives A (taps, m, r) and B (r, q) that minimise ‖M* - M‖_G over M_t = A_t B."""

    def __init__(self, goal: Target, P: Tensor) -> None:
        self.goal = goal
        self.P = P.to(goal.M.device)
        self.highest = min(P.shape[0] * goal.M.shape[0], P.shape[1])
        columns = self.P
        self.blocks = goal.G[columns[:, None, :, None], columns[None, :, None, :]]  # (taps, taps, q, q)
        self.mean = self.blocks.diagonal(dim1=0, dim2=1).mean(-1)
        lam, Q = torch.linalg.eigh(self.mean)
        half = lam.clamp_min(_NOTHING * float(lam[-1].clamp_min(_NOTHING))).sqrt()
        stacked = torch.cat([goal.M[:, tap] for tap in columns])
        _, _, Vh = torch.linalg.svd((stacked @ Q) * half, full_matrices=False)
        self.start = (Vh / half) @ Q.mT

    def fit(self, r: int, rounds: int = ALTERNATIONS) -> tuple[Tensor, Tensor]:
        """One tap: exact. More: B starts from the SVD of the stacked taps, whitened by their mean metric, and then A
        (exact) and B (conjugate gradients) alternate, neither raising the error. ValueError unless 1 <= r <= highest.
        """
        if not 1 <= r <= self.highest:
            raise ValueError(f"rank must be in 1..{self.highest}, got {r}")
        B = self.start[:r]
        A = _outer(self.goal, self.P, B)
        for _ in range(rounds if self.P.shape[0] > 1 else 0):
            B = _orthogonal(_inner(self, A, B))
            A = _outer(self.goal, self.P, B)
        return _balanced(A, B)

    def error(self, r: int, rounds: int = 1) -> float:
        """Relative root mean square error of the outputs at rank r."""
        A, B = self.fit(r, rounds)
        return self.goal.error(assemble(A, B, self.P))


def fit_factors(goal: Target, P: Tensor, r: int, rounds: int = ALTERNATIONS) -> tuple[Tensor, Tensor]:
    """A (taps, m, r) and B (r, q) for one rank; `Fitter` says how."""
    return Fitter(goal, P).fit(r, rounds)


def assemble(A: Tensor, B: Tensor, P: Tensor) -> Tensor:
    """The matrix (m, n) with columns M[:, P[t]] = A_t B."""
    M = A.new_zeros(A.shape[1], P.numel())
    for t, columns in enumerate(P):
        M[:, columns] = A[t] @ B
    return M


def fit_masked(goal: Target, mask: Tensor, steps: int = 50) -> Tensor:
    """M (m, n), zero outside `mask` (m, n bool), that minimises ‖M* - M‖_G; conjugate gradients on all rows at once,
    each with its own step length, from M* restricted to the mask."""
    keep = mask.to(goal.M)
    M = goal.M * keep
    res = ((goal.M - M) @ goal.G) * keep
    D = goal.G.diagonal().clamp_min(_NOTHING)
    z = res / D
    p, rz = z, (res * z).sum(1, keepdim=True)
    for _ in range(steps):
        Gp = (p @ goal.G) * keep
        step = rz / (p * Gp).sum(1, keepdim=True).clamp_min(1e-300)
        M, res = M + step * p, res - step * Gp
        z = res / D
        rz, old = (res * z).sum(1, keepdim=True), rz
        p = z + rz / old.clamp_min(1e-300) * p
    return M


def _outer(goal: Target, P: Tensor, B: Tensor) -> Tensor:
    """The best A (T, m, r) for B: least squares on the r*T inner outputs H = T_B X."""
    T, _q = P.shape
    r = B.shape[0]
    lift = B.new_zeros(T * r, goal.G.shape[0])
    for t, columns in enumerate(P):
        lift[t * r : (t + 1) * r, columns] = B
    HX = lift @ goal.G
    H = HX @ lift.mT
    H = H + _NOTHING * float(H.diagonal().mean()) * torch.eye(T * r, dtype=H.dtype, device=H.device)
    right = HX @ goal.M.mT
    flat: Tensor = torch.linalg.lstsq(H, right).solution if _singular(H) else torch.linalg.solve(H, right)
    return flat.mT.reshape(goal.M.shape[0], T, r).movedim(1, 0)


def _inner(fitter: Fitter, A: Tensor, B: Tensor) -> Tensor:
    """A better B (r, q) for A: Σ_ts (A_tᵀ A_s) B G_st = Σ_t A_tᵀ (M G)_t by preconditioned conjugate gradients."""
    goal, P, blocks, mean = fitter.goal, fitter.P, fitter.blocks, fitter.mean
    K = torch.einsum("tor,sou->tsru", A, A)
    MG = (goal.M @ goal.G)[:, P].movedim(1, 0)
    right = torch.einsum("tor,toq->rq", A, MG)

    def normal(X: Tensor) -> Tensor:
        return torch.einsum("tsru,uq,stqp->rp", K, X, blocks)

    Kp = K.diagonal(dim1=0, dim2=1).mean(-1)
    left = torch.linalg.cholesky(_lifted(Kp))
    inner = torch.linalg.cholesky(_lifted(mean))

    def precondition(X: Tensor) -> Tensor:
        return torch.cholesky_solve(torch.cholesky_solve(X, left).mT, inner).mT

    res = right - normal(B)
    z = precondition(res)
    p, rz = z, (res * z).sum()
    for _ in range(CONJUGATE_STEPS):
        Np = normal(p)
        bent = (p * Np).sum()
        if float(bent) <= 0.0 or float(rz) <= 0.0:
            break
        B, res = B + rz / bent * p, res - rz / bent * Np
        z = precondition(res)
        rz, old = (res * z).sum(), rz
        p = z + rz / old * p
    return B


def _lifted(K: Tensor) -> Tensor:
    """K with a trace of its mean diagonal added, so that a Cholesky factor exists."""
    return K + (1e-10 * float(K.diagonal().mean()) + 1e-300) * torch.eye(K.shape[0], dtype=K.dtype, device=K.device)


def _singular(H: Tensor) -> bool:
    _, info = torch.linalg.cholesky_ex(H)
    return bool(info != 0)


def _orthogonal(B: Tensor) -> Tensor:
    Q: Tensor = torch.linalg.qr(B.mT)[0]
    return Q.mT


def _balanced(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """The same products with columns of A (over all taps) and rows of B of equal norm."""
    a, b = A.pow(2).sum((0, 1)).sqrt(), B.norm(dim=1)
    scale = torch.where((a > 0) & (b > 0), (b / a.clamp_min(1e-300)).sqrt(), 1.0)
    return A * scale, B / scale[:, None]
