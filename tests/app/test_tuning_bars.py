"""What the component is given: bars whose costs are worked out by hand, and the stops of the dial.

`test_tuning` has the table of the three layers."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from app import tuning
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.networks.costs import Cost
from core.networks.forms import Dense, Filters, LowRank, SemiSparse, Sparse
from tests.app.test_tuning import DENSE, MASKED, NET, ONE, TWO, plan_of, stuck, with_masks
from tests.surveys import linear_layer, random_survey, survey, tails

MOST_BYTES = 100 * 1024


def many(num_layers: int) -> Survey:
    rng = np.random.default_rng(0)
    layers = []
    for i in range(num_layers):
        S = np.sort(rng.exponential(1.0, 12))[::-1]
        layers.append(linear_layer(f"blocks.{i}.fc", 16, 12, S.tolist()))
    return survey(layers, Cost())


def row_cost(net: Survey, row: list[list[int]]) -> int:
    """MACs of a network of linear layers without anything else, by the formula of two factors."""
    views = [layer.view for layer in net.layers]
    each = [v.m * v.n if family < 0 else level * (v.m + v.n) for v, (family, level) in zip(views, row, strict=True)]
    return sum(positions * macs for positions, macs in zip((v.positions for v in views), each, strict=True))


def test_a_bar_says_what_a_layer_costs_dense_and_at_every_rank() -> None:
    one, two, three = tuning.bars(NET, plan_of(fc2=LowRank(5)), "rank", ["fc3"])
    assert [bar["dense"] for bar in (one, two, three)] == [[30, 24, 120], [48, 144, 192], [27, 24, 108]]
    assert [(bar["family"], bar["level"], bar["locked"]) for bar in (one, two, three)] == [
        (-1, 1, False),
        (0, 5, False),
        (-1, 1, True),
    ]
    for bar, costs in (
        (one, [[10 * r + 6, 10 * r, 40 * r + 24] for r in range(1, 5)]),
        (two, [[14 * r, 42 * r, 56 * r] for r in range(1, 7)]),
        (three, [[11 * r + 3, 11 * r, 44 * r + 12] for r in range(1, 4)]),
    ):
        (family,) = bar["families"]
        base, slope = np.array(family["base"]), np.array(family["slope"])
        assert (family["id"], family["unit"], family["full"]) == ("lowrank", "rank", len(costs))
        assert [(base + slope * r).tolist() for r in range(1, len(costs) + 1)] == costs
        saving = [sum(cost[i] < bar["dense"][i] for cost in costs) for i in range(3)]
        assert family["even"] == saving and "cost" not in family


def test_masks_cost_what_they_keep_and_save_no_macs() -> None:
    one, two, three = tuning.bars(MASKED, plan_of(fc1=Sparse(12)), "sparsity", [])
    assert [family["id"] for family in one["families"]] == ["sparse", "sparse24", "filters"]
    assert (one["family"], one["level"]) == (0, 50)
    sparse, semi, rows = one["families"]
    for percent in (1, 4, 50, 100):
        kept = max(1, round(24 * percent / 100)) + 6
        assert sparse["cost"][percent - 1] == [kept, 24, 4 * kept + 3]
    assert len(sparse["cost"]) == sparse["full"] == len(semi["cost"]) == semi["full"] == 100
    assert all(cost == [12 + 6, 24, 4 * (12 + 6) + 3] for cost in semi["cost"])
    assert rows["cost"] == [[4 * q + 6, 24, 4 * (4 * q + 6) + 1] for q in range(1, 7)]
    assert [family["even"][1] for family in one["families"]] == [0, 0, 0]
    assert sparse["S"] is None and two["families"] == [] and three["obstacle"]


@pytest.mark.parametrize(
    ("form", "mode", "family", "level"),
    [(SemiSparse(), "sparsity", 1, 50), (Filters(4), "sparsity", 2, 4), (Sparse(6), "rank", 1, 25)],
)
def test_a_bar_stands_at_the_level_of_its_form(form, mode, family, level) -> None:
    bar = tuning.bars(MASKED, plan_of(fc1=form), mode, [])[0]
    assert (bar["family"], bar["level"]) == (family, level)
    assert bar["families"][family]["id"] == form.family


def test_a_layer_that_stays_dense_says_why_and_offers_nothing() -> None:
    bar = tuning.bars(survey([stuck(ONE, "it is tied")]), DENSE, "rank", [])[0]
    assert (bar["obstacle"], bar["families"], bar["family"], bar["level"]) == ("it is tied", [], -1, 1)


def test_a_short_curve_is_sent_as_it_is() -> None:
    values = [1.0 / (i + 1) for i in range(tuning.KNOTS)]
    layer = linear_layer("fc", 40, tuning.KNOTS, values)
    layer = replace(layer, curves=(replace(layer.curves[0], output=tuple(e / 2 for e in tails(values))),))
    (family,) = tuning.bars(survey([layer]), DENSE, "rank", [])[0]["families"]
    assert family["at"] == list(range(1, tuning.KNOTS + 1))
    assert np.allclose(family["plain"], tails(values), atol=1e-5)
    assert np.allclose(family["output"], np.array(tails(values)) / 2, atol=1e-5)
    assert np.allclose(family["S"], values, rtol=1e-3)


def test_a_long_curve_is_thinned_evenly_and_keeps_its_ends() -> None:
    values = [300.0 * math.exp(-i / 40) for i in range(200)]
    layer = linear_layer("fc", 200, 300, values)
    (family,) = tuning.bars(survey([layer]), DENSE, "rank", [])[0]["families"]
    at = family["at"]
    assert len(at) == tuning.KNOTS and (at[0], at[-1]) == (1, 200)
    assert {b - a for a, b in itertools.pairwise(at)} == {6, 7}
    wanted = tails(values)
    assert family["plain"] == [round(wanted[r - 1], 5) for r in at] and family["output"] is None
    assert np.allclose(family["S"], [values[r - 1] / values[0] for r in at], rtol=1e-3)


def test_a_layer_of_zeros_has_bars_and_no_relative_singular_values() -> None:
    (family,) = tuning.bars(survey([linear_layer("fc", 4, 3, (0.0,) * 3)]), DENSE, "rank", [])[0]["families"]
    assert family["S"] is None and family["plain"] == [0.0] * 3


def test_the_bars_and_the_rest_make_the_whole_network() -> None:
    assert tuning.other_cost(NET) == [5, 7, 20]
    tied = replace(stuck(ONE), view=replace(ONE.view, name="head", tied_to="fc1"))
    net = survey([ONE, TWO, tied])
    assert tuning.other_cost(net) == [5 - 30, 7, 20 - 120]
    shown = [sum(bar["dense"][i] for bar in tuning.bars(net, DENSE, "rank", [])) for i in range(3)]
    assert [a + b for a, b in zip(shown, tuning.other_cost(net), strict=True)] == [30 + 48 + 5, 24 + 144 + 24 + 7, 332]


def test_the_dial_gives_one_layer_the_largest_rank_that_fits() -> None:
    net = survey([linear_layer("fc", 10, 10, [10.0 - i for i in range(10)])], Cost())
    path = tuning.dial_path(net, "macs", "rank", DENSE, [])
    assert path["keep"] == [percent / 100 for percent in range(5, 101)]
    wanted = [[-1, 1] if percent == 100 else [0, min(4, max(1, percent // 20))] for percent in range(5, 101)]
    assert path["choice"] == [[choice] for choice in wanted], "rank r costs 20 r of 100, and 5 saves nothing"


@pytest.mark.parametrize("seed", range(4))
def test_no_stop_of_the_dial_overspends_or_loses_more_than_rank_one_everywhere(seed: int) -> None:
    net = replace(random_survey(seed, 5), rest=Cost())
    path = tuning.dial_path(net, "macs", "rank", DENSE, [])
    dense = row_cost(net, [[-1, 1]] * 5)
    floor = row_cost(net, [[0, 1] if v.m + v.n < v.m * v.n else [-1, 1] for v in net.views])
    costs = [row_cost(net, row) for row in path["choice"]]
    assert all(cost <= max(keep * dense, floor) for keep, cost in zip(path["keep"], costs, strict=True))
    lost = [
        sum(
            0.0 if family < 0 else tails(layer.spectrum.S)[level - 1] ** 2
            for layer, (family, level) in zip(net.layers, row, strict=True)
        )
        for row in path["choice"]
    ]
    assert costs[0] == floor and lost[0] >= max(lost) > 0.0
    assert (costs[-1], lost[-1]) == (dense, 0.0)


def test_the_dial_leaves_locked_and_obstructed_layers_alone() -> None:
    net = survey([ONE, TWO, stuck(linear_layer("fc3", 3, 8, (2.0, 2.0, 1.0)))])
    path = tuning.dial_path(net, "macs", "rank", plan_of(fc1=LowRank(3)), ["fc1"])
    assert {tuple(row[0]) for row in path["choice"]} == {(0, 3)}
    assert {tuple(row[2]) for row in path["choice"]} == {(-1, 1)}
    assert len({tuple(row[1]) for row in path["choice"]}) > 1


def test_a_locked_mask_keeps_its_place_while_ranks_are_turned() -> None:
    net = survey([with_masks(ONE), TWO])
    path = tuning.dial_path(net, "macs", "rank", plan_of(fc1=Filters(3)), ["fc1"])
    assert {tuple(row[0]) for row in path["choice"]} == {(1, 3)}
    bar = tuning.bars(net, plan_of(fc1=Filters(3)), "rank", ["fc1"])[0]
    assert bar["families"][1]["id"] == "filters" and bar["locked"]


def test_a_dial_of_masks_uses_masks_only() -> None:
    net = survey([with_masks(ONE), with_masks(TWO)], Cost())
    path = tuning.dial_path(net, "params", "sparsity", DENSE, [])
    plans = [tuning.with_choice(net, Plan(net.model), row, "sparsity", []) for row in path["choice"]]
    families = {plan.form(name).family for plan in plans for name in ("fc1", "fc2")}
    assert families - {"dense"} and families <= {"dense", "sparse", "sparse24", "filters"}
    assert all(isinstance(plans[-1].form(name), Dense) for name in ("fc1", "fc2"))


def test_many_layers_get_fewer_stops_and_a_message_that_stays_small() -> None:
    few, net = many(tuning.MANY_LAYERS), many(tuning.MANY_LAYERS + 1)
    assert len(tuning.dial_path(few, "macs", "rank", DENSE, [])["keep"]) == 96
    path = tuning.dial_path(net, "macs", "rank", DENSE, [])
    assert path["keep"] == [percent / 100 for percent in range(5, 101, 5)]
    assert {len(row) for row in path["choice"]} == {tuning.MANY_LAYERS + 1}
    data = {"layers": tuning.bars(net, DENSE, "rank", []), "path": path}
    assert len(json.dumps(data, allow_nan=False)) < MOST_BYTES


def test_singular_values_near_the_end_of_the_range_stay_finite() -> None:
    tiny = linear_layer("fc", 50, 60, [1e-300 * (50 - i) for i in range(50)])
    (family,) = tuning.bars(survey([tiny]), DENSE, "rank", [])[0]["families"]
    assert np.allclose(family["S"], [(51 - r) / 50 for r in family["at"]], rtol=1e-3)
    json.dumps(family, allow_nan=False)
