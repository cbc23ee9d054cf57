"""What the benchmarks measure is what they say; how long it takes is not tested."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from benchmarks.allocation import STOPS, synthetic_survey
from core.compression.allocate import METHODS, Budget, allocate, path
from core.networks.forms import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(file.stem for file in (ROOT / "benchmarks").glob("*.py") if file.stem not in ("__init__", "record"))


@pytest.mark.parametrize("name", MODULES)
def test_every_benchmark_is_a_command_with_its_usage_on_top(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.main) and f"python -m benchmarks.{name}" in module.__doc__


def test_the_synthetic_network_offers_every_factorised_form() -> None:
    survey = synthetic_survey(9)
    assert len(survey.layers) == 9 and survey == synthetic_survey(9)
    for layer in survey.layers:
        fits = [family.id for family in FAMILIES.values() if family.unfolding and not family.obstacle(layer.view)]
        assert [curve.family for curve in layer.curves] == fits
        for curve in layer.curves:
            assert curve.at[-1] == FAMILIES[curve.family].full(layer.view) and curve.plain[-1] == 0.0
            assert list(curve.plain) == sorted(curve.plain, reverse=True)
    for method in METHODS:
        made = allocate(survey, Budget.keep(survey, 0.5, "macs"), method)
        assert made.outcome == "OK" and made.cost.macs <= 0.5 * survey.dense.macs
    assert len(path(survey, "macs", STOPS)) == len(STOPS) == 48
