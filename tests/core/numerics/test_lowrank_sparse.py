"""Low rank + sparse: planted parts come back, the error only falls, both plain forms are never better; budgets by hand.

Witnesses: numpy's SVD and sorting, planted truth, counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from core.numerics.lowrank_sparse import decompose, iso_budget, iso_curve, largest, spread

pytestmark = pytest.mark.usefixtures("float64")


def planted(m: int, n: int, r: int, q: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """L (m, n) of rank r and S with q entries ten times as large as those of L."""
    random = torch.Generator().manual_seed(seed)
    L = torch.randn(m, r, generator=random) @ torch.randn(r, n, generator=random)
    S = torch.zeros(m * n)
    S[torch.randperm(m * n, generator=random)[:q]] = 10 * torch.randn(q, generator=random)
    return L, S.view(m, n)


def plain(W: Tensor, r: int) -> float:
    S = np.linalg.svd(W.numpy(), compute_uv=False)
    return float(np.sqrt((S[r:] ** 2).sum() / (S**2).sum()))


def entries_alone(W: Tensor, q: int) -> float:
    squares = np.sort(W.numpy().ravel() ** 2)
    return float(np.sqrt(squares[: squares.size - q].sum() / squares.sum()))


@pytest.mark.parametrize(("m", "n", "r", "q"), [(60, 80, 4, 240), (80, 60, 2, 300), (40, 40, 1, 30)])
def test_planted_parts_come_back(m: int, n: int, r: int, q: int) -> None:
    L, S = planted(m, n, r, q)
    found = decompose(L + S, r, q)
    assert float(found.errors[-1]) < 1e-11
    assert torch.allclose(found.A @ found.B, L, atol=1e-9) and torch.allclose(found.S, S, atol=1e-9)
    assert tuple(found.A.shape) == (m, r) and tuple(found.B.shape) == (r, n)


@pytest.mark.parametrize("seed", range(6))
def test_the_error_never_rises_and_is_that_of_the_parts(seed: int) -> None:
    torch.manual_seed(seed)
    m, n = 17, 11 + seed
    W = torch.randn(m, n) * torch.rand(m, 1) ** 3
    for r, q in ((1, 20), (4, 60), (9, 5)):
        found = decompose(W, r, q)
        errors = found.errors.tolist()
        assert errors == sorted(errors, reverse=True) and len(errors) > 1
        rest = W - found.A @ found.B - found.S
        assert errors[-1] == pytest.approx(float(rest.norm() / W.norm()), rel=1e-12)
        assert int(found.S.count_nonzero()) == q and torch.linalg.matrix_rank(found.A @ found.B) == r


@pytest.mark.parametrize("seed", range(8))
def test_it_is_never_worse_than_either_part_alone_or_than_the_bounds(seed: int) -> None:
    torch.manual_seed(seed)
    m, n = 14, 20
    W = torch.randn(m, n) + (3.0 * torch.randn(m, 2) @ torch.randn(2, n) if seed % 2 else 0.0)
    if seed % 4 > 1:
        W = W.pow(3)  # a few entries hold nearly all
    for r, q in ((1, 3), (2, 40), (7, 100), (13, 250)):
        error = float(decompose(W, r, q).errors[-1])
        assert error <= plain(W, r) * np.sqrt(1 - q / (m * n)) + 1e-12
        assert error <= entries_alone(W, q) * np.sqrt(1 - r / m) + 1e-12


@pytest.mark.parametrize("seed", [68, 212, 164])
def test_a_matrix_that_is_sparse_already_stays_so(seed: int) -> None:
    """From S = 0 alone these end ten times worse than their entries alone."""
    torch.manual_seed(seed)
    W = torch.randn(14, 20)
    W = W * (torch.rand(14, 20) < 0.1) + 1e-3 * torch.randn(14, 20)
    assert float(decompose(W, 1, 28).errors[-1]) <= entries_alone(W, 28)
    stacked = torch.stack([W, torch.randn(14, 20)])  # one of which goes on from the other start
    assert float(decompose(stacked, 1, 28).errors[-1, 0]) <= entries_alone(W, 28)


def test_both_ends_are_the_plain_forms() -> None:
    W = torch.randn(9, 13)
    for r in (0, 1, 5, 9):
        assert float(decompose(W, r, 0).errors[-1]) == pytest.approx(plain(W, r), abs=1e-7)
    for q in (1, 50, 117):
        found = decompose(W, 0, q)
        assert float(found.errors[-1]) == pytest.approx(entries_alone(W, q), abs=1e-12)
        assert torch.equal(found.S[found.S != 0], W[found.S != 0])


def test_a_stack_is_its_matrices_one_by_one() -> None:
    W = torch.randn(2, 3, 8, 12)
    W[1, 2] *= 1e-3
    together = decompose(W, 2, 15)
    for i in range(2):
        for j in range(3):
            alone = decompose(W[i, j], 2, 15)
            # the stack goes on while any of them still gains
            assert float(together.errors[-1, i, j]) <= float(alone.errors[-1]) + 1e-12
            first = len(alone.errors)
            assert torch.allclose(together.errors[:first, i, j], alone.errors, rtol=1e-9)


def test_two_runs_agree_bit_for_bit_and_nothing_is_touched() -> None:
    W = torch.randn(30, 20)
    before = W.clone()
    torch.manual_seed(1)
    a = decompose(W, 3, 50)
    torch.manual_seed(2)
    b = decompose(W, 3, 50)
    assert all(torch.equal(x, y) for x, y in zip((a.A, a.B, a.S), (b.A, b.B, b.S), strict=True))
    assert torch.equal(W, before)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_size_of_the_numbers_does_not_matter(scale: float) -> None:
    W = torch.randn(12, 9)
    found, same = decompose(scale * W, 2, 20), decompose(W, 2, 20)
    assert torch.allclose(found.errors[-1], same.errors[-1], rtol=1e-9)
    assert torch.allclose(found.A @ found.B / scale, same.A @ same.B, rtol=1e-6, atol=1e-9)


def test_a_matrix_of_zeros_has_no_error() -> None:
    found = decompose(torch.zeros(4, 5), 1, 3)
    assert float(found.errors[-1]) == 0.0 and bool(torch.isfinite(found.A).all())


@pytest.mark.parametrize(("r", "q"), [(-1, 2), (5, 2), (2, -1), (2, 21)])
def test_what_does_not_fit_is_a_programmers_mistake(r: int, q: int) -> None:
    with pytest.raises(ValueError, match="4 x 5"):
        decompose(torch.zeros(4, 5), r, q)
    with pytest.raises(ValueError, match="NaN"):
        decompose(torch.full((4, 5), torch.nan), 1, 1)


@pytest.mark.parametrize("q", [0, 1, 7, 20, 34, 35])
def test_the_largest_entries_by_stable_sorting(q: int) -> None:
    for M in (torch.randn(5, 7), torch.randint(-2, 3, (5, 7)).double(), torch.ones(5, 7)):
        order = np.argsort(-np.abs(M.numpy()).ravel(), kind="stable")[:q]
        want = np.zeros(35, bool)
        want[order] = True
        assert np.array_equal(largest(M, q).numpy().ravel(), want)
    stacked = torch.randint(-2, 3, (4, 5, 7)).double()
    assert torch.equal(largest(stacked, q), torch.stack([largest(M, q) for M in stacked]))


def test_a_budget_of_parameters_by_hand() -> None:
    """6 x 8, half of 48 is 24: one rank costs 14."""
    assert iso_budget(6, 8, 24) == ((0, 24), (1, 0))
    assert iso_budget(6, 8, 43) == ((0, 43), (1, 29), (2, 15), (3, 0))
    assert iso_budget(6, 8, 42) == ((0, 42), (1, 28), (2, 14), (3, 0))
    assert iso_budget(6, 8, 13) == ((0, 13),) and iso_budget(6, 8, 0) == iso_budget(6, 8, -5) == ()
    assert iso_budget(2, 2, 100) == ((0, 4), (1, 4), (2, 0))


def test_a_budget_of_bytes_pays_the_index_of_the_sparse_part_alone() -> None:
    """6 x 8 in four bytes each, 6 bytes of index: 96 bytes hold 22 entries, or rank 1 (56 bytes) and 8, not 10."""
    assert iso_budget(6, 8, 96, 4, 6) == ((0, 22), (1, 0))
    assert iso_budget(6, 8, 118, 4, 6) == ((0, 28), (1, 14), (2, 0))
    for pairs, budget in ((iso_budget(20, 30, 1200, 2, 75), 1200),):
        assert all(2 * (r * 50 + q) + (75 if q else 0) <= budget for r, q in pairs)
        assert all(2 * (r * 50 + q + 1) + 75 > budget for r, q in pairs[:-1])
        assert pairs[-1] == (12, 0) and [r for r, _ in pairs] == list(range(13))


def test_some_of_a_budget_has_its_ends() -> None:
    pairs = iso_budget(100, 100, 9000)
    some = spread(pairs, 7)
    assert len(some) == 7 and (some[0], some[-1]) == (pairs[0], pairs[-1]) and set(some) <= set(pairs)
    assert spread(pairs[:3], 7) == pairs[:3]


def test_a_curve_has_the_plain_errors_at_its_ends_and_says_how_far_it_is() -> None:
    W = torch.randn(10, 12)
    told: list[int] = []
    pairs = iso_budget(10, 12, 70)
    errors = iso_curve(W, pairs, lambda what, done, of: told.append(done))
    assert told == list(range(len(pairs))) and len(errors) == len(pairs) == 4
    assert errors[0] == pytest.approx(entries_alone(W, 70)) and errors[-1] == pytest.approx(plain(W, 3), abs=1e-7)

    def stop(what: str, done: int, of: int) -> None:
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        iso_curve(W, pairs, stop)
