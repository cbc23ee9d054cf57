"""What a layer or a network costs, in exact integers, and the rank at which a factorised form stops saving."""

from __future__ import annotations

from dataclasses import dataclass

QUANTITIES = ("params", "macs", "bytes")
"""What a budget can limit."""

QUANTITY_WORDS = {"params": "parameters", "macs": "MACs", "bytes": "bytes"}
"""As people read them."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a layer or network for one sample.

    params       weights and biases that are not zero by construction.
    macs         multiply-adds that dense kernels execute; 1 MAC = 2 FLOPs; biases are not counted.
    bytes        size on disk: values in the stored type, plus the index a sparse form needs.
    useful_macs  multiply-adds that touch a non-zero weight. Equal to `macs` unless the form is sparse: masked weights
                 save nothing until a sparse kernel or a smaller dense layer executes them.
    """

    params: int = 0
    macs: int = 0
    bytes: int = 0
    useful_macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.params + other.params,
            self.macs + other.macs,
            self.bytes + other.bytes,
            self.useful_macs + other.useful_macs,
        )

    def of(self, quantity: str) -> int:
        """The entry named `quantity`, one of `QUANTITIES`. ValueError otherwise."""
        if quantity not in QUANTITIES:
            raise ValueError(f"a budget is in one of {QUANTITIES}, got {quantity!r}")
        return int(getattr(self, quantity))


NOTHING = Cost()


def total(costs: list[Cost]) -> Cost:
    """The sum, NOTHING for an empty list."""
    return sum(costs, NOTHING)
