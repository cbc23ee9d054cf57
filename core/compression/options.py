"""What every layer could become: forms and levels that save something, each with its cost and predicted error.

The error is the best thing the survey has: measured single-layer damage, else squared relative output error, else
squared relative error of the weights. Numbers only, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from core.compression.knapsack import Floats, Indices
from core.compression.survey import Curve, LayerSurvey, Survey
from core.networks.forms import FAMILIES, Dense, Form
from core.networks.views import LayerView

FACTORED = ("lowrank", "lowrank_in", "spatial")
"""Families an allocation may use unless told otherwise: masks save nothing that is executed, so they are asked for."""

LEVELS = 64
"""Most levels of one family that a layer offers, evenly spread up to break-even (chosen: keeps 300 layers quick)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a person fixes before the rest is chosen.

    pins      layer -> form it must have. floors  layer -> least share of its own dense cost to keep, in (0, 1].
    multiple  ranks are multiples of this (8 suits tensor cores). families  that may be used.
    """

    pins: Mapping[str, Form] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    multiple: int = 1
    families: tuple[str, ...] = FACTORED


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """One layer's choices, cheapest first, the last Dense; of the others none is both dearer and worse than another.

    cost (q,) in the budget's quantity. error (q,) of the objective. loss (q,) relative error, for equal-error.
    family, level (q - 1,) index into `families`, and level, of all but Dense."""

    cost: Floats
    error: Floats
    loss: Floats
    families: tuple[str, ...]
    family: Indices
    level: Indices

    def form(self, i: int, view: LayerView) -> Form:
        """The form that option i is."""
        if i == len(self.level):
            return Dense()
        return FAMILIES[self.families[self.family[i]]].make(int(self.level[i]), view)


def objective_of(survey: Survey) -> tuple[str, str]:
    """Which curve is summed ("damage", "output" or "plain"), and the same in words."""
    ran = [layer for layer in survey.layers if layer.whitened is not None] or survey.layers
    curves = [curve for layer in ran for curve in layer.curves if curve.family in FACTORED]
    if curves and all(curve.damage for curve in curves):
        unit = "nats of divergence" if survey.num_classes else "relative squared error"
        return "damage", f"sum of measured single-layer damage, {unit}"
    if curves and all(curve.output for curve in curves):
        return "output", "sum of squared relative output errors"
    return "plain", "sum of squared relative weight errors"


def options_of(survey: Survey, quantity: str, rules: Rules) -> dict[str, Options]:
    """The choices of every layer that has any beyond Dense, pinned layers left out."""
    kind, _ = objective_of(survey)
    unknown = [name for name in rules.pins if name not in {v.name for v in survey.views}]
    if unknown:
        raise ValueError(f"pinned layer {unknown[0]!r} is not in the model")
    table = {}
    for layer in survey.layers:
        if layer.obstacle or layer.view.name in rules.pins:
            continue
        made = _options(layer, quantity, rules, kind)
        if len(made.cost) > 1:
            table[layer.view.name] = made
    return table


def _options(layer: LayerSurvey, quantity: str, rules: Rules, kind: str) -> Options:
    view = layer.view
    dense = Dense().cost(view).of(quantity)
    floor = rules.floors.get(view.name, 0.0) * dense
    parts: list[tuple[Floats, Floats, Floats, Indices]] = []
    families = tuple(curve.family for curve in layer.curves if curve.family in rules.families)
    for curve in layer.curves:
        if curve.family not in families:
            continue
        levels, costs = _affordable(curve, layer, quantity, rules.multiple, floor, dense)
        loss = np.interp(levels, curve.at, curve.output or curve.plain)
        error = np.interp(levels, curve.at, curve.damage) if kind == "damage" and curve.damage else loss**2
        parts.append((costs, error, loss, levels))
    if not parts:
        parts.append((np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, np.int64)))
    cost, error, loss = (np.concatenate([part[i] for part in parts]) for i in range(3))
    level = np.concatenate([part[3] for part in parts])
    family = np.repeat(np.arange(len(parts)), [len(part[3]) for part in parts])
    order = np.lexsort((error, cost))
    best = np.minimum.accumulate(np.concatenate([[np.inf], error[order]]))
    kept = order[error[order] < best[:-1]]  # better than every cheaper one
    cost, error, loss = np.append(cost[kept], dense), np.append(error[kept], 0.0), np.append(loss[kept], 0.0)
    return Options(cost, error, loss, families, family[kept], level[kept])


def _affordable(
    curve: Curve, layer: LayerSurvey, quantity: str, multiple: int, floor: float, dense: int
) -> tuple[Indices, Floats]:
    """At most `LEVELS` levels of a curve that cost less than Dense and at least the floor, and their costs."""
    family, view, top = FAMILIES[curve.family], layer.view, curve.at[-1]

    def cost(level: int) -> float:
        return float(family.make(level, view).cost(view).of(quantity))

    if curve.family in FACTORED:  # exactly linear in the rank
        slope = cost(2) - cost(1)
        base = cost(1) - slope
        if not dense or not slope:
            return np.zeros(0, np.int64), np.zeros(0)
        low = max(1, math.ceil((floor - base) / slope))
        high = min(top, math.ceil((dense - base) / slope) - 1)
        levels = np.arange(-(-low // multiple) * multiple, high + 1, multiple, dtype=np.int64)
        levels = levels[_spread(len(levels))]
        return levels, base + slope * levels.astype(np.float64)
    levels = np.array([top]) if curve.family == "sparse24" else np.arange(1, top + 1, dtype=np.int64)[_spread(top)]
    costs = np.array([cost(int(level)) for level in levels])
    keep = (costs < dense) & (costs >= floor)
    return levels[keep], costs[keep]


def _spread(count: int) -> Indices:
    """Indices of at most `LEVELS` of `count` things, evenly spread, the first and the last among them."""
    if count <= LEVELS:
        return np.arange(count, dtype=np.int64)
    return np.rint(np.linspace(0, count - 1, LEVELS)).astype(np.int64)
