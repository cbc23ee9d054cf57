"""The forms a layer can take. Each knows what it costs, when it cannot be used, and how it is built.

    family           form                    weight becomes
    dense            Dense()                 itself
    lowrank          LowRank(r)              m x r times r x n; of a convolution k x k (c -> r), then 1 x 1 (r -> o)
    lowrank_in       LowRank(r, True)        1 x 1 (c -> r), then k x k (r -> o)
    spatial          SpatialLowRank(r)       kh x 1 (c -> r), then 1 x kw (r -> o)
    lowrank_sparse   LowRankSparse(r, q)     `lowrank` of rank r plus a matrix with q entries, their outputs added
    sparse, random, sparse24, filters        itself with entries zeroed: `sparse_forms` has them

Costs: derived; `Cost` says what is counted. A form is a frozen record; a layer of a plan holds exactly one. `FAMILIES`
are what a person turns by one number; a form with two is turned by its rank (`family_of`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from core.networks.costs import Cost
from core.networks.obstacles import has_kernel, layer_obstacle, rank_obstacle, unfolded_shape
from core.networks.sparse_forms import Filters, RandomSparse, SemiSparse, Sparse, index_bytes
from core.networks.views import LINEAR, LayerView

if TYPE_CHECKING:
    from torch import Tensor, nn


__all__ = [
    "FAMILIES",
    "Dense",
    "Family",
    "Filters",
    "Form",
    "LowRank",
    "LowRankSparse",
    "RandomSparse",
    "SemiSparse",
    "Sparse",
    "SpatialLowRank",
    "family_of",
    "form_words",
    "layer_obstacle",
    "low_rank_and_sparse",
    "unfolded_shape",
]


class Form(Protocol):
    """What every form offers."""

    @property
    def family(self) -> str: ...
    @property
    def level(self) -> int: ...
    def cost(self, view: LayerView) -> Cost: ...
    def obstacle(self, view: LayerView) -> str: ...
    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module: ...


@dataclass(frozen=True, slots=True)
class Dense:
    """The layer as it is."""

    @property
    def family(self) -> str:
        return "dense"

    @property
    def level(self) -> int:
        return 0

    def cost(self, view: LayerView) -> Cost:
        macs = view.size * view.positions if view.kind != "embedding" else 0
        params = view.size + view.num_bias
        return Cost(params, macs, params * view.itemsize, macs)

    def obstacle(self, view: LayerView) -> str:
        return ""

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.dense(layer, view, factors[0] if factors else None)


@dataclass(frozen=True, slots=True)
class LowRank:
    """Two factors of rank r. pointwise_first: a convolution starts with the 1 x 1 factor, else it ends with it."""

    rank: int
    pointwise_first: bool = False

    @property
    def family(self) -> str:
        return "lowrank_in" if self.pointwise_first else "lowrank"

    @property
    def level(self) -> int:
        return self.rank

    def cost(self, view: LayerView) -> Cost:
        if not self.pointwise_first:
            return _factor_cost(self.rank, _factor_sizes(view, "rows"), (view.positions, view.positions), view)
        at = (math.prod(view.in_size) * _calls(view), view.positions)
        return _factor_cost(self.rank, _factor_sizes(view, "columns"), at, view)

    def obstacle(self, view: LayerView) -> str:
        if self.pointwise_first and not has_kernel(view):
            return "only a convolution with a kernel larger than 1 × 1 has a separate 1 × 1 part"
        return layer_obstacle(view) or rank_obstacle(self.rank, view, "columns" if self.pointwise_first else "rows")

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.low_rank(layer, view, self.rank, "columns" if self.pointwise_first else "rows", factors)


@dataclass(frozen=True, slots=True)
class SpatialLowRank:
    """A kh x 1 convolution to r channels, then a 1 x kw one."""

    rank: int

    @property
    def family(self) -> str:
        return "spatial"

    @property
    def level(self) -> int:
        return self.rank

    def cost(self, view: LayerView) -> Cost:
        sizes = _factor_sizes(view, "spatial")
        between = view.out_size[0] * view.in_size[1] * _calls(view) if view.positions else 0
        return _factor_cost(self.rank, sizes, (between, view.positions), view)

    def obstacle(self, view: LayerView) -> str:
        if view.kind != "conv2d" or 1 in view.kernel:
            return "only a two-dimensional kernel can be split into a column and a row"
        return layer_obstacle(view) or rank_obstacle(self.rank, view, "spatial")

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.low_rank(layer, view, self.rank, "spatial", factors)


@dataclass(frozen=True, slots=True)
class LowRankSparse:
    """Two factors of rank r beside a matrix that holds `nonzeros` entries, W ~ A B + S, their outputs added.

    `numerics.lowrank_sparse` finds them. The sparse part is a mask: it executes the MACs of the dense layer on top of
    those of the factors, so this form saves parameters and bytes, never executed MACs. Index: one bit an entry."""

    rank: int
    nonzeros: int

    @property
    def family(self) -> str:
        return "lowrank_sparse"

    @property
    def level(self) -> int:
        return self.rank

    def cost(self, view: LayerView) -> Cost:
        kept, macs = self.nonzeros, view.size * view.positions
        beside = Cost(kept, macs, kept * view.itemsize + index_bytes(view), kept * view.positions)
        return LowRank(self.rank).cost(view) + beside

    def obstacle(self, view: LayerView) -> str:
        return LowRank(self.rank).obstacle(view) or Sparse(self.nonzeros).obstacle(view)

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.low_rank_sparse(layer, view, self.rank, self.nonzeros, factors)


def low_rank_and_sparse(rank: int, nonzeros: int) -> Form:
    """The form of a pair, so that there is one way to say each: without a rank Sparse, without entries LowRank.
    ValueError for a pair of which nothing is left."""
    if rank < 0 or nonzeros < 0 or rank + nonzeros == 0:
        raise ValueError(f"rank {rank} with {nonzeros} entries is no form of a layer")
    if rank == 0:
        return Sparse(nonzeros)
    return LowRankSparse(rank, nonzeros) if nonzeros else LowRank(rank)


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of form with a level that a person can turn.

    unfolding  the matrix whose spectrum governs it ("" for masks).
    full       largest level for a layer; levels count from 1 to it: ranks, rows, or per cent of the weights kept.
    make       (level, view) -> form.
    """

    id: str
    label: str
    unit: str
    unfolding: str
    full: Callable[[LayerView], int]
    make: Callable[[int, LayerView], Form]

    def level(self, form: Form, view: LayerView) -> int:
        """The level of a form of this family; single entries in per cent of the weights, rounded, at least 1."""
        return max(1, round(100 * form.level / view.size)) if self.id in ("sparse", "random") else form.level

    def label_on(self, view: LayerView) -> str:
        """What to call the family on this layer: a linear layer has no kernel to speak of."""
        return "low-rank (two factors)" if self.id == "lowrank" and view.kind in LINEAR else self.label

    def words(self, form: Form, view: LayerView) -> str:
        """A form of this family as people read it: "spatial (k × 1, then 1 × k), rank 10"."""
        level = self.level(form, view)
        return f"{self.label_on(view)}, " + (f"rank {level}" if self.unit == "rank" else f"{level} {self.unit}")

    def obstacle(self, view: LayerView) -> str:
        """Why no form of this family fits the layer, "" if one does."""
        return self.make(1, view).obstacle(view)

    def break_even(self, view: LayerView, quantity: str) -> int:
        """The largest level that costs strictly less than the dense layer, 0 if none does. By bisection: cost rises
        with the level."""
        dense = Dense().cost(view).of(quantity)
        low, high = 0, self.full(view)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.make(middle, view).cost(view).of(quantity) < dense else (low, middle - 1)
        return low


def form_words(form: Form, view: LayerView) -> str:
    """Any form as people read it, "dense" for Dense."""
    return "dense" if isinstance(form, Dense) else family_of(form).words(form, view)


def family_of(form: Form) -> Family:
    """The family in which a form is turned; what its level does not say stays as the form has it: the seed of a random
    mask, and of low rank + sparse the number of entries, while its level is the rank. KeyError for Dense."""
    if isinstance(form, LowRankSparse):
        q = form.nonzeros
        label = f"low-rank + {q:,} sparse weights"
        return Family(form.family, label, "rank", "rows", _full_rank("rows"), lambda r, _: LowRankSparse(r, q))
    if isinstance(form, RandomSparse) and form.seed:
        seed = form.seed
        family = FAMILIES[form.family]
        label = f"{family.label}, seed {seed}"
        return replace(family, label=label, make=lambda percent, view: RandomSparse(_share(percent, view), seed))
    return FAMILIES[form.family]


def _share(percent: int, view: LayerView) -> int:
    """That many per cent of the layer's entries, rounded, at least 1."""
    return max(1, round(percent * view.size / 100))


def _full_rank(unfolding: str) -> Callable[[LayerView], int]:
    return lambda view: min(unfolded_shape(view, unfolding))


FAMILIES: dict[str, Family] = {
    family.id: family
    for family in (
        Family("lowrank", "low-rank (k × k, then 1 × 1)", "rank", "rows", _full_rank("rows"), lambda r, _: LowRank(r)),
        Family(
            "lowrank_in",
            "low-rank (1 × 1, then k × k)",
            "rank",
            "columns",
            _full_rank("columns"),
            lambda r, _: LowRank(r, True),
        ),
        Family(
            "spatial",
            "spatial (k × 1, then 1 × k)",
            "rank",
            "spatial",
            _full_rank("spatial"),
            lambda r, _: SpatialLowRank(r),
        ),
        Family(
            "sparse",
            "sparse (largest weights)",
            "% kept",
            "",
            lambda _: 100,
            lambda percent, view: Sparse(_share(percent, view)),
        ),
        Family("sparse24", "2:4 sparse", "% kept", "", lambda _: 50, lambda _, view: SemiSparse()),
        Family("filters", "whole rows or filters", "rows kept", "", lambda view: view.m, lambda q, _: Filters(q)),
        Family(
            "random",
            "random weights (baseline)",
            "% kept",
            "",
            lambda _: 100,
            lambda percent, view: RandomSparse(_share(percent, view)),
        ),
    )
}


def _factor_sizes(view: LayerView, unfolding: str) -> tuple[int, int]:
    """Entries per unit of rank of the first and the second factor."""
    rows, columns = unfolded_shape(view, unfolding)
    return columns, rows


def _calls(view: LayerView) -> int:
    """How often a convolution runs on one sample, all of its inputs taken to have the size of the first; 0: unknown."""
    return view.positions // math.prod(view.out_size) if view.positions else 0


def _factor_cost(rank: int, sizes: tuple[int, int], at: tuple[int, int], view: LayerView) -> Cost:
    params = rank * sum(sizes) + view.num_bias
    macs = rank * (sizes[0] * at[0] + sizes[1] * at[1])
    return Cost(params, macs, params * view.itemsize, macs)
