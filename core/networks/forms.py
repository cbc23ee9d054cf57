"""The forms a layer can take. Each knows what it costs, when it cannot be used, and how it is built.

    family       form                          weight becomes
    dense        Dense()                       itself
    lowrank      LowRank(r)                    m x r times r x n; of a convolution k x k (c -> r), then 1 x 1 (r -> o)
    lowrank_in   LowRank(r, True)              1 x 1 (c -> r), then k x k (r -> o)
    spatial      SpatialLowRank(r)             kh x 1 (c -> r), then 1 x kw (r -> o)
    sparse       Sparse(q)                     its q entries of largest magnitude
    sparse24     SemiSparse()                  the two largest of every four neighbours in a row
    filters      Filters(q)                    its q rows of largest norm

The last three are masks: they zero entries, and the executed MACs stay those of the dense layer.
Costs: derived; `Cost` says what is counted. A form is a frozen record; a layer of a plan holds exactly one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from core.networks.costs import Cost
from core.networks.views import CONVOLUTIONS, LINEAR, LayerView

if TYPE_CHECKING:
    from torch import Tensor, nn

SMALLEST = 2
"""A matrix with a side shorter than this has nothing to factorise."""


class Form(Protocol):
    """What every form offers."""

    @property
    def family(self) -> str: ...
    @property
    def level(self) -> int: ...
    def cost(self, view: LayerView) -> Cost: ...
    def obstacle(self, view: LayerView) -> str: ...
    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, Tensor] | None = None) -> nn.Module: ...


def layer_obstacle(view: LayerView) -> str:
    """Why no form but Dense fits this layer, "" if some may."""
    if not view.finite:
        return "its weight holds NaN or infinite values"
    if view.tied_to:
        return f"it shares its weight with {view.tied_to}"
    if view.blocked:
        return view.blocked
    if view.kind == "embedding":
        return "an embedding is looked up, not multiplied"
    if view.kind == "in_proj":
        return "its projections are packed inside nn.MultiheadAttention"
    if view.kind not in CONVOLUTIONS + LINEAR:
        return f"layers of kind {view.kind} are not supported"
    if view.groups > 1:
        return f"it is a grouped convolution: {view.groups} separate {view.m} × {view.n} matrices"
    if min(view.m, view.n) < SMALLEST:
        return f"a {view.m} × {view.n} matrix has rank 1 already"
    return ""


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

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, Tensor] | None = None) -> nn.Module:
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
        if self.pointwise_first and not _has_kernel(view):
            return "only a convolution with a kernel larger than 1 × 1 has a separate 1 × 1 part"
        return layer_obstacle(view) or _rank_obstacle(self.rank, view, "columns" if self.pointwise_first else "rows")

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, Tensor] | None = None) -> nn.Module:
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
        return layer_obstacle(view) or _rank_obstacle(self.rank, view, "spatial")

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, Tensor] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.low_rank(layer, view, self.rank, "spatial", factors)


@dataclass(frozen=True, slots=True)
class Sparse:
    """The `nonzeros` entries of largest magnitude; the rest is masked. Index on disk: one bit an entry."""

    nonzeros: int

    @property
    def family(self) -> str:
        return "sparse"

    @property
    def level(self) -> int:
        return self.nonzeros

    def cost(self, view: LayerView) -> Cost:
        return _mask_cost(view, self.nonzeros, view.num_bias, index_bytes=-(-view.size // 8))

    def obstacle(self, view: LayerView) -> str:
        return layer_obstacle(view) or _count_obstacle(self.nonzeros, view.size, "weights")

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, Tensor] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.masked(layer, view, modules.magnitude_mask(layer, view, self.nonzeros), factors)


@dataclass(frozen=True, slots=True)
class SemiSparse:
    """2:4 sparsity: of every four neighbours along a row of W the two of largest magnitude. Index: two bits a kept
    weight."""

    @property
    def family(self) -> str:
        return "sparse24"

    @property
    def level(self) -> int:
        return 50

    def cost(self, view: LayerView) -> Cost:
        return _mask_cost(view, view.size // 2, view.num_bias, index_bytes=-(-view.size // 8))

    def obstacle(self, view: LayerView) -> str:
        if view.n % 4:
            return f"2:4 sparsity needs rows of a multiple of 4 entries, these have {view.n}"
        return layer_obstacle(view)

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, Tensor] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.masked(layer, view, modules.two_of_four_mask(layer, view), factors)


@dataclass(frozen=True, slots=True)
class Filters:
    """The `rows` rows (units, filters) of largest norm; the others are masked. Index: one bit a row."""

    rows: int

    @property
    def family(self) -> str:
        return "filters"

    @property
    def level(self) -> int:
        return self.rows

    def cost(self, view: LayerView) -> Cost:
        return _mask_cost(view, self.rows * view.n, view.num_bias, index_bytes=-(-view.m // 8))

    def obstacle(self, view: LayerView) -> str:
        return layer_obstacle(view) or _count_obstacle(self.rows, view.m, "rows")

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, Tensor] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.masked(layer, view, modules.row_mask(layer, view, self.rows), factors)


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
        """The level of a form of this family; a sparse one in per cent of the weights, rounded, at least 1."""
        return max(1, round(100 * form.level / view.size)) if self.id == "sparse" else form.level

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
    return FAMILIES[form.family].words(form, view) if form.family in FAMILIES else form.family


def unfolded_shape(view: LayerView, unfolding: str) -> tuple[int, int]:
    """Rows and columns of the layer's matrix in an unfolding of `numerics.conv`."""
    sides = math.prod(view.kernel)
    if unfolding == "rows" or not view.kernel:
        return view.m, view.n
    if unfolding == "columns":
        return view.m * sides, view.channels_in
    return view.m * view.kernel[-1], view.channels_in * view.kernel[0]


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
            lambda percent, view: Sparse(max(1, round(percent * view.size / 100))),
        ),
        Family("sparse24", "2:4 sparse", "% kept", "", lambda _: 50, lambda _, view: SemiSparse()),
        Family("filters", "whole rows or filters", "rows kept", "", lambda view: view.m, lambda q, _: Filters(q)),
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


def _mask_cost(view: LayerView, kept: int, num_bias: int, index_bytes: int) -> Cost:
    dense = Dense().cost(view)
    return Cost(kept + num_bias, dense.macs, (kept + num_bias) * view.itemsize + index_bytes, kept * view.positions)


def _has_kernel(view: LayerView) -> bool:
    return view.kind in CONVOLUTIONS and math.prod(view.kernel) > 1


def _rank_obstacle(rank: int, view: LayerView, unfolding: str) -> str:
    full = min(unfolded_shape(view, unfolding))
    return "" if 1 <= rank <= full else f"rank {rank} is outside 1 to {full}"


def _count_obstacle(count: int, full: int, what: str) -> str:
    return "" if 1 <= count <= full else f"{count} {what} is outside 1 to {full}"
