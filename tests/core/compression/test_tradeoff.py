"""Points of a trade-off against brute force over every pair."""

from __future__ import annotations

import numpy as np
import pytest

from core.compression.tradeoff import TradeoffPoint, best_within, pareto_front, smallest_within, told_apart
from core.networks.costs import Cost
from core.provenance import Measurement, here

HERE = here("a test")


def measured(value: float, spread: float = 0.01) -> Measurement:
    return Measurement("accuracy", value, spread, 100, 0, HERE)


def point(macs: int, accuracy: float | None, dense: float = 0.9, **others: Measurement) -> TradeoffPoint:
    found = measured(accuracy) if accuracy is not None else None
    cost = Cost(2 * macs, macs, 8 * macs, macs)
    return TradeoffPoint(
        "key", "label", "{}", "greedy", "factored", "full", 0.5, 0, cost, 1.0, "sum", found, measured(dense), **others
    )


def random_points(seed: int) -> list[TradeoffPoint]:
    """Thirty points on a coarse grid, so that many are equal in one respect or in both."""
    rng = np.random.default_rng(seed)
    return [point(int(m), float(a) / 10 if a else None) for m, a in zip(*rng.integers(0, 10, (2, 30)), strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_other_point_beats(seed: int) -> None:
    points = random_points(seed)
    seen = [(p.cost.macs, p.accuracy.value) for p in points if p.accuracy is not None]
    wanted = {(m, a) for m, a in seen if not any(m2 <= m and a2 >= a and (m2, a2) != (m, a) for m2, a2 in seen)}
    front = [points[i] for i in pareto_front(points, "macs")]
    found = [(p.cost.macs, p.accuracy.value) for p in front if p.accuracy is not None]
    assert set(found) == wanted and found == sorted(found), "each once, smallest first"


@pytest.mark.parametrize("seed", range(10))
def test_the_smallest_point_within_a_loss_and_the_best_within_a_size_are_what_a_search_finds(seed: int) -> None:
    points = random_points(seed)
    near = [p for p in points if p.accuracy is not None and p.accuracy.value >= 0.9 - 0.2 - 1e-9]
    found = smallest_within(points, "params", 0.2)
    if not near:
        assert found is None
    else:
        assert found is not None and points[found].cost.params == min(p.cost.params for p in near)
    small = [p for p in points if p.accuracy is not None and p.cost.bytes <= 40]
    best = best_within(points, "bytes", 40)
    if not small:
        assert best is None
    else:
        assert best is not None and points[best].accuracy.value == max(p.accuracy.value for p in small)


def test_nothing_measured_is_no_front() -> None:
    points = [point(1, None), point(2, None)]
    assert pareto_front(points, "macs") == () and smallest_within(points, "macs", 1.0) is None
    assert best_within(points, "macs", 10) is None and pareto_front([], "macs") == ()


def test_without_a_latency_a_point_has_no_place_on_that_axis() -> None:
    slow = point(1, 0.5, latency=measured(2.0, 0.1), against=measured(1.0, 0.1))
    points = [point(1, 0.9), slow]
    assert pareto_front(points, "latency") == (1,) and points[0].size("latency") is None
    with pytest.raises(ValueError):
        slow.size("seconds")


@pytest.mark.parametrize(("now", "then", "noise", "slower"), [(2.0, 1.0, 0.1, True), (1.05, 1.0, 0.1, False)])
def test_slower_is_only_what_leaves_the_noise_behind(now: float, then: float, noise: float, slower: bool) -> None:
    assert point(1, 0.5, latency=measured(now, noise), against=measured(then, noise)).slower is slower
    assert not point(1, 0.5).slower


def test_two_standard_errors_of_the_difference_tell_two_accuracies_apart() -> None:
    assert told_apart(measured(0.90, 0.01), measured(0.87, 0.01))  # 0.03 against 2 x 0.0141
    assert not told_apart(measured(0.90, 0.01), measured(0.88, 0.01))
