"""Points of a trade-off made by hand for the tests of its figures and pages."""

from __future__ import annotations

from core.compression.tradeoff import TradeoffPoint
from core.networks.costs import Cost
from core.provenance import Measurement, here

DENSE = Cost(1000, 2000, 4000, 2000)
HERE = here("a test")


def accuracy(value: float) -> Measurement:
    return Measurement("top-1 accuracy, binomial standard error", value, 0.02, 500, 0, HERE)


def time(value: float) -> Measurement:
    return Measurement("milliseconds of one sample", value, 0.1, 60, 0, HERE)


def made(key: str, keep: float, value: float | None, families: str = "factored", ms: float | None = None, **more):
    """A point that keeps a share of everything and was measured, or not."""
    cost = Cost(*(round(keep * whole) for whole in (1000, 2000, 4000, 2000)))
    return TradeoffPoint(
        key, more.pop("label", f"{families}, {keep:.0%}"), "{}", "greedy", families, "full", keep, 0, cost, 1 / keep,
        "sum of measured single-layer damage, nats of divergence",
        accuracy(value) if value is not None else None,
        accuracy(0.9) if value is not None else None,
        time(ms) if ms is not None else None,
        time(2.0) if ms is not None else None,
    )  # fmt: skip


POINTS = [
    made("a", 0.2, 0.5, ms=1.0),
    made("b", 0.5, 0.8, ms=1.5),
    made("c", 0.5, 0.7, "masks", ms=2.05),
    made("d", 0.8, 0.89, ms=3.0),
    made("e", 0.9, None),
]
