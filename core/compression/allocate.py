"""Chooses a form and a level for every layer under a budget. Numbers only, no torch.

Every layer offers options (cost, predicted error), `Dense` among them with error 0, so past the break-even rank it wins
by itself. The allocators:

    uniform      every layer may keep the same fraction of its dense cost, the largest that fits (bisection).
    equal-error  every layer may lose the same predicted output error, the smallest that fits (bisection).
    greedy       minimises the sum of predicted damage: the lower convex hull of each layer's options, all steps of all
                 layers sorted by damage saved per cost, taken while the budget lasts; then single steps that still fit,
                 and for up to 64 layers exchanges of single steps.
    exact        the same minimum by integer programming (scipy's milp), which the hull can miss by what one step costs.

What is summed is the best thing the survey has (`options`). Sums over layers are a model: measure the plan.
`knapsack` has the four.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from core.compression import knapsack
from core.compression.options import FACTORED, Options, Rules, objective_of, options_of
from core.compression.plans import LayerPlan, Plan, Repair, plan_cost
from core.compression.survey import Survey
from core.networks.costs import QUANTITIES, Cost, total
from core.networks.forms import Dense

__all__ = ["FACTORED", "METHODS", "OUTCOMES", "Allocation", "Budget", "Rules", "allocate", "path"]

_SOLVERS = {
    "uniform": knapsack.uniform,
    "equal-error": knapsack.equal_error,
    "greedy": knapsack.greedy,
    "exact": knapsack.exact,
}
METHODS = tuple(_SOLVERS)
OUTCOMES = ("OK", "BELOW_FLOOR", "ABOVE_DENSE")

FILLED_LAYERS = 80
"""Layers up to which `path` spends what the hull leaves (chosen: more would keep the dial waiting)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on the whole network: `limit` units of "params", "macs" or "bytes". ValueError for another quantity or a
    limit below 0."""

    quantity: str
    limit: int

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"a budget is in one of {QUANTITIES}, got {self.quantity!r}")
        if self.limit < 0:
            raise ValueError(f"a budget is at least 0, got {self.limit}")

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
    bill = _Bill(survey, options_of(survey, budget.quantity, rules), rules)
    table, spare = bill.table, budget.limit - bill.fixed.of(budget.quantity)
    least = float(table.cost[:, 0].sum())
    made = partial(bill.allocation, repair=repair or Repair())
    if spare < least:
        remedy = _floor_remedy(survey, budget, least - spare)
        return made(np.zeros(len(table.cost), np.int64), outcome="BELOW_FLOOR", remedy=remedy)
    if spare >= bill.most:
        remedy = "The budget holds the network as it is; lower it to compress anything."
        return made(table.last, outcome="ABOVE_DENSE", remedy=remedy)
    return made(_SOLVERS[method](table, spare), outcome="OK")


def path(survey: Survey, quantity: str, stops: Sequence[float], rules: Rules | None = None) -> list[Allocation]:
    """The greedy allocation at every kept fraction of `stops`, all from one walk along the hull steps.

    For a dial that follows the hand. Up to `FILLED_LAYERS` layers what is left at a stop is spent too, as `allocate`
    does; beyond, the steps of so many layers are fine enough."""
    rules = rules or Rules()
    bill = _Bill(survey, options_of(survey, quantity, rules), rules)
    table, fixed, dense, most = bill.table, bill.fixed.of(quantity), survey.dense.of(quantity), bill.most
    walk = knapsack.Walk(table)
    made = []
    for stop in stops:
        spare = int(stop * dense) - fixed
        outcome = "BELOW_FLOOR" if spare < walk.least else "ABOVE_DENSE" if spare >= most else "OK"
        chosen = walk.upto(spare) if spare < most else table.last
        if outcome == "OK" and walk.num_layers <= FILLED_LAYERS:
            chosen = knapsack.filled(table, chosen, spare)
        made.append(bill.allocation(chosen, Repair(), outcome))
    return made


class _Bill:
    """What a choice makes of the network: its entries in the plan and its cost. Each option is looked up once."""

    def __init__(self, survey: Survey, table: Mapping[str, Options], rules: Rules) -> None:
        self.survey, self.names, self.options = survey, list(table), list(table.values())
        known = {view.name: view for view in survey.views}
        self.views = [known[name] for name in table]
        pinned = (LayerPlan(v.name, rules.pins[v.name]) for v in survey.views if v.name in rules.pins)
        self.pinned = tuple(entry for entry in pinned if not isinstance(entry.form, Dense))
        others = tuple(view for view in survey.views if view.name not in table)
        self.fixed = plan_cost(Plan(survey.model, self.pinned), others, survey.rest)
        self.table = knapsack.Table.stacked([(o.cost, o.error, o.loss) for o in self.options])
        self.objective = objective_of(survey)[1]
        self.known: dict[tuple[int, int], tuple[LayerPlan, Cost]] = {}

    @property
    def most(self) -> float:
        """What the choosable layers cost when all are dense."""
        return self.table.spent(self.table.last)

    def allocation(self, chosen: knapsack.Indices, repair: Repair, outcome: str, remedy: str = "") -> Allocation:
        entries, costs = [*self.pinned], [self.fixed]
        for at in enumerate(chosen.tolist()):
            entry, cost = self.known.get(at) or self._look_up(*at)
            costs.append(cost)
            if not isinstance(entry.form, Dense):
                entries.append(entry)
        plan = Plan(self.survey.model, tuple(entries), repair)
        return Allocation(plan, total(costs), self.table.lost(chosen), self.objective, outcome, remedy)

    def _look_up(self, who: int, i: int) -> tuple[LayerPlan, Cost]:
        form = self.options[who].form(i, self.views[who])
        self.known[who, i] = LayerPlan(self.names[who], form), form.cost(self.views[who])
        return self.known[who, i]


def _floor_remedy(survey: Survey, budget: Budget, missing: float) -> str:
    floor = budget.limit + int(missing)
    return (
        f"{budget.limit:,} {budget.quantity} is below the floor of {floor:,} for this model "
        f"({floor / survey.dense.of(budget.quantity):.0%} of it): raise the budget, or lower floors and unlock layers."
    )
