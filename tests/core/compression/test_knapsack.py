"""The solvers on plain arrays: the hull, the walk along it, and spending what is left."""

from __future__ import annotations

import numpy as np
import pytest

from core.compression import knapsack


def random_table(seed: int, num_layers: int = 5, options: int = 6) -> knapsack.Table:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(num_layers):
        cost = np.cumsum(rng.integers(1, 9, options + i)).astype(float)
        error = np.append(np.sort(rng.uniform(0.1, 1.0, options + i - 1))[::-1], 0.0)
        rows.append((cost, error, error))
    return knapsack.Table.stacked(rows)


def test_the_hull_is_the_lower_one() -> None:
    rng = np.random.default_rng(0)
    cost = np.cumsum(rng.uniform(0.1, 1.0, 30))
    error = np.sort(rng.uniform(0.0, 1.0, 30))[::-1]
    kept = knapsack.hull(cost.tolist(), error.tolist())
    assert kept[0] == 0 and kept[-1] == 29
    line = np.interp(cost, cost[kept], error[kept])
    assert (error >= line - 1e-12).all()
    slopes = np.diff(error[kept]) / np.diff(cost[kept])
    assert (np.diff(slopes) > 0).all()


def test_filling_spends_until_nothing_that_helps_fits() -> None:
    table = random_table(1)
    spare = 0.6 * table.spent(table.last)
    chosen = knapsack.filled(table, np.zeros(5, np.int64), spare)
    left = spare - table.spent(chosen)
    assert left >= 0
    for i, last in enumerate(table.last):
        assert all(table.cost[i, j] - table.cost[i, chosen[i]] > left for j in range(chosen[i] + 1, last + 1))


@pytest.mark.parametrize("seed", range(5))
def test_the_walk_is_the_lagrangian_solution(seed: int) -> None:
    """Whatever a price on cost makes every layer choose on its own, the walk has when it has spent as much."""
    table = random_table(seed)
    walk = knapsack.Walk(table)
    for price in np.geomspace(1e-3, 10, 200):
        best = np.argmin(table.error + price * table.cost, axis=1)
        assert np.array_equal(walk.upto(table.spent(best)), best)


@pytest.mark.parametrize("solver", [knapsack.uniform, knapsack.equal_error, knapsack.greedy, knapsack.exact])
def test_the_table_is_not_touched_and_the_answer_is_the_same_twice(solver) -> None:  # type: ignore[no-untyped-def]
    table, again = random_table(3), random_table(3)
    spare = 0.5 * table.spent(table.last)
    first, second = solver(table, spare), solver(table, spare)
    assert np.array_equal(first, second)
    assert np.array_equal(table.cost, again.cost) and np.array_equal(table.error, again.error)


def test_exact_tells_tiny_errors_apart() -> None:
    """The same problem with errors a billion times smaller: absolute tolerances of the solver must not show."""
    better = 0
    for seed in range(40):
        table = random_table(seed)
        spare = 0.55 * table.spent(table.last)
        small = knapsack.Table(table.cost, 1e-9 * table.error, 1e-9 * table.loss)
        found, scaled = knapsack.exact(table, spare), knapsack.exact(small, spare)
        assert small.lost(scaled) == pytest.approx(1e-9 * table.lost(found), rel=1e-5)
        better += table.lost(found) < table.lost(knapsack.greedy(table, spare)) - 1e-9
    assert better  # the greedy choice alone would not have been enough


def test_padding_is_never_chosen() -> None:
    table = random_table(4)
    for share in (0.3, 0.6, 0.99):
        for solver in (knapsack.uniform, knapsack.equal_error, knapsack.greedy, knapsack.exact):
            chosen = solver(table, max(share * table.spent(table.last), float(table.cost[:, 0].sum())))
            assert (chosen <= table.last).all() and np.isfinite(table.spent(chosen))
