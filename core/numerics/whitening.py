"""Low rank measured at the output: singular values of W weighted by the layer's inputs, and factors that are best
there.

For inputs x (n,) with second moment G = mean of x xᵀ (n, n) and any root R, R Rᵀ = G, the best rank-r A B under the
loss ‖(W - A B) R‖_F is the truncated SVD of W R, and that loss is the root mean square error of the layer's output,
exactly. With U (m, k) its left singular vectors the factors are a projection, A B = U_r U_rᵀ W (derived: on the range
of G it equals (W R)_r R⁺, and no inverse is needed). It also says what happens where G is blind, i.e. on directions
that no calibration input had: the part of W that fits the kept output directions stays as it is, at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.numerics.svd import Spectrum, as_float64, as_tensor, checked_rank, factor_dtype, svd

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from core.numerics.svd import Matrix

ROOT_SIDE = 1024
"""Inputs n up to which the root of G is taken. Above it, if n > m, U comes from the (m, m) matrix W G Wᵀ (chosen: an
eigendecomposition of n = 4608 takes tens of seconds on two cores, that of m = 512 a tenth of one)."""

_EPS = 2.0**-52


class SecondMoment:
    """Running mean of x xᵀ over a layer's inputs, float64, one batch at a time.

    n       inputs of the layer.
    device  where the sum is kept; inputs are moved there. None: the device of the first batch.
    count   inputs seen so far.
    """

    def __init__(self, n: int, device: torch.device | str | None = None) -> None:
        if n < 1:
            raise ValueError(f"a layer has at least one input, got n = {n}")
        self.n = n
        self.count = 0
        self._device = device
        self._sum: Tensor | None = None

    def update(self, X: Tensor) -> None:
        """Adds the inputs X (..., n), any leading shape (samples, tokens, positions). ValueError if the last side is
        not n or an entry is NaN or infinite; the sum is then left as it was."""
        import torch

        if X.ndim < 1 or X.shape[-1] != self.n:
            raise ValueError(f"inputs must have {self.n} features on the last axis, got shape {tuple(X.shape)}")
        rows = X.detach().reshape(-1, self.n).to(device=self._device or X.device, dtype=torch.float64)
        if not rows.numel():
            return
        added = rows.mT @ rows
        if not bool(added.isfinite().all()):
            raise ValueError("the inputs hold NaN or infinite entries, or entries too large to square")
        self._sum = added if self._sum is None else self._sum.to(added.device).add_(added)
        self.count += rows.shape[0]

    @property
    def G(self) -> Tensor:
        """(n, n) mean of x xᵀ, float64, symmetric. ValueError before the first input."""
        if self._sum is None:
            raise ValueError("no inputs seen yet: call update first")
        return self._sum / self.count


def shrink(G: Matrix, a: float) -> Tensor:
    """(1 - a) G + a mean(diag G) I, a in [0, 1]: the second moment G (n, n) drawn towards a scaled identity, so that
    directions a small calibration batch missed still count a little."""
    import torch

    if not 0.0 <= a <= 1.0:
        raise ValueError(f"shrinkage must be in [0, 1], got {a}")
    D = _checked_moment(G)
    return (1.0 - a) * D + a * D.diagonal().mean() * torch.eye(D.shape[0], dtype=D.dtype, device=D.device)


def root(G: Matrix) -> tuple[Tensor, Tensor]:
    """Symmetric root R (n, n) of G (n, n) and its pseudo-inverse: R R = G, R R⁺ = projection on the range of G.

    By `eigh` in float64. Eigenvalues up to n eps times the largest, which is what rounding in G itself leaves of a zero
    (and may make negative), count as null directions, zero in both results."""
    import torch

    D = _checked_moment(G)
    lam, Q = torch.linalg.eigh(D)
    seen = lam > D.shape[0] * _EPS * lam[-1].clamp(min=0.0)
    half = torch.where(seen, lam, 0.0).sqrt()
    inverse = torch.where(seen, 1.0 / torch.where(seen, half, 1.0), 0.0)
    return (Q * half) @ Q.mT, (Q * inverse) @ Q.mT


@dataclass(frozen=True, slots=True, eq=False)
class Whitened:
    """W seen through its inputs: pay once here, then every rank is a slice. Holds tensors, so it stays inside core.

    spectrum  of W R. tail[r] is the output error of rank r: sqrt(mean ‖(W - A B) x‖²) if G is a mean of x xᵀ,
              ‖(W - A B) X‖_F if G = X Xᵀ.
    U         (m, k) float64 left singular vectors of W R. Beyond the rank of W R they go on with those of what is left
              of W, so that rank k gives W back; columns that nothing is left for are zero.
    W         (m, n) the matrix itself, float64.
    dtype     of the factors.
    """

    spectrum: Spectrum
    U: Tensor
    W: Tensor
    dtype: torch.dtype

    def truncate(self, r: int) -> tuple[Tensor, Tensor]:
        """A (m, r), B (r, n) with A B = U_r U_rᵀ W; columns of A and rows of B of equal norm. ValueError unless 0 <= r
        <= k."""
        import torch

        r = checked_rank(self.W, r)
        U = self.U[:, :r]
        B = U.mT @ self.W
        half = B.norm(dim=1).sqrt()
        return (U * half).to(self.dtype), (B / torch.where(half > 0.0, half, 1.0)[:, None]).to(self.dtype)


def whiten(W: Matrix, G: Matrix) -> Whitened:
    """The whitened spectrum of W (m, n) for inputs with second moment G (n, n), and what its factors are made of.

    Values below about 1e-8 of the first are limited by G itself, whose entries are products: they may be zero or noise.
    Source: SVD-LLM (Wang et al. 2024), with a symmetric root in place of its Cholesky factor, so that a singular G is
    fine. ValueError if either holds NaN or infinity, or the shapes disagree."""
    import torch

    W = as_tensor(W)
    D, G = as_float64(W), _checked_moment(G)
    m, n = D.shape
    if G.shape[0] != n:
        raise ValueError(f"W has {n} inputs but the second moment is {tuple(G.shape)}")
    G = G.to(D.device)
    if n <= ROOT_SIDE or n <= m:
        U, S, _ = svd(D @ root(G)[0])
        S = torch.where(S > n * _EPS * S[0], S, 0.0)
    else:
        lam, U = torch.linalg.eigh(D @ G @ D.mT)
        lam, U = lam.flip(0), U.flip(1)
        S = torch.where(lam > n * _EPS * lam[0].clamp(min=0.0), lam, 0.0).sqrt()
    return Whitened(Spectrum.from_values(m, n, S.cpu().numpy()), _completed(D, U, S), D, factor_dtype(W))


def truncate_whitened(W: Matrix, G: Matrix, r: int) -> tuple[Tensor, Tensor]:
    """A (m, r), B (r, n) that minimise ‖(W - A B) X‖_F over all factors of rank r, for G = X Xᵀ (n, n) or any multiple.

    The minimum is `whiten(W, G).spectrum.tail[r]`; r = min(m, n) gives W back, also where G is singular. In W's dtype
    if it is a floating one, else torch's default. ValueError unless 0 <= r <= min(m, n), and as `whiten`."""
    W = as_tensor(W)
    checked_rank(W, r)
    return whiten(W, G).truncate(r)


def _completed(W: Tensor, U: Tensor, S: Tensor) -> Tensor:
    """U (m, k) with the columns of zero S replaced by the left singular vectors of (I - U Uᵀ) W, zero where that has
    none."""
    import torch

    q = int(torch.count_nonzero(S))
    if q == S.shape[0]:
        return U
    kept = U[:, :q]
    left = W - kept @ (kept.mT @ W)
    U_left, S_left, _ = svd(left)
    noise = max(W.shape) * _EPS * W.norm()
    return torch.cat([kept, torch.where(S_left > noise, U_left, 0.0)[:, : S.shape[0] - q]], dim=1)


def _checked_moment(G: Matrix) -> Tensor:
    """G (n, n) as float64. ValueError unless it is square, finite and symmetric to rounding."""
    D = as_float64(G)
    if D.shape[0] != D.shape[1] or float((D - D.mT).abs().max()) > 1e-6 * float(D.abs().max()):
        raise ValueError(f"a second moment is a symmetric n x n matrix; this one, {tuple(D.shape)}, is not")
    return D
