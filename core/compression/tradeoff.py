"""Points of a trade-off between what a network costs and how well it does, and which of them are worth having.

Costs are exact, `predicted` is a model, `accuracy` and `latency` were measured; none stands in for another. Torch-free.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.networks.costs import QUANTITIES, Cost
from core.provenance import Measurement

AXES = (*QUANTITIES, "latency")
"""What a point can be small in."""


@dataclass(frozen=True, slots=True)
class TradeoffPoint:
    """One configuration of a network.

    key        names it within its run. label  in a few words. plan  its JSON.
    method     of `core.catalogue.ALLOCATORS`, families and repair by their names here, keep the asked-for fraction.
    cost       of the whole network, exact; once a plan that removes rows is measured, counted on what it left.
    predicted  what the allocator minimised, objective that in words.
    accuracy   in [0, 1]. dense  that of the dense network on the same examples.
    latency    of one sample in ms (median; spread the A/A noise in ms), against  the dense one's.
    before     accuracy of the same plan before it was trained, for a point that was.
    whole      cost of the dense network, None for a point of an older version.
    Every measurement is None until it was made.
    """

    key: str
    label: str
    plan: str
    method: str
    families: str
    repair: str
    keep: float
    seed: int
    cost: Cost
    predicted: float
    objective: str
    accuracy: Measurement | None = None
    dense: Measurement | None = None
    latency: Measurement | None = None
    against: Measurement | None = None
    before: Measurement | None = None
    whole: Cost | None = None

    def share(self, quantity: str) -> float | None:
        """What it keeps of the dense network's cost, None where that is not known."""
        dense = self.whole.of(quantity) if self.whole is not None else 0
        return self.cost.of(quantity) / dense if dense else None

    def within(self, lost: float) -> bool:
        """Whether it was measured to lose at most `lost` accuracy (0.01: one point) against dense on the same
        examples."""
        if self.accuracy is None or self.dense is None:
            return False
        return self.accuracy.value >= self.dense.value - lost - 1e-12

    def size(self, axis: str) -> float | None:
        """How large it is on an axis of `AXES`: parameters, MACs, bytes, or milliseconds; None if not measured."""
        if axis == "latency":
            return self.latency.value if self.latency else None
        return float(self.cost.of(axis))

    @property
    def slower(self) -> bool:
        """Whether it was measured slower than dense, beyond the noise of the measurement."""
        if self.latency is None or self.against is None:
            return False
        return self.latency.value - self.against.value > self.latency.spread


def pareto_front(points: Sequence[TradeoffPoint], axis: str) -> tuple[int, ...]:
    """Indices of the measured points that no other beats: none is at most as large on `axis` and at least as accurate,
    and better in one of the two. Smallest first; of equal points the first."""
    measured = [
        (size, -point.accuracy.value, i)
        for i, point in enumerate(points)
        if point.accuracy is not None and (size := point.size(axis)) is not None
    ]
    front: list[int] = []
    best = -1.0
    for _, negative, i in sorted(measured):
        if -negative > best:
            front.append(i)
            best = -negative
    return tuple(front)


def smallest_within(points: Sequence[TradeoffPoint], axis: str, lost: float) -> int | None:
    """Index of the smallest measured point on `axis` that loses at most `lost` accuracy (0.01: one point) against the
    dense network on the same examples; None if none does."""
    found = [
        (size, -point.accuracy.value, i)
        for i, point in enumerate(points)
        if point.accuracy is not None and point.within(lost) and (size := point.size(axis)) is not None
    ]
    return min(found)[2] if found else None


def best_within(points: Sequence[TradeoffPoint], axis: str, most: float) -> int | None:
    """Index of the most accurate measured point that is at most `most` large on `axis`; None if none is."""
    found = [
        (-point.accuracy.value, size, i)
        for i, point in enumerate(points)
        if point.accuracy is not None and (size := point.size(axis)) is not None and size <= most
    ]
    return min(found)[2] if found else None


def told_apart(one: Measurement, other: Measurement) -> bool:
    """Whether two accuracies differ by more than two standard errors of their difference. Taken as independent, which
    for the same examples errs on the side of caution."""
    return abs(one.value - other.value) > 2.0 * math.hypot(one.spread, other.spread)
