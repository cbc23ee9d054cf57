"""Convolution kernels as matrices, and back. K is (o, c, *kernel): outputs, inputs of one group, kernel sides.

    unfolding   matrix             a rank-r product of factors is
    rows        (o, c*kh*kw)       a kh x kw convolution c -> r, then 1 x 1, r -> o
    columns     (o*kh*kw, c)       1 x 1, c -> r, then a kh x kw convolution r -> o
    spatial     (o*kw, c*kh)       kh x 1, c -> r, then 1 x kw, r -> o (two kernel sides only)

Indices run in the written order, the last one fastest. Each map only moves entries, so all three matrices have the
Frobenius norm of the kernel. A linear weight (o, c) has no kernel sides: rows and columns both return it as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

UNFOLDINGS = ("rows", "columns", "spatial")


def matricize(K: Tensor, unfolding: str = "rows") -> Tensor:
    """The kernel K (o, c, *kernel) as a matrix, shaped as in the table above; a view of K where strides allow.

    ValueError for an unknown unfolding, for fewer than two dimensions, and for "spatial" without exactly two kernel
    sides."""
    _check(K.ndim, unfolding)
    if unfolding == "rows":
        return K.reshape(K.shape[0], math.prod(K.shape[1:]))
    if unfolding == "columns":
        o, c, *kernel = K.shape
        return K.movedim(1, -1).reshape(o * math.prod(kernel), c)
    o, c, kh, kw = K.shape
    return K.permute(0, 3, 1, 2).reshape(o * kw, c * kh)


def unmatricize(W: Tensor, shape: Sequence[int], unfolding: str = "rows") -> Tensor:
    """The kernel (o, c, *kernel) of the given shape whose `matricize` is W. Errors as there, and if the sizes
    disagree."""
    _check(len(shape), unfolding)
    o, c, *kernel = shape
    want = {
        "rows": (o, c * math.prod(kernel)),
        "columns": (o * math.prod(kernel), c),
        "spatial": (o * kernel[-1], c * kernel[0]) if kernel else (o, c),
    }[unfolding]
    if tuple(W.shape) != want:
        raise ValueError(f"a kernel of shape {tuple(shape)} has a {unfolding} matrix {want}, got {tuple(W.shape)}")
    if unfolding == "rows":
        return W.reshape(o, c, *kernel)
    if unfolding == "columns":
        return W.reshape(o, *kernel, c).movedim(-1, 1)
    kh, kw = kernel
    return W.reshape(o, kw, c, kh).permute(0, 2, 3, 1)


def _check(ndim: int, unfolding: str) -> None:
    if unfolding not in UNFOLDINGS:
        raise ValueError(f"unfolding must be one of {UNFOLDINGS}, got {unfolding!r}")
    if ndim < 2 or (unfolding == "spatial" and ndim != 4):
        needed = "exactly 4" if unfolding == "spatial" else "2 or more"
        raise ValueError(f"unfolding {unfolding!r} needs {needed} dimensions, got {ndim}")
