"""A matrix as low rank + sparse: W ~ A B + S, with A B of rank r and S of q entries; and every such pair of one budget.

Two projections alternate, each the best possible for the other part, so the Frobenius error never rises: A B is the
truncated SVD of W - S, then S the q entries of largest magnitude of W - A B. Which local minimum is reached depends on
where they start, so both plain starts are tried for a round, S = 0 and S = the largest entries of W, and the better one
goes on. The result is therefore never worse than rank r alone, nor than q entries alone.

Source: the alternating scheme is that of GoDec (Zhou and Tao, ICML 2011), with exact projections. The two starts and
the budget are derived.

Letters: W (..., m, n), any number of leading sides, each matrix on its own; k = min(m, n); r rank 0..k; q 0..m n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ROUNDS = 100
"""Most rounds after the first (chosen: layers of the demos stop after 10 to 25)."""

GAIN = 2e-3
"""A round that lowers no error by more than this share of it is the last (chosen: a twentieth of it lowered the error
of the demos' layers by 1 to 2 % of itself, for two to three times the rounds)."""

EXACT = 1e-13
"""Relative error at which there is nothing left to find: rounding in float64."""

RANKS = 24
"""Most ranks of a budget that are tried (chosen: a curve needs no more)."""

Pair = tuple[int, int]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """W ~ A B + S: A (..., m, r), B (..., r, n), S (..., m, n) with at most q entries that are not zero; in float64.

    errors  (rounds, ...) relative Frobenius error after every round, never rising; 0 for a zero matrix."""

    A: Tensor
    B: Tensor
    S: Tensor
    errors: Tensor


def decompose(W: Tensor, r: int, q: int, gain: float = GAIN) -> Split:
    """W (..., m, n) as rank r and q entries each. Nothing is drawn: equal W give equal results on one device.

    ValueError unless 0 <= r <= k and 0 <= q <= m n, and if W holds NaN or infinity."""
    import torch

    m, n = W.shape[-2:]
    if not 0 <= r <= min(m, n) or not 0 <= q <= m * n:
        raise ValueError(f"a {m} x {n} matrix has no rank {r} and {q} entries")
    D = W.detach().double()
    if not torch.isfinite(D).all():
        raise ValueError("the matrix holds NaN or infinity")
    highest = D.abs().amax((-2, -1), keepdim=True)
    scale = torch.ldexp(torch.ones_like(highest), torch.frexp(highest).exponent)  # squares stay in range, digits too
    D = D / scale
    size = torch.linalg.matrix_norm(D)
    size = torch.where(size > 0.0, size, 1.0)

    def alternate(S: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        A, B = _best_rank(D - S, r)
        R = D - A @ B
        S = torch.where(largest(R, q), R, 0.0)
        return (A, B, S), torch.linalg.matrix_norm(R - S) / size

    found, error = alternate(torch.zeros_like(D))
    found, error = _better(found, error, *alternate(torch.where(largest(D, q), D, 0.0)))
    errors = [error]
    for _ in range(ROUNDS if r and q else 0):
        found, error = _better(found, error, *alternate(found[2]))
        errors.append(error)
        if not ((errors[-2] - error > gain * error) & (error > EXACT)).any():
            break
    A, B, S = found
    root = torch.linalg.vector_norm(B, dim=-1).clamp_min(1e-300)  # of orthogonal rows: the singular values
    turn = torch.linalg.vector_norm(A, dim=-2).clamp_min(1e-300)
    balance = (root / turn).sqrt()
    both = scale.sqrt()
    return Split(A * balance[..., None, :] * both, B / balance[..., :, None] * both, S * scale, torch.stack(errors))


def largest(M: Tensor, q: int) -> Tensor:
    """(..., m, n) bool, True at the q entries of largest magnitude of each matrix; ties go to the earlier entry.

    By the q-th largest value, which is several times faster than sorting. ValueError unless 0 <= q <= m n."""
    import torch

    flat = M.abs().flatten(-2)
    count = flat.shape[-1]
    if not 0 <= q <= count:
        raise ValueError(f"{count} entries have no {q} largest")
    if q in (0, count):
        return torch.full(M.shape, q > 0, dtype=torch.bool, device=M.device)
    least = torch.kthvalue(flat, count - q + 1, dim=-1, keepdim=True).values
    mask: Tensor = flat >= least
    if not (mask.sum(-1) == q).all():
        above, ties = flat > least, flat == least
        mask = above | (ties & (ties.cumsum(-1) <= q - above.sum(-1, keepdim=True)))
    return mask.reshape(M.shape)


def iso_budget(m: int, n: int, budget: int, entry: int = 1, index: int = 0) -> tuple[Pair, ...]:
    """Every (r, q) that spends a budget: ranks 0, 1, ... up to the largest that fits, each with the entries that are
    left to spend; at least one entry, and at most m n. The last pair is (r, 0), low rank alone: what the largest rank
    leaves over, less than one more rank costs, is not spent there. () if neither a rank nor an entry fits.

    budget   for the factors and the sparse part, in any unit; a bias is not counted here.
    entry    what a stored number costs in it: 1 for parameters, the bytes of one for bytes.
    index    what says where the entries are costs once, if there are any; 0 for parameters, ceil(m n / 8) for bytes."""
    most = min(min(m, n), budget // (entry * (m + n))) if budget > 0 else 0
    pairs = []
    for r in range(most + 1):
        q = 0 if r == most and r else min(m * n, (budget - index) // entry - r * (m + n))
        if q > 0 or (r == most and r):
            pairs.append((r, max(q, 0)))
    return tuple(pairs)


def spread(pairs: Sequence[Pair], most: int = RANKS) -> tuple[Pair, ...]:
    """At most `most` pairs, evenly spread, the first and the last among them."""
    if len(pairs) <= most:
        return tuple(pairs)
    return tuple(pairs[round(i * (len(pairs) - 1) / (most - 1))] for i in range(most))


def iso_curve(W: Tensor, pairs: Sequence[Pair], progress: Progress | None = None) -> tuple[float, ...]:
    """Relative Frobenius error of W (m, n) at each pair. progress  is told before each; it may raise to stop."""
    found = []
    for i, (r, q) in enumerate(pairs):
        if progress is not None:
            progress(f"rank {r} and {q:,} entries", i, len(pairs))
        found.append(float(decompose(W, r, q).errors[-1]))
    return tuple(found)


def _best_rank(R: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """Factors of the best rank-r approximation of R (..., m, n), one of them orthonormal; from the eigenvectors of the
    smaller Gram matrix, many times faster than an SVD and exact to about 1e-8 of the largest singular value."""
    import torch

    tall = R.shape[-2] >= R.shape[-1]
    _, Q = torch.linalg.eigh(R.mT @ R if tall else R @ R.mT)  # eigenvalues rise
    Q = Q[..., Q.shape[-1] - r :]
    return (R @ Q, Q.mT) if tall else (Q, Q.mT @ R)


def _better(
    found: tuple[Tensor, Tensor, Tensor], error: Tensor, others: tuple[Tensor, Tensor, Tensor], new: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Of each matrix the parts with the smaller error, the first where they are equal."""
    import torch

    take = (new < error)[..., None, None]
    if take.all():
        return others, new
    A, B, S = (torch.where(take, b, a) for a, b in zip(found, others, strict=True))
    return (A, B, S), torch.minimum(new, error)
