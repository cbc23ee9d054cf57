"""A survey that measured damage goes into: through the measured levels, a power law between, nothing else changed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from core.compression.allocate import Budget, allocate
from core.compression.options import objective_of
from core.compression.sensitivity import LayerSensitivity, informed
from core.compression.survey import Curve, LayerSurvey, Survey
from tests.surveys import linear_layer, survey


def measured(layer: str, at: tuple[int, ...], damage: tuple[float, ...], output: tuple[float, ...]) -> LayerSensitivity:
    return LayerSensitivity(layer, "lowrank", at, damage, (0.1,) * len(at), (), output, 100)


def two_layers(calibrated: bool) -> Survey:
    S = [2.0 ** (-i) for i in range(8)]
    layers: list[LayerSurvey] = []
    for name in ("a", "b"):
        layer = linear_layer(name, 8, 12, S)
        curve = layer.curves[0]
        other = Curve("sparse", (1, 50, 100), (0.9, 0.4, 0.0))
        if calibrated:
            curve = replace(curve, output=tuple(0.7 * e for e in curve.plain), damage=(9.0,) * 8)
            other = replace(other, output=(0.8, 0.3, 0.0), damage=(9.0,) * 3)
        layers.append(replace(layer, curves=(curve, other)))
    return survey(layers, num_classes=10)


FOUND = measured("a", (1, 3, 6), (1.5, 0.2, 0.001), (0.6, 0.2, 0.02))


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_curve_goes_through_what_was_measured_and_is_a_power_between(calibrated: bool) -> None:
    base = two_layers(calibrated)
    curve = informed(base, (FOUND,)).layer("a").curve("lowrank")
    assert curve is not None
    for level, damage in zip(FOUND.at, FOUND.damage, strict=True):
        assert curve.error(level, "damage") == pytest.approx(damage)
    errors = curve.output or curve.plain
    e1, e2, e3 = (math.log(errors[r - 1]) for r in (1, 2, 3))
    share = (e2 - e3) / (e1 - e3)
    assert math.log(curve.damage[1]) == pytest.approx(share * math.log(1.5) + (1 - share) * math.log(0.2))
    assert curve.damage[6] == pytest.approx(0.001 * (errors[6] / errors[5]) ** 2)
    assert curve.damage[7] == 0.0
    assert list(curve.damage) == sorted(curve.damage, reverse=True)


def test_other_families_follow_the_output_error_of_the_layer() -> None:
    curve = informed(two_layers(True), (FOUND,)).layer("a").curve("sparse")
    assert curve is not None
    between = math.exp(float(np.interp(math.log(0.3), np.log([0.2, 0.6]), np.log([0.2, 1.5]))))
    assert curve.damage == pytest.approx((1.5 * (0.8 / 0.6) ** 2, between, 0.0))
    plain = informed(two_layers(False), (FOUND,)).layer("a").curve("sparse")
    assert plain is not None and plain.damage == ()


def test_what_was_not_measured_stays() -> None:
    base = two_layers(True)
    made = informed(base, (FOUND,))
    assert made.layer("b") == base.layer("b") and informed(base, ()) == base
    assert Survey.from_json(made.to_json()) == made


def test_damage_that_does_not_fall_with_rank_or_is_infinite() -> None:
    odd = measured("a", (1, 3, 6), (0.1, math.inf, 0.4), (0.6, 0.2, 0.02))
    curve = informed(two_layers(True), (odd,)).layer("a").curve("lowrank")
    assert curve is not None and list(curve.damage) == sorted(curve.damage, reverse=True)
    assert curve.error(6, "damage") == pytest.approx(0.4) and curve.error(1, "damage") == pytest.approx(0.4)


def test_an_allocation_moves_to_the_layer_that_was_measured_to_suffer_less() -> None:
    base = two_layers(True)
    mild = replace(FOUND, damage=(1e-4, 1e-5, 1e-6))
    harsh = replace(FOUND, layer="b", damage=(5.0, 3.0, 1.0))
    made = informed(base, (mild, harsh))
    assert objective_of(made)[0] == "damage"
    plan = allocate(made, Budget.keep(made, 0.6, "params"), "exact").plan
    assert plan.form("a").level < 3 and (
        plan.form("b").family == "dense" or plan.form("b").level > plan.form("a").level
    )
