"""What every allocator in the catalogue promises: it never overspends, a larger budget never raises the predicted
error unless its row says that it may, and on tiny networks it is within a stated factor of brute force."""

from __future__ import annotations

import itertools
import math
from itertools import pairwise

import numpy as np
import pytest

from core.catalogue import ALLOCATORS, Method
from core.compression.allocate import METHODS, Budget
from core.compression.plans import plan_cost
from core.compression.survey import Survey
from tests.surveys import random_survey

ROWS = pytest.mark.parametrize("row", ALLOCATORS, ids=[row.name for row in ALLOCATORS])
PROBLEMS = 300


def brute_force(survey: Survey, quantity: str, limit: int) -> float:
    """Least sum of squared errors of all combinations that fit, each layer dense or at any rank; infinite if none."""
    unit = {"params": lambda view: 1, "macs": lambda view: view.positions}[quantity]
    fixed = {"params": survey.rest.params, "macs": survey.rest.macs}[quantity]
    choices = []
    for layer in survey.layers:
        m, n, price = layer.view.m, layer.view.n, unit(layer.view)
        ranks = [(price * r * (m + n), layer.curves[0].plain[r - 1] ** 2) for r in range(1, min(m, n) + 1)]
        choices.append([(price * m * n, 0.0), *ranks])
    best = math.inf
    for combination in itertools.product(*choices):
        if fixed + sum(cost for cost, _ in combination) <= limit:
            best = min(best, sum(error for _, error in combination))
    return best


def problem(seed: int) -> tuple[Survey, Budget]:
    rng = np.random.default_rng(1000 + seed)
    survey = random_survey(seed, 3)
    return survey, Budget.keep(survey, rng.uniform(0.4, 0.98), ("params", "macs")[seed % 2])


def test_the_catalogue_has_every_allocator_once() -> None:
    assert sorted(row.name for row in ALLOCATORS) == sorted(METHODS)


@ROWS
def test_never_overspends_and_says_what_it_costs(row: Method) -> None:
    for seed in range(60):
        survey, budget = problem(seed)
        found = row.make(survey, budget)
        assert found.cost == plan_cost(found.plan, survey.views, survey.rest)
        assert (found.outcome == "OK") == (brute_force(survey, budget.quantity, budget.limit) < math.inf)
        if found.outcome == "OK":
            assert found.cost.of(budget.quantity) <= budget.limit
        total = sum(survey.layer(e.layer).predicted(e.form) ** 2 for e in found.plan.layers)
        assert found.error == pytest.approx(total, abs=1e-12)


@ROWS
def test_a_larger_budget_never_raises_the_error_unless_the_row_says_so(row: Method) -> None:
    rises = 0
    for seed in range(12):
        survey = random_survey(seed)
        errors = [row.make(survey, Budget.keep(survey, share, "macs")).error for share in np.linspace(0.3, 1.0, 24)]
        assert errors[-1] == 0.0
        rises += sum(b > a * (1 + 1e-5) + 1e-12 for a, b in pairwise(errors))
    assert rises == 0 or "may raise" in row.caveat


FACTORS = {"exact": (1.0, 1.0, 1.0), "greedy": (1.0, 1.02, 2.0), "equal-error": (1.05, 1.3, 4.0)}
"""Stated: median, mean and maximum of predicted error over brute force. Measured over the 254 of 300 problems that can
be met: exact 1 (optimal in all); greedy 1, 1.008 and 1.59, optimal in 248; equal-error 1, 1.15 and 2.6; uniform 1.9,
without a bound where the best plan loses next to nothing."""


@ROWS
def test_close_to_brute_force_on_tiny_networks(row: Method) -> None:
    ratios, optimal = [], 0
    for seed in range(PROBLEMS if row.name == "greedy" else 100):
        survey, budget = problem(seed)
        best = brute_force(survey, budget.quantity, budget.limit)
        if best == math.inf:
            continue
        found = row.make(survey, budget)
        assert found.error >= best - 1e-12
        ratios.append(found.error / best if best > 1e-12 else 1.0 if found.error < 1e-12 else math.inf)
        optimal += ratios[-1] < 1 + 1e-6
    stated = FACTORS.get(row.name, (3.0, math.inf, math.inf))
    measured = (float(np.median(ratios)), float(np.mean(ratios)), max(ratios))
    assert all(found <= limit * (1 + 1e-6) for found, limit in zip(measured, stated, strict=True)), measured
    if row.name in ("exact", "greedy"):
        assert optimal >= {"exact": 1.0, "greedy": 0.95}[row.name] * len(ratios), (optimal, len(ratios))
