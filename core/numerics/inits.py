"""Low-rank factors to start a layer from: W (m, d) ~ A B, A (m, r), B (r, d), balanced.

    spectral    truncated SVD of W
    rescaled    its rows scaled to the norm that is best for the objective, see `core.numerics.relu`
    nkp         the row space of `core.numerics.nkp.project`, rows scaled so
    nkp-subset  the span of the singular vectors that serve best, rows scaled so
    sampled     the expected loss brought down by Adam on fresh Gaussian inputs, from rescaled
    whitened    best for inputs of second moment C, rows scaled so
    orthogonal  W forgotten: a random matrix with equal singular values, of W's norm times sqrt(r / min(m, d))
    kaiming     W forgotten: both factors Gaussian, so that the product has rows of He's variance 2 / d on average

Balanced: A and B have equal singular values, those of the product's square root. Sources: spectral initialisation as
in Khodak et al. 2021; He et al. 2015; the aim of nkp and sampled is that of Vodrahalli et al., arXiv 2202.00834, the
algorithms are ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from core.numerics import hermite, nkp, relu
from core.numerics.relu import SCALES, Objectives, objective
from core.numerics.svd import as_float64, as_tensor, checked_rank, factor_dtype, svd

METHODS = ("spectral", "rescaled", "nkp", "nkp-subset", "sampled", "whitened", "orthogonal", "kaiming")

SAMPLED_STEPS, SAMPLED_BATCH, SAMPLED_RATE = 500, 512, 1e-3
"""Of "sampled": Adam, its rate falling to 0 by a cosine (chosen: where more no longer helped on 128 x 64)."""

FLOOR = 1e-4
"""Eigenvalues of a second moment count as at least this share of their mean, for "whitened" (chosen)."""

Factors = tuple[Tensor, Tensor]


def lowrank_init(
    W: Tensor,
    r: int,
    method: str = "rescaled",
    objective: Objectives = "relu",
    scale: str = "optimal",
    seed: int = 0,
    *,
    gamma: Tensor | None = None,
    C: Tensor | None = None,
) -> Factors:
    """A (m, r), B (r, d) of `method`, in W's type and on its device.

    objective  what follows the layer: of `relu`, or an activation of `hermite` for "spectral" and "rescaled". scale  of
    the rows, of `relu.SCALES`; "spectral", "orthogonal" and "kaiming" have none, and with "bn" rows keep the norm of
    W's. gamma (m,)  BatchNorm's scales, for "bn". C (d, d)  second moment of the inputs, for "whitened". seed  of what
    is random. A zero row of W stays zero.

    ValueError for an unknown method, objective or scale, a rank outside 1..min(m, d), values that are not finite, or
    "whitened" without C."""
    if method not in METHODS:
        raise ValueError(f"a method is one of {', '.join(METHODS)}, got {method!r}")
    if scale not in SCALES:
        raise ValueError(f"a scale is one of {SCALES}, got {scale!r}")
    D = as_float64(W)
    r = checked_rank(D, r, 1)
    if method in ("orthogonal", "kaiming"):
        made = _forgetful(D, r, method, seed)
    elif method == "whitened":
        if C is None:
            raise ValueError('"whitened" needs the second moment C of the inputs')
        made = _whitened(D, r, C, objective, scale)
    elif method == "sampled":
        made = _sampled(D, r, objective, scale, seed, gamma)
    elif _expanded(objective):
        if method not in ("spectral", "rescaled"):
            raise ValueError(f"under {objective} there are spectral and rescaled, got {method!r}")
        made = _projected(D, row_space(D, r, method, "linear"), objective, scale, method == "spectral")
    else:
        made = _projected(D, row_space(D, r, method, objective, seed, gamma), objective, scale, method == "spectral")
    kind = factor_dtype(as_tensor(W))
    return made[0].to(kind), made[1].to(kind)


def function_loss(W: Tensor, Y: Tensor, by: Objectives, gamma: Tensor | None = None) -> float:
    """`relu.layer_loss` or `hermite.layer_loss`, whichever knows what follows the layer."""
    return hermite.layer_loss(W, Y, str(by)) if _expanded(by) else relu.layer_loss(W, Y, by, gamma)


def row_space(D: Tensor, r: int, method: str, by: Objectives, seed: int = 0, gamma: Tensor | None = None) -> Tensor:
    """Q (d, r) float64, an orthonormal basis of the rows that a method of this file keeps of D."""
    if method == "nkp":
        return nkp.project(D, r, by, gamma, seed=seed).Q
    free = objective(by).scale_free and method != "spectral"
    norms = D.norm(dim=1, keepdim=True)
    rows = torch.where(norms > 0, D / norms.clamp_min(1e-300), D) if free else D
    if free and gamma is not None:
        rows = rows * gamma.double().to(rows).abs()[:, None]
    _, _, Vh = svd(rows)
    if method == "nkp-subset":
        return Vh[list(nkp.chosen_vectors(D, r, by, gamma))].mT
    return Vh[:r].mT


def balanced(A: Tensor, Q: Tensor) -> Factors:
    """A (m, r) times Qᵀ, Q (d, r) orthonormal, as factors of equal singular values."""
    U, S, Vh = svd(A)
    root = S.sqrt()
    return U * root, root[:, None] * (Vh @ Q.mT)


def row_rescale(W: Tensor, Y: Tensor, by: Objectives = "relu") -> Tensor:
    """Y (m, d) with every row at the norm that is best for the objective, given its angle to W's: of any approximation,
    pruned, quantised or factored. Rows of W or Y that are zero stay as they are. Never worse by `relu.layer_loss`.

    by  also an activation of `hermite`. ValueError for "bn", where norms do not matter, other shapes, or values that
    are not finite."""
    D, E = as_float64(W), as_float64(Y)
    if _scale_free(by):
        raise ValueError("behind BatchNorm the norm of a row does not matter, so there is nothing to rescale")
    if D.shape != E.shape:
        raise ValueError(f"W and Y have one shape, got {tuple(D.shape)} and {tuple(E.shape)}")
    a, b = D.norm(dim=1), E.norm(dim=1)
    alive = (a > 0) & (b > 0)
    rho = ((D * E).sum(1) / (a * b).clamp_min(1e-300)).clamp(-1.0, 1.0)
    scale = torch.where(alive, _norms(by, a, rho).clamp_min(0.0) / b.clamp_min(1e-300), torch.ones_like(a))
    return (E * scale[:, None]).to(as_tensor(Y).dtype)


def data_rescale(W: Tensor, Y: Tensor, X: Tensor, slope: float = 0.0, X_new: Tensor | None = None) -> Tensor:
    """(m,) by which to multiply the rows of Y (m, d): the least-squares fit of relu(Y x) to relu(W x) over inputs X
    (n, d), row by row; leaky with `slope`. X_new  what reaches Y instead, in a network whose earlier layers have
    changed (sequential). 1 for a row that gives nothing. Never negative, so that it stays before the ReLU."""

    def outputs(M: Tensor, inputs: Tensor) -> Tensor:
        z = as_float64(inputs) @ as_float64(M).mT
        return torch.where(z > 0, z, slope * z)

    wanted, given = outputs(W, X), outputs(Y, X if X_new is None else X_new)
    whole = given.square().sum(0)
    fit = ((wanted * given).sum(0) / whole.clamp_min(1e-300)).clamp_min(0.0)
    return torch.where(whole > 0, fit, torch.ones_like(fit))


def _expanded(by: Objectives) -> bool:
    """Whether what follows is an activation of `hermite`."""
    return isinstance(by, str) and (by in hermite.SMOOTH or by.startswith(("relu+", "relu-")))


def _scale_free(by: Objectives) -> bool:
    return not _expanded(by) and objective(by).scale_free


def _norms(by: Objectives, a: Tensor, rho: Tensor) -> Tensor:
    """(m,) the best norms of rows at cosines rho to rows of norms a."""
    return hermite.best_norms(str(by), a, rho) if _expanded(by) else a * objective(by).kernel(rho)


def _projected(D: Tensor, Q: Tensor, by: Objectives, scale: str, plain: bool) -> Factors:
    """Rows projected on the span of Q, at their norms. A row at a right angle to it takes its first direction."""
    P, a = D @ Q, D.norm(dim=1)
    p = P.norm(dim=1)
    free = _scale_free(by)
    if plain or (scale == "none" and not free):
        return balanced(P, Q)
    lost = (p <= 1e-14 * a) & (a > 0)
    rho = (p / a.clamp_min(1e-300)).clamp(0.0, 1.0)
    norms = a if free or scale == "norm" else _norms(by, a, rho)
    first = torch.zeros_like(P)
    first[:, 0] = 1.0
    unit = torch.where(lost[:, None], first, P / p.clamp_min(1e-300)[:, None])
    return balanced(norms[:, None] * unit, Q)


def _whitened(D: Tensor, r: int, C: Tensor, by: Objectives, scale: str) -> Factors:
    """In the coordinates in which inputs of second moment C are white, and back."""
    lam, V = torch.linalg.eigh(as_float64(C).to(D))
    if D.shape[1] != len(lam):
        raise ValueError(f"C is (d, d) for inputs of d = {D.shape[1]}, got {tuple(C.shape)}")
    lam = lam.clamp_min(FLOOR * float(lam.clamp_min(0.0).mean()) or 1.0)
    R, back = (V * lam.sqrt()) @ V.mT, (V / lam.sqrt()) @ V.mT
    A, B = _projected(D @ R, row_space(D @ R, r, "rescaled", by), by, scale, False)
    Q, T = torch.linalg.qr((B @ back).mT)
    return balanced(A @ T.mT, Q)


def _sampled(D: Tensor, r: int, by: Objectives, scale: str, seed: int, gamma: Tensor | None) -> Factors:
    """Adam on fresh Gaussian inputs from the rescaled start, its result kept only if the expected loss is lower."""
    how = objective(by)
    if how.name not in ("relu", "linear"):
        raise ValueError(f'"sampled" is for the objectives relu and linear, got {how.name!r}')
    A, B = (part.clone() for part in _projected(D, row_space(D, r, "rescaled", by), by, scale, False))
    start = relu.layer_loss(D, A @ B, by)
    norm = math.sqrt(float(D.square().sum()) or 1.0)
    parts = [(part / math.sqrt(norm)).requires_grad_() for part in (A, B)]
    target, random = D / norm, torch.Generator().manual_seed(seed)
    made = torch.optim.Adam(parts, lr=SAMPLED_RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(made, SAMPLED_STEPS)
    with torch.enable_grad():
        for _ in range(SAMPLED_STEPS):
            x = torch.randn(SAMPLED_BATCH, D.shape[1], generator=random, dtype=torch.float64).to(D)
            found, wanted = (x @ parts[1].mT) @ parts[0].mT, x @ target.mT
            if how.name == "relu":
                found, wanted = found.relu(), wanted.relu()
            loss = (found - wanted).square().sum(1).mean()
            made.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            made.step()
            falling.step()
    new = [part.detach() * math.sqrt(norm) for part in parts]
    if relu.layer_loss(D, new[0] @ new[1], by) >= start:
        return A, B
    Q, T = torch.linalg.qr(new[1].mT)
    return balanced(new[0] @ T.mT, Q)


def _forgetful(D: Tensor, r: int, method: str, seed: int) -> Factors:
    m, d = D.shape
    random = torch.Generator().manual_seed(seed)
    A, B = (torch.randn(*side, generator=random, dtype=torch.float64).to(D) for side in ((m, r), (r, d)))
    if method == "kaiming":
        return A * (2.0 / (r * d)) ** 0.25, B * (2.0 / (r * d)) ** 0.25
    size = math.sqrt(float(D.square().sum()) / min(m, d))
    U, V = torch.linalg.qr(A).Q, torch.linalg.qr(B.mT).Q
    return U * math.sqrt(size), V.mT * math.sqrt(size)
