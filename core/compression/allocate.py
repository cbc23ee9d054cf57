"""Chooses a form and a level for every layer under a budget. Numbers only, no torch.

Every layer offers options (cost, predicted error), `Dense` among them with error 0, so past the break-even rank it wins
by itself. The allocators:

    uniform      every layer may keep the same fraction of its dense cost, the largest that fits (bisection).
    equal-error  every layer may lose the same predicted output error, the smallest that fits (bisection).
    greedy       minimises the sum of predicted damage: the lower convex hull of each layer's options, all steps of all
                 layers sorted by damage saved per cost, taken while the budget lasts; then single steps that still fit.
    exact        the same minimum by integer programming (scipy's milp), which the hull can miss by what one step costs.

What is summed is the best thing the survey has (`options`). Sums over layers are a model: measure the plan.
Source: derived (multiple-choice knapsack; its Lagrangian relaxation is the hull).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core.compression.options import FACTORED, Floats, Options, Rules, objective_of, options_of
from core.compression.plans import LayerPlan, Plan, Repair, plan_cost
from core.compression.survey import Survey
from core.networks.costs import QUANTITIES, Cost
from core.networks.forms import Dense, Form

__all__ = ["FACTORED", "METHODS", "OUTCOMES", "Allocation", "Budget", "Rules", "allocate", "path"]

METHODS = ("uniform", "equal-error", "greedy", "exact")
OUTCOMES = ("OK", "BELOW_FLOOR", "ABOVE_DENSE")

FILLED_LAYERS = 80
"""Layers up to which `path` spends what the hull leaves (chosen: more would keep the dial waiting)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on the whole network: `limit` units of "params", "macs" or "bytes". ValueError for another quantity."""

    quantity: str
    limit: int

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"a budget is in one of {QUANTITIES}, got {self.quantity!r}")

    @classmethod
    def keep(cls, survey: Survey, fraction: float, quantity: str) -> Budget:
        """The budget that keeps `fraction` of the dense network's cost."""
        return cls(quantity, int(fraction * survey.dense.of(quantity)))


@dataclass(frozen=True, slots=True)
class Allocation:
    """What an allocator chose.

    cost       of the whole network. error  the sum that was minimised. objective  what that sum is of, in words.
    outcome    "OK", "BELOW_FLOOR" (even the cheapest plan costs more: `plan` is that one) or "ABOVE_DENSE" (the dense
               network fits, so the plan is empty but for pins). remedy  what to do, "" when OK.
    """

    plan: Plan
    cost: Cost
    error: float
    objective: str
    outcome: str
    remedy: str = ""


def allocate(
    survey: Survey,
    budget: Budget,
    method: str = "greedy",
    rules: Rules | None = None,
    repair: Repair | None = None,
) -> Allocation:
    """The plan that `method` (of `METHODS`) chooses within `budget`; never overspends when the outcome is OK.

    Raises ValueError for an unknown method or quantity, or a pin on a layer that is not there."""
    if method not in METHODS:
        raise ValueError(f"allocator must be one of {METHODS}, got {method!r}")
    rules = rules or Rules()
    table = options_of(survey, budget.quantity, rules)
    spare = budget.limit - _fixed(survey, budget.quantity, table, rules)
    least = sum(float(o.cost[0]) for o in table.values())
    most = sum(float(o.cost[-1]) for o in table.values())
    outcome, remedy = "OK", ""
    if spare < least:
        outcome, remedy = "BELOW_FLOOR", _floor_remedy(survey, budget, least - spare)
        chosen = dict.fromkeys(table, 0)
    elif spare >= most:
        outcome, remedy = "ABOVE_DENSE", "The budget holds the network as it is; lower it to compress anything."
        chosen = {name: len(o.cost) - 1 for name, o in table.items()}
    else:
        solve = {"uniform": _uniform, "equal-error": _equal_error, "greedy": _greedy, "exact": _exact}[method]
        chosen = solve(table, spare)
    return _allocation(survey, table, chosen, rules, repair or Repair(), outcome, remedy)


def path(survey: Survey, quantity: str, stops: Sequence[float], rules: Rules | None = None) -> list[Allocation]:
    """The greedy allocation at every kept fraction of `stops`, all from one walk along the hull steps.

    For a dial that follows the hand. Up to `FILLED_LAYERS` layers what is left at a stop is spent too, as `allocate`
    does; beyond, the steps of so many layers are fine enough."""
    rules = rules or Rules()
    table = options_of(survey, quantity, rules)
    fixed = _fixed(survey, quantity, table, rules)
    walk = _Walk(table)
    most = sum(float(o.cost[-1]) for o in table.values())
    made = []
    for stop in stops:
        spare = int(stop * survey.dense.of(quantity)) - fixed
        outcome = "BELOW_FLOOR" if spare < walk.least else "ABOVE_DENSE" if spare >= most else "OK"
        chosen = walk.upto(spare) if spare < most else {name: len(o.cost) - 1 for name, o in table.items()}
        if outcome == "OK" and len(table) <= FILLED_LAYERS:
            chosen = _filled(table, chosen, spare)
        made.append(_allocation(survey, table, chosen, rules, Repair(), outcome, ""))
    return made


def _fixed(survey: Survey, quantity: str, table: Mapping[str, Options], rules: Rules) -> int:
    """What the choices do not change: pinned and incompressible layers and the rest of the network."""
    spared = 0
    for view in survey.views:
        if view.name in rules.pins:
            spared += Dense().cost(view).of(quantity) - rules.pins[view.name].cost(view).of(quantity)
    return survey.dense.of(quantity) - spared - sum(int(o.cost[-1]) for o in table.values())


def _uniform(table: Mapping[str, Options], spare: float) -> dict[str, int]:
    def at(share: float) -> dict[str, int]:
        return {n: max(0, int(np.searchsorted(o.cost, share * o.cost[-1], "right")) - 1) for n, o in table.items()}

    return _bisect(table, spare, at)


def _equal_error(table: Mapping[str, Options], spare: float) -> dict[str, int]:
    def at(share: float) -> dict[str, int]:  # share 0 allows every loss, 1 none
        allowed = (1.0 - share) * max(float(o.loss.max()) for o in table.values())
        return {n: int(np.argmax(o.loss <= allowed)) for n, o in table.items()}

    return _bisect(table, spare, at)


def _bisect(table: Mapping[str, Options], spare: float, at: Callable[[float], dict[str, int]]) -> dict[str, int]:
    """The choices of the largest share in [0, 1] that fit."""
    low, high = 0.0, 1.0
    best: dict[str, int] = dict.fromkeys(table, 0)
    for _ in range(40):
        middle = (low + high) / 2.0
        chosen = at(middle)
        if sum(table[n].cost[i] for n, i in chosen.items()) <= spare:
            best, low = chosen, middle
        else:
            high = middle
    return best


class _Walk:
    """All hull steps of all layers, steepest first: (layer, index reached, cost added), and their running cost."""

    def __init__(self, table: Mapping[str, Options]) -> None:
        self.names = list(table)
        self.table = table
        steps: list[tuple[float, int, int, float]] = []
        for who, name in enumerate(self.names):
            o = table[name]
            hull = _hull(o.cost, o.error)
            for a, b in pairwise(hull):
                added, saved = float(o.cost[b] - o.cost[a]), float(o.error[a] - o.error[b])
                if saved > 0.0:  # Dense after a form that is exact already saves nothing
                    steps.append((-saved / added, who, b, added))
        steps.sort()
        self.steps = steps
        self.least = sum(float(o.cost[0]) for o in table.values())
        self.running = self.least + np.cumsum([step[3] for step in steps])

    def upto(self, spare: float) -> dict[str, int]:
        """The choices after every step that fits in turn."""
        taken = int(np.searchsorted(self.running, spare, "right"))
        chosen = [0] * len(self.names)
        for _, who, reached, _ in self.steps[:taken]:
            chosen[who] = reached
        return {name: chosen[who] for who, name in enumerate(self.names)}


def _greedy(table: Mapping[str, Options], spare: float) -> dict[str, int]:
    return _filled(table, _Walk(table).upto(spare), spare)


def _filled(table: Mapping[str, Options], start: Mapping[str, int], spare: float) -> dict[str, int]:
    """The choices after single steps that still fit, best saving per cost first, off the hull too."""
    chosen = dict(start)
    left = spare - sum(table[n].cost[i] for n, i in chosen.items())
    while True:
        best: tuple[float, str, int] | None = None
        for name, i in chosen.items():
            o = table[name]
            top = int(np.searchsorted(o.cost, o.cost[i] + left, "right"))
            if top > i + 1:
                rate = (o.error[i] - o.error[i + 1 : top]) / (o.cost[i + 1 : top] - o.cost[i])
                j = int(np.argmax(rate))
                if rate[j] > (best[0] if best else 0.0):
                    best = (float(rate[j]), name, i + 1 + j)
        if best is None:
            return chosen
        _, name, reached = best
        left -= float(table[name].cost[reached] - table[name].cost[chosen[name]])
        chosen[name] = reached


def _exact(table: Mapping[str, Options], spare: float) -> dict[str, int]:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    sizes = [len(o.cost) for o in table.values()]
    cost = np.concatenate([o.cost for o in table.values()])
    error = np.concatenate([o.error for o in table.values()])
    layer = np.repeat(np.arange(len(sizes)), sizes)
    one_each = csr_array((np.ones(len(cost)), (layer, np.arange(len(cost)))), shape=(len(sizes), len(cost)))
    result = milp(
        error / max(float(error.max()), 1e-300),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(cost[None] / spare, -np.inf, 1.0)],
        integrality=np.ones(len(cost)),
        bounds=Bounds(0, 1),
        options={"time_limit": 20.0, "mip_rel_gap": 1e-6},
    )
    greedy = _greedy(table, spare)
    if result.x is None:
        return greedy
    starts = np.concatenate([[0], np.cumsum(sizes)])
    chosen = {n: int(np.argmax(result.x[a:b])) for n, a, b in zip(table, starts[:-1], starts[1:], strict=True)}

    def worth(c: Mapping[str, int]) -> tuple[bool, float]:
        return sum(table[n].cost[i] for n, i in c.items()) > spare, sum(float(table[n].error[i]) for n, i in c.items())

    return min(chosen, greedy, key=worth)


def _hull(cost: Floats, error: Floats) -> list[int]:
    """Indices of the lower convex hull of (cost, error), cost increasing. Source: Andrew's monotone chain."""
    hull: list[int] = []
    for i in range(len(cost)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            cross = (cost[b] - cost[a]) * (error[i] - error[a]) - (error[b] - error[a]) * (cost[i] - cost[a])
            if cross > 0:
                break
            hull.pop()
        hull.append(i)
    return hull


def _allocation(
    survey: Survey,
    table: Mapping[str, Options],
    chosen: Mapping[str, int],
    rules: Rules,
    repair: Repair,
    outcome: str,
    remedy: str,
) -> Allocation:
    forms: dict[str, Form] = dict(rules.pins)
    layers = {layer.view.name: layer for layer in survey.layers}
    for name, i in chosen.items():
        forms[name] = table[name].form(i, layers[name])
    entries = tuple(
        LayerPlan(v.name, forms[v.name])
        for v in survey.views
        if v.name in forms and not isinstance(forms[v.name], Dense)
    )
    plan = Plan(survey.model, entries, repair)
    error = sum(float(table[name].error[i]) for name, i in chosen.items())
    return Allocation(plan, plan_cost(plan, survey.views, survey.rest), error, objective_of(survey)[1], outcome, remedy)


def _floor_remedy(survey: Survey, budget: Budget, missing: float) -> str:
    floor = budget.limit + int(missing)
    return (
        f"{budget.limit:,} {budget.quantity} is below the floor of {floor:,} for this model "
        f"({floor / survey.dense.of(budget.quantity):.0%} of it): raise the budget, or lower floors and unlock layers."
    )
