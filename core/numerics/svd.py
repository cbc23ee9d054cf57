"""Singular values of a matrix, what each rank loses, and the best approximation of a given rank.

Letters: W (m, n) = (outputs, inputs); k = min(m, n); S (k,) non-increasing, never squared; U (m, k) columns; Vh (k, n)
rows.

Values come from the smaller Gram matrix in float64 (`eigvalsh` of W Wᵀ or Wᵀ W), several times cheaper than an SVD.
An eigenvalue of the Gram matrix is uncertain by about eps S_1², so a value S_i read from it is uncertain by
eps S_1² / (2 S_i): below 1e-14 S_1 for S_i > 1e-2 S_1, but 1e-8 S_1 near zero. Whenever the smallest value is under
`GRAM_FLOOR` S_1 the matrix is therefore decomposed directly, and every value is good to about 1e-10 S_1 or better.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch
    from torch import Tensor

    Matrix = Tensor | npt.NDArray[Any] | Sequence[Sequence[float]]

GRAM_FLOOR = 1e-6
"""Least S_k / S_1 for which the Gram matrix is trusted (chosen: eps / (2 * 1e-6) is 1e-10)."""

_OWN_THREAD = 2048
"""Largest min(m, n) decomposed by one thread when there are several matrices (chosen: larger ones use all threads)."""

_BATCH_BYTES = 2**30
"""Most float64 bytes of equally shaped matrices held at once on an accelerator (chosen)."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """All singular values of one (m, n) matrix and the norm of what each rank loses. Plain numbers, no tensors.

    m, n    shape: outputs, inputs.
    S       (k,) singular values, k = min(m, n), non-increasing, in the units of W.
    tail    (k + 1,) tail[r] = sqrt(sum of S_i² for i >= r), the Frobenius norm of W minus its best rank-r approximation
            (Eckart-Young-Mirsky); summed from the small end, so small tails keep their digits; tail[k] = 0.
    """

    m: int
    n: int
    S: tuple[float, ...]
    tail: tuple[float, ...]

    @classmethod
    def from_values(cls, m: int, n: int, S: Iterable[float]) -> Spectrum:
        """The record for known singular values S (k,). ValueError unless k = min(m, n) >= 1 and S is finite,
        non-negative and non-increasing."""
        values = np.asarray(S if isinstance(S, np.ndarray) else tuple(S), dtype=np.float64)
        if min(m, n) < 1 or values.shape != (min(m, n),):
            raise ValueError(f"a {m} x {n} matrix has {min(m, n)} singular values, got shape {values.shape}")
        if not np.isfinite(values).all() or values[-1] < 0.0 or (np.diff(values) > 0.0).any():
            raise ValueError("singular values must be finite, non-negative and non-increasing")
        scale = float(values[0]) or 1.0  # squares of very small or very large values stay in range
        tail = np.zeros(values.size + 1)
        tail[:-1] = scale * np.sqrt(np.cumsum(np.square(values / scale)[::-1])[::-1])
        return cls(int(m), int(n), tuple(values.tolist()), tuple(tail.tolist()))

    @property
    def k(self) -> int:
        """min(m, n), the largest possible rank."""
        return len(self.S)

    def error(self, r: int) -> float:
        """Relative Frobenius error of the best rank-r approximation, ‖W - W_r‖_F / ‖W‖_F, in [0, 1]; 0 for a zero
        matrix. ValueError unless 0 <= r <= k."""
        if not 0 <= r <= len(self.S):
            raise ValueError(f"rank must be in 0..{len(self.S)}, got {r}")
        return self.tail[r] / self.tail[0] if self.tail[0] else 0.0

    def energy(self, r: int) -> float:
        """Share of ‖W‖_F² kept at rank r, sum of the r largest S_i² over all of them, in [0, 1]; 1 for a zero matrix.
        ValueError unless 0 <= r <= k."""
        return 1.0 - self.error(r) ** 2

    @property
    def stable_rank(self) -> float:
        """‖W‖_F² / ‖W‖_2², in [1, k]; 0 for a zero matrix."""
        return (self.tail[0] / self.S[0]) ** 2 if self.S[0] else 0.0

    @property
    def entropy_rank(self) -> float:
        """exp(-sum q ln q), q = S / sum S, in [1, k]; 0 for a zero matrix. Source: Roy and Vetterli 2007."""
        total = math.fsum(self.S)
        return math.exp(-math.fsum(q * math.log(q) for s in self.S if (q := s / total) > 0.0)) if total else 0.0


def as_tensor(W: Matrix) -> Tensor:
    """W itself if it is a tensor; anything else that numpy can read as numbers as a tensor of its own, with numpy's
    dtype: Python's floats stay float64."""
    import torch

    return W if isinstance(W, torch.Tensor) else torch.from_numpy(np.array(W))  # a copy: W may be read-only


def as_float64(W: Matrix) -> Tensor:
    """W (m, n), of any real dtype, as a detached float64 matrix on the same device.

    ValueError if W is not two-dimensional, is empty, is complex, or holds NaN or infinity."""
    import torch

    W = as_tensor(W)
    if W.ndim != 2 or W.numel() == 0:
        raise ValueError(f"a spectrum needs a matrix with at least one entry, got shape {tuple(W.shape)}")
    if W.is_complex():
        raise ValueError(f"a spectrum needs real entries, got {W.dtype}")
    D = W.detach().to(torch.float64)
    least, most = torch.aminmax(D)
    if not (math.isfinite(float(least)) and math.isfinite(float(most))):
        bad_nan, bad_inf = int(D.isnan().sum()), int(D.isinf().sum())
        raise ValueError(f"the matrix holds {bad_nan} NaN and {bad_inf} infinite entries out of {D.numel()}")
    return D


def spectrum(W: Matrix, exact: bool = False) -> Spectrum:
    """All singular values of W (m, n): a tensor, an array or rows, of any real dtype, computed in float64 where W lies.

    By default from the smaller Gram matrix, with the direct SVD only where squaring would cost digits (see the top of
    this file); exact=True always takes `torch.linalg.svdvals`, good to eps S_1 everywhere.
    ValueError if W is not a non-empty matrix or holds NaN or infinity."""
    D = as_float64(W)
    values = _direct_values(D) if exact else _gram_values([D])[0]
    return Spectrum.from_values(D.shape[0], D.shape[1], values)


def spectra(matrices: Sequence[Matrix], device: torch.device | str | None = None) -> list[Spectrum]:
    """`spectrum` of each matrix, in the given order.

    device: where to compute. None: where each matrix lies; "auto": the CUDA device if there is one, else None; or a
    name. On an accelerator the Gram matrices of equally shaped W are decomposed together. On a CPU batches only lose,
    and so do several threads on one small matrix: each of torch's threads takes matrices of its own. While that runs,
    torch's number of threads is 1 for the whole process. ValueError as `spectrum`, with the position of the matrix."""
    import torch

    tensors = [as_tensor(W) for W in matrices]

    def values(members: Sequence[int], where: torch.device) -> list[Tensor]:
        stack = []
        for i in members:
            try:
                stack.append(as_float64(tensors[i].to(where)))
            except ValueError as error:
                raise ValueError(f"matrix {i}: {error}") from None
        return _gram_values(stack)

    found: dict[int, Tensor] = {}
    alone: list[int] = []
    for where, members in _batches(tensors, device):
        if where.type == "cpu":
            alone += members
        else:
            found.update(zip(members, values(members, where), strict=True))
    cpu, threads = torch.device("cpu"), torch.get_num_threads()
    shared = [i for i in alone if threads > 1 and min(tensors[i].shape, default=0) <= _OWN_THREAD]
    if len(shared) > 1:
        shared.sort(key=lambda i: -tensors[i].numel())  # the longest first, so that all threads end together
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(min(threads, len(shared))) as pool:
                found.update(zip(shared, (S[0] for S in pool.map(lambda i: values([i], cpu), shared)), strict=True))
        finally:
            torch.set_num_threads(threads)
    for i in alone:
        if i not in found:
            found[i] = values([i], cpu)[0]
    return [Spectrum.from_values(W.shape[0], W.shape[1], found[i]) for i, W in enumerate(tensors)]


def svd(W: Matrix) -> tuple[Tensor, Tensor, Tensor]:
    """Economy SVD in float64, W = (U * S) @ Vh: U (m, k), S (k,), Vh (k, n). Decomposed standing tall, because LAPACK
    is several times slower on wide matrices. ValueError as `spectrum`."""
    import torch

    D = as_float64(W)
    if D.shape[0] >= D.shape[1]:
        U, S, Vh = torch.linalg.svd(D, full_matrices=False)
        return U, S, Vh
    U, S, Vh = torch.linalg.svd(D.mT, full_matrices=False)
    return Vh.mT, S, U.mT


def truncate(W: Matrix, r: int) -> tuple[Tensor, Tensor]:
    """Balanced factors A (m, r), B (r, n) of the best rank-r approximation A @ B of W in Frobenius norm:
    A = U_r sqrt(S_r), B = sqrt(S_r) Vh_r. In W's dtype if it is a floating one, else torch's default dtype.
    Source: Eckart-Young-Mirsky. ValueError unless 0 <= r <= min(m, n), and as `spectrum`."""
    W = as_tensor(W)
    r = checked_rank(W, r)
    U, S, Vh = svd(W)
    root = S[:r].sqrt()
    return (U[:, :r] * root).to(factor_dtype(W)), (root[:, None] * Vh[:r]).to(factor_dtype(W))


def checked_rank(W: Tensor, r: int, least: int = 0) -> int:
    """r as an int. ValueError unless least <= r <= min(m, n); TypeError if it is not an integer."""
    r = operator.index(r)
    if not least <= r <= min(W.shape):
        raise ValueError(f"rank must be in {least}..{min(W.shape)} for a {W.shape[0]} x {W.shape[1]} matrix, got {r}")
    return r


def factor_dtype(W: Tensor) -> torch.dtype:
    """The dtype in which factors of W are returned: its own if floating, else torch's default."""
    import torch

    return W.dtype if W.is_floating_point() else torch.get_default_dtype()


def _batches(matrices: Sequence[Tensor], device: torch.device | str | None) -> Iterator[tuple[torch.device, list[int]]]:
    """(device, positions) of the matrices that are decomposed together."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else None
    groups: dict[tuple[torch.device, torch.Size], list[int]] = {}
    for i, W in enumerate(matrices):
        where = W.device if device is None else torch.device(device)
        if where.type == "cpu":
            yield where, [i]
        else:
            groups.setdefault((where, W.shape), []).append(i)
    for (where, shape), members in groups.items():
        most = max(1, _BATCH_BYTES // (8 * max(1, shape.numel())))
        for start in range(0, len(members), most):
            yield where, members[start : start + most]


def _gram_values(stack: Sequence[Tensor]) -> list[Tensor]:
    """(k,) values of each float64 matrix of one shape, non-increasing, on the CPU."""
    import torch

    grams, scales = [], []
    for D in stack:
        scale = _scale(D)
        if scale != 1.0:
            D = D * scale
        scales.append(scale)
        grams.append(D.mT @ D if D.shape[0] >= D.shape[1] else D @ D.mT)
    lam = torch.linalg.eigvalsh(grams[0] if len(grams) == 1 else torch.stack(grams))
    values = list(lam.reshape(len(grams), -1).flip(-1).clamp(min=0.0).sqrt().cpu())
    for i, S in enumerate(values):
        if 0.0 < float(S[0]) and float(S[-1]) < GRAM_FLOOR * float(S[0]):
            values[i] = _direct_values(stack[i])
        else:
            values[i] = S / scales[i]
    return values


def _direct_values(D: Tensor) -> Tensor:
    """(k,) singular values of a float64 matrix from the SVD itself, on the CPU."""
    import torch

    S: Tensor = torch.linalg.svdvals(D if D.shape[0] >= D.shape[1] else D.mT)
    return S.cpu()


def _scale(D: Tensor) -> float:
    """1, or the power of two that brings D near 1 if squares of its entries would leave the range of float64."""
    import torch

    least, most = torch.aminmax(D)
    exponent = math.frexp(max(-float(least), float(most)))[1]
    return 1.0 if abs(exponent) < 400 else 2.0 ** -max(-1000, min(1000, exponent))
