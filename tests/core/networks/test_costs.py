"""Cost adds entry by entry and hands out what a budget can limit."""

from __future__ import annotations

import dataclasses

import pytest

from core.networks.costs import NOTHING, QUANTITIES, Cost, total


def test_costs_add_entry_by_entry() -> None:
    assert Cost(1, 2, 3, 4) + Cost(10, 20, 30, 40) == Cost(11, 22, 33, 44)


def test_total_of_nothing_is_nothing() -> None:
    assert total([]) == NOTHING == Cost(0, 0, 0, 0)
    assert total([Cost(1, 1, 1, 1)] * 5) == Cost(5, 5, 5, 5)


def test_every_quantity_has_an_entry() -> None:
    cost = Cost(7, 11, 13, 17)
    assert {quantity: cost.of(quantity) for quantity in QUANTITIES} == {"params": 7, "macs": 11, "bytes": 13}


@pytest.mark.parametrize("quantity", ["MACs", "useful_macs", "latency", ""])
def test_another_quantity_is_refused_by_name(quantity: str) -> None:
    with pytest.raises(ValueError, match=repr(quantity)):
        Cost().of(quantity)


def test_a_cost_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Cost().params = 1  # type: ignore[misc]
