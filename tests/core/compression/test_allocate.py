"""Budgets, pins, floors, multiples, outcomes with remedies, and that the cheapest form of each layer is found."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.compression.allocate import METHODS, OUTCOMES, Budget, Rules, allocate, path
from core.compression.options import LEVELS, options_of
from core.compression.plans import Repair, plan_cost
from core.compression.survey import Curve, LayerSurvey, Survey
from core.networks.costs import QUANTITIES, Cost
from core.networks.forms import FAMILIES, Dense, LowRank, Sparse
from core.networks.views import LayerView
from tests.surveys import linear_layer, random_survey, survey, tails

ROOT = Path(__file__).resolve().parents[3]
ALL_METHODS = pytest.mark.parametrize("method", METHODS)

FALLING = [2.0**-i for i in range(16)]


def net(num_layers: int = 3, m: int = 16, n: int = 24, **more: object) -> Survey:
    S = [2.0**-i for i in range(min(m, n))]
    return survey([linear_layer(f"fc{i}", m, n, S, positions=i + 1) for i in range(num_layers)], **more)


def conv_layer(name: str, c: int, o: int, seed: int) -> LayerSurvey:
    """A 3 x 3 convolution on 8 x 8 with curves of all families of factors, made of random spectra."""
    rng = np.random.default_rng(seed)
    view = LayerView(
        name, "conv2d", o, 9 * c, 64, (3, 3), (1, 1), (1, 1), (1, 1), (8, 8), (8, 8)
    )  # fmt: skip
    ranks = {"lowrank": min(o, 9 * c), "lowrank_in": min(9 * o, c), "spatial": min(3 * o, 3 * c)}
    curves = []
    for family, k in ranks.items():
        S = np.sort(rng.exponential(1.0, k) ** 2)[::-1].tolist()
        curves.append(Curve(family, tuple(range(1, k + 1)), tuple(tails(S))))
    return LayerSurvey(view, "", (), None, None, None, tuple(curves))


@ALL_METHODS
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_what_is_kept_is_at_most_what_was_allowed(method: str, quantity: str) -> None:
    made = net()
    for share in (0.3, 0.5, 0.9):
        found = allocate(made, Budget.keep(made, share, quantity), method)
        assert found.outcome == "OK" and found.remedy == ""
        assert found.cost.of(quantity) <= share * made.dense.of(quantity)
        assert found.plan.model == made.model


def test_a_budget_counts_the_rest_of_the_network() -> None:
    made = net(rest=Cost(10_000, 10_000, 40_000, 10_000))
    found = allocate(made, Budget("params", 10_000 + 3 * 40), "exact")
    assert found.outcome == "OK" and found.cost.params <= 10_120
    assert [entry.form for entry in found.plan.layers] == [LowRank(1)] * 3


@ALL_METHODS
def test_below_the_floor_the_cheapest_plan_and_a_remedy(method: str) -> None:
    made = net()
    floor = 3 * 40 + made.rest.params
    found = allocate(made, Budget("params", floor - 1), method)
    assert found.outcome == "BELOW_FLOOR"
    assert found.cost.params == floor
    assert (
        f"{floor - 1:,} params is below the floor of {floor:,}" in found.remedy and "raise the budget" in found.remedy
    )
    assert allocate(made, Budget("params", floor), method).outcome == "OK"


@ALL_METHODS
def test_above_dense_nothing_is_compressed(method: str) -> None:
    made = net()
    for limit in (made.dense.macs, made.dense.macs + 1, 10**9):
        found = allocate(made, Budget("macs", limit), method)
        assert found.outcome == "ABOVE_DENSE" and found.plan.layers == () and "lower it" in found.remedy
        assert found.error == 0.0 and found.cost == made.dense
    assert allocate(made, Budget("macs", made.dense.macs - 1), method).outcome == "OK"


def test_every_outcome_is_listed() -> None:
    made = net()
    found = {allocate(made, Budget("macs", limit)).outcome for limit in (1, made.dense.macs // 2, made.dense.macs)}
    assert found == set(OUTCOMES)


@ALL_METHODS
def test_dense_wins_past_break_even(method: str) -> None:
    """A flat spectrum: rank r loses most of the weight until it costs more than dense, so none is ever above it."""
    made = survey([linear_layer(f"fc{i}", 10, 10, [1.0] * 10) for i in range(4)])
    for share in np.linspace(0.3, 0.99, 12):
        found = allocate(made, Budget.keep(made, float(share), "params"), method)
        for entry in found.plan.layers:
            assert entry.form.cost(made.layer(entry.layer).view).params < 100
    most = allocate(made, Budget.keep(made, 0.8, "params"), "exact")
    assert len(most.plan.layers) < 4  # some stay dense rather than all a little lower


@ALL_METHODS
def test_pins_are_kept_paid_for_and_not_counted_twice(method: str) -> None:
    made = net(4)
    rules = Rules(pins={"fc0": LowRank(2), "fc1": Dense(), "fc2": LowRank(14)})  # rank 14 costs more than dense
    for share in (0.6, 0.8, 0.95, 1.1):
        budget = Budget.keep(made, share, "macs")
        found = allocate(made, budget, method, rules)
        assert [found.plan.form(f"fc{i}") for i in range(3)] == [LowRank(2), Dense(), LowRank(14)]
        assert found.cost == plan_cost(found.plan, made.views, made.rest)
        if found.outcome == "OK":
            assert found.cost.macs <= budget.limit
    # fc3 alone is free: the best rank is what a scan finds
    budget = Budget.keep(made, 0.95, "macs")
    fixed = made.rest.macs + 2 * 40 + 2 * 16 * 24 + 3 * 14 * 40
    ranks = [r for r in range(1, 10) if fixed + 4 * r * 40 <= budget.limit]
    assert allocate(made, budget, method, rules).plan.form("fc3") == LowRank(max(ranks))


def test_a_pin_on_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="fc9"):
        allocate(net(), Budget("macs", 1000), rules=Rules(pins={"fc9": Dense()}))


@ALL_METHODS
def test_floors_hold(method: str) -> None:
    made = net()
    found = allocate(made, Budget.keep(made, 0.6, "params"), method, Rules(floors={"fc1": 0.5}))
    assert found.outcome == "OK"
    assert found.plan.form("fc1").cost(made.layer("fc1").view).params >= 0.5 * 16 * 24
    lowest = allocate(made, Budget("params", 1), method, Rules(floors={"fc1": 0.5}))
    assert lowest.outcome == "BELOW_FLOOR" and lowest.plan.form("fc1") == LowRank(math.ceil(0.5 * 16 * 24 / 40))


@ALL_METHODS
def test_ranks_are_multiples_of_eight_where_asked(method: str) -> None:
    made = survey([linear_layer(f"fc{i}", 64, 64, [0.9**j for j in range(64)]) for i in range(3)])
    found = allocate(made, Budget.keep(made, 0.6, "params"), method, Rules(multiple=8))
    assert found.outcome == "OK" and found.plan.layers
    assert all(entry.form.level % 8 == 0 for entry in found.plan.layers)


def test_a_multiple_above_break_even_leaves_the_layer_dense() -> None:
    made = survey([linear_layer("small", 10, 10, [1.0] * 10), linear_layer("large", 64, 64, [1.0] * 64)])
    found = allocate(made, Budget.keep(made, 0.6, "params"), "exact", Rules(multiple=8))
    assert found.plan.form("small") == Dense() and found.plan.form("large") != Dense()


@pytest.mark.parametrize("method", ["exact", "greedy"])
@pytest.mark.parametrize("quantity", ["params", "macs"])
def test_the_best_form_of_each_layer_is_chosen(method: str, quantity: str) -> None:
    layers = [conv_layer(f"conv{i}", 4 + i, 6, seed=i) for i in range(3)]
    made = survey(layers)
    found = allocate(made, Budget.keep(made, 0.6, quantity), method)
    families = set()
    for entry in found.plan.layers:
        layer = made.layer(entry.layer)
        families.add(entry.form.family)
        spent, lost = entry.form.cost(layer.view).of(quantity), layer.predicted(entry.form)
        for curve in layer.curves:  # no other form is both cheaper and better
            for level in curve.at:
                other = FAMILIES[curve.family].make(level, layer.view)
                cheaper = other.cost(layer.view).of(quantity) <= spent
                assert not (cheaper and layer.predicted(other) < lost - 1e-12), (entry, other)
    assert len(families) > 1


def test_only_families_that_are_allowed_are_used() -> None:
    made = survey([conv_layer(f"conv{i}", 6, 6, seed=i) for i in range(3)])
    found = allocate(made, Budget.keep(made, 0.5, "macs"), "exact", Rules(families=("spatial",)))
    assert {entry.form.family for entry in found.plan.layers} == {"spatial"}


def test_masks_save_parameters_but_no_macs() -> None:
    view = LayerView("fc", "linear", 16, 24, 1)
    curve = Curve("sparse", tuple(range(1, 101)), tuple(1.0 - p / 100 for p in range(1, 101)))
    made = survey([LayerSurvey(view, "", (), None, None, None, (curve,))])
    rules = Rules(families=("sparse",))
    found = allocate(made, Budget.keep(made, 0.5, "params"), "exact", rules)
    assert found.outcome == "OK" and isinstance(found.plan.form("fc"), Sparse)
    assert 0.45 * made.dense.params < found.cost.params <= 0.5 * made.dense.params
    assert allocate(made, Budget.keep(made, 0.5, "macs"), "exact", rules).outcome == "BELOW_FLOOR"


@ALL_METHODS
def test_a_layer_that_is_exact_at_low_rank_is_taken_at_that_rank(method: str) -> None:
    exact = linear_layer("exact", 16, 24, [1.0, 1.0, *[0.0] * 14])
    made = survey([exact, linear_layer("full", 16, 24, FALLING)])
    budget = Budget("params", made.rest.params + 2 * 40 + 16 * 24)  # enough for rank 2 and dense, exactly
    found = allocate(made, budget, method)
    if method in ("greedy", "exact"):
        assert found.error == 0.0 and found.plan.form("exact") == LowRank(2) and found.plan.form("full") == Dense()
    assert found.cost.params <= budget.limit


def test_a_zero_matrix_takes_rank_one() -> None:
    made = survey([linear_layer("zero", 16, 24, [0.0] * 16), linear_layer("full", 16, 24, FALLING)])
    found = allocate(made, Budget.keep(made, 0.6, "params"), "exact")
    assert found.plan.form("zero") == LowRank(1)
    assert allocate(made, Budget.keep(made, 1.0, "params"), "exact").plan.layers == ()


def test_uniform_gives_every_layer_the_same_share() -> None:
    made = net(4, 32, 32, rest=Cost())
    found = allocate(made, Budget.keep(made, 0.5, "params"), "uniform")
    assert [entry.form for entry in found.plan.layers] == [LowRank(8)] * 4  # 8 * 64 = 0.5 * 32 * 32


def test_uniform_is_the_same_share_of_layers_of_any_size() -> None:
    layers = [linear_layer(f"fc{n}", n, n, [1.0] * n) for n in (16, 32, 64)]
    found = allocate(survey(layers, rest=Cost()), Budget("params", (16**2 + 32**2 + 64**2) // 4), "uniform")
    assert [entry.form for entry in found.plan.layers] == [LowRank(2), LowRank(4), LowRank(8)]  # r * 2n = n² / 4


def test_nothing_that_costs_as_much_as_dense_is_offered() -> None:
    made = survey([linear_layer("fc", 10, 10, [1.0] * 10)])  # rank 5 costs 100, as much as the layer itself
    (options,) = options_of(made, "params", Rules()).values()
    assert options.cost.tolist() == [20.0, 40.0, 60.0, 80.0, 100.0] and options.error[-1] == 0.0
    assert options.level.tolist() == [1, 2, 3, 4] and options.form(4, made.views[0]) == Dense()


def test_large_layers_offer_evenly_spread_levels_up_to_break_even() -> None:
    made = survey([linear_layer("fc", 300, 300, [1.0] * 300)])
    (options,) = options_of(made, "params", Rules()).values()
    assert len(options.level) == LEVELS and (options.level[0], options.level[-1]) == (1, 149)
    assert set(np.diff(options.level)) <= {2, 3}


def test_equal_error_gives_every_layer_the_same_error() -> None:
    steep = [0.5**j for j in range(32)]
    gentle = [0.9**j for j in range(32)]
    made = survey([linear_layer("steep", 32, 32, steep), linear_layer("gentle", 32, 32, gentle)], rest=Cost())
    found = allocate(made, Budget.keep(made, 0.45, "params"), "equal-error")
    assert found.outcome == "OK"
    forms = {entry.layer: entry.form for entry in found.plan.layers}
    worst = max(tails(S)[forms[name].level - 1] for name, S in (("steep", steep), ("gentle", gentle)))
    for name, S in (("steep", steep), ("gentle", gentle)):
        cheaper = forms[name].level - 1
        assert cheaper == 0 or tails(S)[cheaper - 1] > worst - 1e-12  # one rank less would lose more than the others
    assert forms["gentle"].level > forms["steep"].level


def with_curves(layer: LayerSurvey, **curves: tuple[float, ...]) -> LayerSurvey:
    return replace(
        layer,
        whitened=layer.spectrum if curves else None,
        curves=tuple(replace(curve, **curves) for curve in layer.curves),
    )


def test_the_best_thing_the_survey_has_is_summed() -> None:
    base = [linear_layer(f"fc{i}", 16, 24, FALLING) for i in range(2)]
    output = tuple(0.5 * e for e in base[0].curves[0].plain)
    damage = tuple(3.0 * e for e in base[0].curves[0].plain)
    budget = Budget("params", 400)
    plain = allocate(survey(base), budget, "exact")
    measured = allocate(survey([with_curves(x, output=output) for x in base]), budget, "exact")
    damaged = allocate(survey([with_curves(x, output=output, damage=damage) for x in base]), budget, "exact")
    assert "weight" in plain.objective and "output" in measured.objective and "damage" in damaged.objective
    forms = [e.form for e in plain.plan.layers]
    at = [form.level - 1 for form in forms]
    assert plain.error == pytest.approx(sum(base[0].curves[0].plain[i] ** 2 for i in at))
    assert measured.error == pytest.approx(sum(output[i] ** 2 for i in at))
    assert damaged.error == pytest.approx(sum(damage[e.form.level - 1] for e in damaged.plan.layers))


def test_a_layer_that_never_ran_does_not_hide_what_was_measured_of_the_others() -> None:
    base = [linear_layer(f"fc{i}", 16, 24, FALLING) for i in range(3)]
    ran = [with_curves(x, output=base[0].curves[0].plain, damage=base[0].curves[0].plain) for x in base[:2]]
    found = allocate(survey([*ran, base[2]]), Budget("params", 500), "exact")
    assert "damage" in found.objective and found.outcome == "OK"


def test_layers_with_an_obstacle_are_paid_for_in_full() -> None:
    blocked = linear_layer("blocked", 16, 24, FALLING)
    blocked = LayerSurvey(blocked.view, "it is tied", blocked.spectra, None, None, None, blocked.curves)
    made = survey([blocked, linear_layer("free", 16, 24, FALLING)])
    found = allocate(made, Budget.keep(made, 0.7, "params"), "exact")
    assert [entry.layer for entry in found.plan.layers] == ["free"]
    assert found.cost.params <= 0.7 * made.dense.params


def test_without_a_forward_pass_macs_cannot_be_met_but_parameters_can() -> None:
    made = survey([linear_layer("fc", 16, 24, FALLING, positions=0)], rest=Cost(0, 0, 0, 0))
    assert allocate(made, Budget("macs", 0), "exact").plan.layers == ()
    assert allocate(made, Budget.keep(made, 0.5, "params"), "exact").outcome == "OK"


def test_a_network_with_nothing_to_choose() -> None:
    made = survey([])
    assert allocate(made, Budget("params", 5)).outcome == "ABOVE_DENSE"
    assert allocate(made, Budget("params", 4)).outcome == "BELOW_FLOOR"
    assert [a.outcome for a in path(made, "params", (0.5, 1.0))] == ["BELOW_FLOOR", "ABOVE_DENSE"]


def test_the_repair_given_goes_into_the_plan() -> None:
    made, repair = net(), Repair(("bias",), 7, 3)
    assert allocate(made, Budget.keep(made, 0.5, "params"), repair=repair).plan.repair == repair
    assert allocate(made, Budget.keep(made, 0.5, "params")).plan.repair == Repair()


@pytest.mark.parametrize("quantity", ["MACs", "latency"])
def test_another_quantity_or_method_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match=quantity):
        Budget(quantity, 1)
    with pytest.raises(ValueError, match="best"):
        allocate(net(), Budget("params", 1000), "best")


# The path of a dial


@pytest.mark.parametrize("limit", [-1, -(10**12)])
def test_a_budget_below_nothing_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match=str(limit)):
        Budget("params", limit)
    assert Budget("params", 0).limit == 0


def test_the_path_is_the_greedy_walk_at_every_stop() -> None:
    made = random_survey(5, num_layers=6)
    stops = tuple(np.linspace(0.2, 1.0, 30).tolist())
    found = path(made, "params", stops)
    for stop, one in zip(stops, found, strict=True):
        limit = int(stop * made.dense.params)
        assert one.cost == plan_cost(one.plan, made.views, made.rest)
        assert (one.outcome == "BELOW_FLOOR") == (one.cost.params > limit)
        if one.outcome == "OK":
            assert one.error >= allocate(made, Budget("params", limit), "greedy").error - 1e-12
    assert found[-1].plan.layers == () and found[-1].error == 0.0
    assert all(b.error <= a.error + 1e-12 for a, b in pairwise(found[:1] + found[-1:]))


def test_the_path_keeps_pins() -> None:
    made = net(3)
    for one in path(made, "macs", (0.4, 0.7, 1.0), Rules(pins={"fc1": LowRank(3)})):
        assert one.plan.form("fc1") == LowRank(3)
        assert one.cost == plan_cost(one.plan, made.views, made.rest)


def test_exact_where_the_best_plan_loses_almost_nothing() -> None:
    """Errors of 1e-9 beside errors of 1: an integer program with absolute tolerances would not tell them apart."""
    S = [1.0, 1.0, *[1e-5 * 0.5**j for j in range(14)]]
    made = survey([linear_layer(f"fc{i}", 16, 24, S) for i in range(3)], rest=Cost())
    budget = Budget("params", 3 * 40 * 5 + 40)
    best = min(
        sum(tails(S)[r - 1] ** 2 for r in (a, b, c))
        for a in range(1, 10)
        for b in range(1, 10)
        for c in range(1, 10)
        if 40 * (a + b + c) <= budget.limit
    )
    assert allocate(made, budget, "exact").error == pytest.approx(best, rel=1e-5)


def test_allocation_needs_no_torch() -> None:
    code = (
        "import sys; from tests.surveys import random_survey; from core.compression import Budget, allocate\n"
        "s = random_survey(0); assert allocate(s, Budget.keep(s, 0.7, 'params'), 'exact').outcome == 'OK'\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
