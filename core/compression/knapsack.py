"""One option for every layer under a budget: the multiple-choice knapsack, four ways. Plain arrays, no torch.

L layers, at most q options each; a choice is an index per layer, (L,). `spare` is what the options together may cost,
at least the sum of the cheapest ones. No solver ever overspends.
Source: derived; the Lagrangian relaxation of the problem is the lower convex hull of every layer's options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

MILP_SECONDS = 20.0
"""Time limit of the integer program; what it has by then competes with the greedy choice (chosen)."""

POLISHED_LAYERS = 64
"""Layers up to which the greedy choice is polished by single exchanges (chosen: keeps 300 layers under 100 ms)."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """cost, error, loss (L, q): the options of each layer by increasing cost, rows padded with infinity. The last true
    option of a layer is Dense: the dearest, with error and loss 0."""

    cost: Floats
    error: Floats
    loss: Floats

    @classmethod
    def stacked(cls, rows: Sequence[tuple[Floats, Floats, Floats]]) -> Table:
        """From (cost, error, loss) of each layer."""
        made = np.full((3, len(rows), max((len(row[0]) for row in rows), default=1)), np.inf)
        for i, row in enumerate(rows):
            made[:, i, : len(row[0])] = row
        return cls(made[0], made[1], made[2])

    @property
    def last(self) -> Indices:
        """(L,) index of Dense."""
        last: Indices = np.isfinite(self.cost).sum(1) - 1
        return last

    def spent(self, chosen: Indices) -> float:
        return float(self.cost[np.arange(len(chosen)), chosen].sum())

    def lost(self, chosen: Indices) -> float:
        return float(self.error[np.arange(len(chosen)), chosen].sum())


def uniform(table: Table, spare: float) -> Indices:
    """Every layer keeps at most the same fraction of its dense cost, the largest that fits."""
    dense = table.cost[np.arange(len(table.cost)), table.last][:, None]
    return _largest_share(table, spare, lambda share: np.maximum((table.cost <= share * dense).sum(1) - 1, 0))


def equal_error(table: Table, spare: float) -> Indices:
    """Every layer takes its cheapest option that loses at most the same, the smallest that fits."""
    most = float(table.loss[np.isfinite(table.loss)].max())
    return _largest_share(table, spare, lambda share: np.argmax(table.loss <= (1.0 - share) * most, axis=1))


def greedy(table: Table, spare: float) -> Indices:
    """The hull walk, then single steps that still fit; few layers are polished: each in turn gives up steps and the
    budget is spent again, as long as that helps."""
    chosen = filled(table, Walk(table).upto(spare), spare)
    for _ in range(len(chosen) if len(chosen) <= POLISHED_LAYERS else 0):
        tried = []
        for i in np.flatnonzero(chosen):
            lower = chosen.copy()
            lower[i] -= 1
            # what is freed must not simply be bought back
            tried.append(filled(table, lower, spare, without=(int(i), int(chosen[i]))))
        best = min(tried, key=table.lost, default=chosen)
        if table.lost(best) >= table.lost(chosen):
            break
        chosen = best
    return chosen


def exact(table: Table, spare: float) -> Indices:
    """The least total error by integer programming (scipy's milp, to 1e-6 of it); greedy if that finds nothing better.

    Options that alone lose more than the greedy choice in all are left out, and errors are in units of its loss."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    best = greedy(table, spare)
    scale = table.lost(best)
    if scale <= 0.0:
        return best
    layer, option = np.nonzero(table.error <= scale * (1.0 + 1e-9))
    ones = csr_array((np.ones(len(layer)), (layer, np.arange(len(layer)))), shape=(len(best), len(layer)))
    share = table.cost[layer, option][None] / spare
    for slack in (0.0, 2e-6):  # the solver's own tolerance may overspend by a millionth
        result = milp(
            table.error[layer, option] / scale,
            constraints=[LinearConstraint(ones, 1, 1), LinearConstraint(share, -np.inf, 1.0 - slack)],
            integrality=np.ones(len(layer)),
            bounds=Bounds(0, 1),
            options={"time_limit": MILP_SECONDS, "mip_rel_gap": 1e-6},
        )
        if result.x is None:
            break
        taken = result.x > 0.5
        found = np.zeros(len(best), np.int64)
        found[layer[taken]] = option[taken]
        if taken.sum() == len(best) and table.spent(found) <= spare:
            return min(found, best, key=table.lost)
    return best


class Walk:
    """All hull steps of all layers, steepest first: which layer, what it reaches, and the running cost."""

    def __init__(self, table: Table) -> None:
        slopes, owners, reached, added = [], [], [], []
        for i, (cost, error, last) in enumerate(zip(table.cost, table.error, table.last, strict=True)):
            at = hull(cost[: last + 1].tolist(), error[: last + 1].tolist())
            dearer, better = np.diff(cost[at]), -np.diff(error[at])
            helps = better > 0.0  # Dense after a form that is exact already helps nothing
            slopes.append(-better[helps] / dearer[helps])
            reached.append(np.array(at[1:], np.int64)[helps])
            added.append(dearer[helps])
            owners.append(np.full(int(helps.sum()), i))
        order = np.argsort(np.concatenate([*slopes, []]), kind="stable")
        self.owner = np.concatenate([*owners, np.zeros(0, np.int64)])[order]
        self.reached = np.concatenate([*reached, np.zeros(0, np.int64)])[order]
        self.least = float(table.cost[:, 0].sum())
        self.running = self.least + np.cumsum(np.concatenate([*added, []])[order])
        self.num_layers = len(table.cost)

    def upto(self, spare: float) -> Indices:
        """The choices after every step that fits in turn."""
        taken = int(np.searchsorted(self.running, spare, "right"))
        chosen = np.zeros(self.num_layers, np.int64)
        np.maximum.at(chosen, self.owner[:taken], self.reached[:taken])
        return chosen


def filled(table: Table, start: Indices, spare: float, without: tuple[int, int] | None = None) -> Indices:
    """The choices after single steps that still fit, best saving per cost first, off the hull too.

    without  (layer, option) that may not be taken."""
    chosen, rows = start.copy(), np.arange(len(start))
    left = spare - table.spent(chosen)
    while len(chosen):
        added = table.cost - table.cost[rows, chosen][:, None]
        saved = table.error[rows, chosen][:, None] - table.error
        fits = (added > 0.0) & (added <= left) & (saved > 0.0)
        if without is not None:
            fits[without] = False
        if not fits.any():
            break
        rate = np.divide(saved, added, out=np.zeros_like(saved), where=fits)
        i, j = np.unravel_index(int(rate.argmax()), rate.shape)
        left -= float(added[i, j])
        chosen[i] = j
    return chosen


def hull(cost: Sequence[float], error: Sequence[float]) -> list[int]:
    """Indices of the lower convex hull of (cost, error), cost increasing. Source: Andrew's monotone chain."""
    found: list[int] = []
    for i in range(len(cost)):
        while len(found) > 1:
            a, b = found[-2], found[-1]
            cross = (cost[b] - cost[a]) * (error[i] - error[a]) - (error[b] - error[a]) * (cost[i] - cost[a])
            if cross > 0:
                break
            found.pop()
        found.append(i)
    return found


def _largest_share(table: Table, spare: float, at: Callable[[float], Indices]) -> Indices:
    """The choices of the largest share in [0, 1] that fit, by bisection; dearer as the share rises."""
    low, high = 0.0, 1.0
    best = np.zeros(len(table.cost), np.int64)
    for _ in range(40):
        middle = (low + high) / 2.0
        chosen = at(middle)
        if table.spent(chosen) <= spare:
            best, low = chosen, middle
        else:
            high = middle
    return best
