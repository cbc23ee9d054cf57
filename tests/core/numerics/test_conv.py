"""Kernel matrices against loops over indices, and against torch's convolutions run one after the other."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.functional import conv1d, conv2d

from core.numerics.conv import UNFOLDINGS, matricize, unmatricize
from core.numerics.svd import truncate

KERNELS = [(3, 2, 3, 5), (4, 1, 1, 1), (1, 3, 2, 2), (5, 4, 3, 1)]


@pytest.mark.parametrize("shape", KERNELS)
def test_entries_stand_where_the_table_says(shape: tuple[int, ...]) -> None:
    K = torch.randn(shape)
    o, c, kh, kw = shape
    rows, columns, spatial = (matricize(K, unfolding) for unfolding in UNFOLDINGS)
    assert rows.shape == (o, c * kh * kw) and columns.shape == (o * kh * kw, c) and spatial.shape == (o * kw, c * kh)
    for i, j, y, x in itertools.product(range(o), range(c), range(kh), range(kw)):
        assert rows[i, (j * kh + y) * kw + x] == K[i, j, y, x]
        assert columns[(i * kh + y) * kw + x, j] == K[i, j, y, x]
        assert spatial[i * kw + x, j * kh + y] == K[i, j, y, x]


@pytest.mark.parametrize("unfolding", UNFOLDINGS)
@pytest.mark.parametrize("shape", KERNELS)
def test_there_and_back(shape: tuple[int, ...], unfolding: str) -> None:
    K = torch.randn(shape)
    assert torch.equal(unmatricize(matricize(K, unfolding), shape, unfolding), K)


@pytest.mark.parametrize("unfolding", ["rows", "columns"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 2, 2, 2)])
def test_other_numbers_of_sides(shape: tuple[int, ...], unfolding: str) -> None:
    K = torch.randn(shape)
    W = matricize(K, unfolding)
    assert W.shape[0 if unfolding == "rows" else 1] == shape[0 if unfolding == "rows" else 1]
    assert torch.equal(unmatricize(W, shape, unfolding), K)
    assert len(shape) > 2 or torch.equal(W, K)


@pytest.mark.parametrize("rank", [1, 2, "full"])
@pytest.mark.parametrize("unfolding", UNFOLDINGS)
def test_the_product_is_the_pair_of_convolutions_it_stands_for(unfolding: str, rank: int | str) -> None:
    o, c, kh, kw = 5, 4, 3, 2
    K, x = torch.randn(o, c, kh, kw), torch.randn(2, c, 9, 8)
    W = matricize(K, unfolding)
    r = min(W.shape) if rank == "full" else int(rank)
    A, B = truncate(W, r)
    whole = conv2d(x, unmatricize(A @ B, K.shape, unfolding), stride=2, padding=(1, 1))
    if unfolding == "rows":
        pair = conv2d(conv2d(x, B.reshape(r, c, kh, kw), stride=2, padding=(1, 1)), A.reshape(o, r, 1, 1))
    elif unfolding == "columns":
        first = B.reshape(r, c, 1, 1)
        second = A.reshape(o, kh, kw, r).permute(0, 3, 1, 2)
        pair = conv2d(conv2d(x, first), second, stride=2, padding=(1, 1))
    else:
        first = B.reshape(r, c, kh, 1)
        second = A.reshape(o, kw, r).permute(0, 2, 1).reshape(o, r, 1, kw)
        pair = conv2d(conv2d(x, first, stride=(2, 1), padding=(1, 0)), second, stride=(1, 2), padding=(0, 1))
    assert torch.allclose(pair, whole, atol=1e-12)
    if rank == "full":
        assert torch.allclose(pair, conv2d(x, K, stride=2, padding=(1, 1)), atol=1e-12)


def test_one_dimensional_kernels_act_likewise() -> None:
    K, x = torch.randn(5, 4, 3), torch.randn(2, 4, 10)
    A, B = truncate(matricize(K), 5)
    pair = conv1d(conv1d(x, B.reshape(5, 4, 3), padding=1), A[:, :, None])
    assert torch.allclose(pair, conv1d(x, K, padding=1), atol=1e-12)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="'diagonal'"):
        matricize(torch.zeros(2, 2), "diagonal")
    with pytest.raises(ValueError, match="got 3"):
        matricize(torch.zeros(2, 2, 2), "spatial")
    with pytest.raises(ValueError, match="got 1"):
        matricize(torch.zeros(2))
    with pytest.raises(ValueError, match=r"\(2, 12\), got \(2, 11\)"):
        unmatricize(torch.zeros(2, 11), (2, 3, 2, 2))
