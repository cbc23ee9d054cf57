"""Choices as plain numbers: a network of three layers whose costs are worked out by hand, and edits of its plans.

layer  m × n, positions, bias   dense: params, MACs   rank r: params, MACs   largest rank that saves MACs
fc1    6 × 4, 1, yes            30, 24                10 r + 6, 10 r         2
fc2    8 × 6, 3, no             48, 144               14 r, 42 r             3
fc3    3 × 8, 1, yes            27, 24                11 r + 3, 11 r         2

What no layer holds costs 5 parameters and 7 MACs; a value takes 4 bytes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from app import tuning
from core.compression.plans import LayerPlan, Plan, Repair
from core.compression.survey import Curve, LayerSurvey
from core.networks.costs import Cost
from core.networks.forms import FAMILIES, Dense, Filters, LowRank, SemiSparse, Sparse, SpatialLowRank
from core.networks.views import LayerView
from tests.surveys import REF, linear_layer, survey

S1, S2, S3 = (4.0, 2.0, 2.0, 1.0), (3.0, 2.0, 2.0, 1.0, 1.0, 0.0), (2.0, 2.0, 1.0)
ONE = linear_layer("fc1", 6, 4, S1, bias=True)
TWO = linear_layer("fc2", 8, 6, S2, positions=3)
THREE = linear_layer("fc3", 3, 8, S3, bias=True)
NET = survey([ONE, TWO, THREE])
DENSE = Plan(REF)


def plan_of(**forms) -> Plan:
    return Plan(REF, tuple(LayerPlan(name, form) for name, form in forms.items()))


def with_masks(layer: LayerSurvey) -> LayerSurvey:
    """The layer with a curve for every family of masks: what is kept of n levels loses 1 - level / n."""
    view = layer.view
    levels = {"sparse": range(1, 101), "sparse24": (50,), "filters": range(1, view.m + 1)}
    curves = [Curve(id, tuple(at), tuple(1 - i / max(100, *at) for i in at)) for id, at in levels.items()]
    return replace(layer, curves=(*layer.curves, *curves))


def stuck(layer: LayerSurvey, why: str = "it is in the way") -> LayerSurvey:
    return replace(layer, obstacle=why)


MASKED = survey([with_masks(ONE), TWO, stuck(THREE)])


def test_a_layer_past_break_even_counts_as_dense_in_every_total() -> None:
    plan = plan_of(fc1=LowRank(2), fc2=LowRank(4), fc3=LowRank(1))
    assert tuning.costs_more(NET, plan, "macs") == ["fc2"]
    params, macs = (20 + 6) + 48 + (11 + 3) + 5, 20 + 144 + 11 + 7
    assert tuning.effective_cost(NET, plan, "macs") == Cost(params, macs, 4 * params, macs)
    assert (params, macs) == (93, 182)


def test_energy_kept_counts_a_layer_past_break_even_as_dense_too() -> None:
    plan = tuning.effective(NET, plan_of(fc1=LowRank(2), fc2=LowRank(4), fc3=LowRank(1)), "macs")
    assert tuning.energy_kept(NET, plan) == pytest.approx((20 + 19 + 4) / (25 + 19 + 9))


def test_without_a_layer_past_break_even_every_form_counts() -> None:
    plan = plan_of(fc1=LowRank(2), fc2=LowRank(3), fc3=LowRank(2))
    params, macs = 26 + 42 + 25 + 5, 20 + 126 + 22 + 7
    assert tuning.costs_more(NET, plan, "macs") == []
    assert tuning.effective_cost(NET, plan, "macs") == Cost(params, macs, 4 * params, macs)
    assert tuning.effective_cost(NET, DENSE, "macs") == Cost(110, 199, 440, 199)


def test_a_form_that_costs_as_much_as_dense_does_not_cost_more() -> None:
    square = survey([linear_layer("fc", 4, 4, (1.0, 1.0, 1.0, 1.0))])
    assert tuning.costs_more(square, plan_of(fc=LowRank(2)), "macs") == []
    assert tuning.costs_more(square, plan_of(fc=LowRank(3)), "macs") == ["fc"]


def test_the_quantity_decides_whether_a_form_costs_more() -> None:
    view = LayerView("conv", "conv2d", 4, 144, 16, (3, 3), (2, 2), (1, 1), (1, 1), (8, 8), (4, 4))
    net = survey([LayerSurvey(view, "", (), None, None, None, ())], Cost())
    plan = plan_of(conv=LowRank(6, True))
    params, macs = 6 * (16 + 36), 6 * (16 * 64 + 36 * 16)
    assert params < 576 and macs > 9216
    assert tuning.costs_more(net, plan, "params") == [] and tuning.costs_more(net, plan, "macs") == ["conv"]
    assert tuning.effective_cost(net, plan, "params") == Cost(params, macs, 4 * params, macs)
    assert tuning.effective_cost(net, plan, "macs") == Cost(576, 9216, 4 * 576, 9216)


def test_energy_kept_is_the_share_of_all_squared_singular_values() -> None:
    plan = plan_of(fc1=LowRank(1), fc2=LowRank(3))
    assert tuning.energy_kept(NET, plan) == pytest.approx((16 + (9 + 4 + 4) + (4 + 4 + 1)) / (25 + 19 + 9))
    assert tuning.energy_kept(NET, DENSE) == 1.0


def test_energy_kept_passes_over_what_has_no_spectrum_and_never_falls_below_nothing() -> None:
    wild = replace(ONE, curves=(Curve("lowrank", (1, 4), (3.0, 0.0)),))
    net = survey([wild, TWO, replace(THREE, spectra=(), curves=())])
    assert tuning.energy_kept(net, plan_of(fc1=LowRank(1))) == pytest.approx(19 / (25 + 19))
    assert tuning.energy_kept(survey([replace(THREE, spectra=())]), DENSE) == 1.0


@pytest.mark.parametrize(
    ("mode", "quantity", "dense", "offered"),
    [
        ("rank", "macs", Cost(1, 1, 1, 1), ["macs", "params", "bytes"]),
        ("rank", "bytes", Cost(1, 1, 1, 1), ["bytes", "macs", "params"]),
        ("sparsity", "macs", Cost(1, 1, 1, 1), ["params", "bytes"]),
        ("sparsity", "bytes", Cost(1, 1, 1, 1), ["bytes", "params"]),
        ("rank", "macs", Cost(1, 0, 1, 0), ["params", "bytes"]),
    ],
)
def test_a_budget_is_in_what_is_known_and_what_the_mode_can_save(mode, quantity, dense, offered) -> None:
    assert tuning.counted(survey([], dense), mode, quantity) == offered


def test_a_layer_offers_the_families_of_the_mode_and_the_one_it_has() -> None:
    layer = with_masks(ONE)
    masks = ["sparse", "sparse24", "filters"]
    assert tuning.families_of(layer, "rank", Dense()) == ["lowrank"]
    assert tuning.families_of(layer, "rank", LowRank(1)) == ["lowrank"]
    assert tuning.families_of(layer, "sparsity", Filters(2)) == masks
    assert tuning.families_of(layer, "rank", Sparse(3)) == ["lowrank", "sparse"]
    assert tuning.families_of(layer, "sparsity", LowRank(1)) == [*masks, "lowrank"]


def test_a_linear_layer_has_no_kernel_to_speak_of() -> None:
    conv = LayerView("conv", "conv2d", 4, 36, 4, (3, 3), (1, 1), (1, 1), (1, 1), (2, 2), (2, 2))
    assert "×" not in FAMILIES["lowrank"].label_on(ONE.view)
    assert "×" in FAMILIES["lowrank"].label_on(conv) and "×" in FAMILIES["spatial"].label_on(conv)


@pytest.mark.parametrize(
    ("layer", "family", "level", "mode", "form"),
    [
        ("fc1", 0, 2, "rank", LowRank(2)),
        ("fc1", "lowrank", 3, "sparsity", LowRank(3)),
        ("fc1", 0, 50, "sparsity", Sparse(12)),
        ("fc1", 1, 7, "sparsity", SemiSparse()),
        ("fc1", 2, 5, "sparsity", Filters(5)),
        ("fc1", 0, 99, "rank", LowRank(4)),
        ("fc1", 0, -3, "rank", LowRank(1)),
        ("fc1", 0, 0, "sparsity", Sparse(1)),
    ],
)
def test_an_edit_gives_one_layer_a_level_it_can_have(layer, family, level, mode, form) -> None:
    start = plan_of(fc2=LowRank(1))
    assert tuning.edited(MASKED, start, layer, family, level, mode) == plan_of(fc1=form, fc2=LowRank(1))


@pytest.mark.parametrize("family", [-1, "dense"])
def test_an_edit_can_make_a_layer_dense(family) -> None:
    start = plan_of(fc1=LowRank(2), fc2=LowRank(1))
    assert tuning.edited(NET, start, "fc1", family, 1, "rank") == plan_of(fc2=LowRank(1))


@pytest.mark.parametrize(
    ("layer", "family"),
    [("gone", 0), ("fc3", 0), ("fc3", -1), ("fc1", 7), ("fc1", -2), ("fc1", "nonsense"), ("fc2", "sparse")],
)
def test_an_edit_of_what_a_layer_does_not_have_changes_nothing(layer, family) -> None:
    start = plan_of(fc1=LowRank(2), fc2=LowRank(1))
    assert tuning.edited(MASKED, start, layer, family, 2, "rank") is start


def test_a_stop_of_the_dial_changes_unlocked_layers_and_keeps_the_repair() -> None:
    start = replace(plan_of(fc1=Sparse(5), fc2=LowRank(5), fc3=LowRank(1)), repair=Repair(("bias",), 7, 3))
    made = tuning.with_choice(NET, start, [[0, 2], [0, 1], [-1, 1]], "rank", ["fc2"])
    assert made == replace(plan_of(fc1=LowRank(2), fc2=LowRank(5)), repair=Repair(("bias",), 7, 3))
    held = tuning.with_choice(MASKED, plan_of(fc1=LowRank(1)), [[2, 3], [-1, 1], [-1, 1]], "sparsity", [])
    assert held == plan_of(fc1=Filters(3))


def test_layers_are_alike_when_kind_shape_kernel_and_stride_agree() -> None:
    def conv(name: str, stride: int = 1, kernel: int = 3, kind: str = "conv2d", obstacle: str = "") -> LayerSurvey:
        view = LayerView(name, kind, 4, 36, 4, (kernel,) * 2, (stride,) * 2, (1, 1), (1, 1), (2, 2), (2, 2))
        return LayerSurvey(view, obstacle, (), None, None, None, ())

    other_shape = replace(conv("d"), view=replace(conv("d").view, m=8))
    layers = [conv("a"), conv("b"), conv("c", stride=2), other_shape, conv("e", obstacle="tied"), conv("f", kernel=1)]
    net = survey([*layers, conv("g", kind="conv1d"), conv("h")])
    assert tuning.alike(net, "a") == ["b", "h"] and tuning.alike(net, "c") == []
    start = plan_of(a=SpatialLowRank(2), b=LowRank(1), c=LowRank(1))
    wanted = plan_of(a=SpatialLowRank(2), b=SpatialLowRank(2), c=LowRank(1), h=SpatialLowRank(2))
    assert tuning.similar(net, start, "a") == wanted
    assert tuning.similar(net, start.with_form("a", Dense()), "a") == plan_of(c=LowRank(1))


def test_the_table_says_of_every_layer_what_a_hand_finds() -> None:
    one = replace(with_masks(ONE), curves=(replace(ONE.curves[0], output=(0.5, 0.25, 0.125, 0.0)),))
    net = survey([one, replace(with_masks(TWO), spectra=()), stuck(THREE)])
    rows = tuning.rows_as_dicts(tuning.table(net, plan_of(fc1=LowRank(2), fc2=Sparse(12)), ["fc2"], "macs"))
    first, second, third = rows
    assert list(first.values())[:6] == ["fc1", "6 × 4", "low-rank (two factors)", 2, 4, 2]
    assert first["MACs kept"] == pytest.approx(20 / 24) and first["output error"] == 0.25
    assert first["weight error"] == pytest.approx(math.sqrt(5 / 25))
    assert (first["locked"], first["why not"]) == (False, "")
    assert (second["level"], second["of"], second["MACs kept"], second["locked"]) == (25, 100, 1.0, True)
    assert second["weight error"] == pytest.approx(0.75) and second["output error"] is None
    dense = ["fc3", "3 × 8", "dense", None, None, None, 1.0, 0.0, 0.0, False, "it is in the way"]
    assert list(third.values()) == dense


def test_the_table_leaves_empty_what_is_unknown() -> None:
    net = survey([replace(ONE, view=replace(ONE.view, positions=0))], Cost())
    assert tuning.table(net, DENSE, [], "macs")["MACs kept"] == [None]
    assert tuning.table(net, plan_of(fc1=LowRank(2)), [], "params")["parameters kept"] == [pytest.approx(26 / 30)]
