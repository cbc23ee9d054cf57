"""Forms that zero entries of a layer's matrix: which entries stay, and what that costs. `forms` is their door.

    family       form                   what stays
    sparse       Sparse(q)              the q entries of largest magnitude
    random       RandomSparse(q, seed)  q entries drawn at random: the baseline that a choice of entries has to beat
    sparse24     SemiSparse()           the two largest of every four neighbours in a row
    filters      Filters(q)             the q rows of largest norm

All are masks: the executed MACs stay those of the dense layer, the useful ones touch what stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.networks.costs import Cost
from core.networks.obstacles import count_obstacle, layer_obstacle
from core.networks.views import LayerView

if TYPE_CHECKING:
    from torch import Tensor, nn

SEED_BYTES = 8
"""What a file needs to draw the positions of a random mask again: its seed, in 64 bits; the layer's name is known."""


def index_bytes(view: LayerView) -> int:
    """Bytes that say which entries of the layer's matrix are stored, at one bit an entry."""
    return -(-view.size // 8)


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
        return _mask_cost(view, self.nonzeros, index_bytes(view))

    def obstacle(self, view: LayerView) -> str:
        return layer_obstacle(view) or count_obstacle(self.nonzeros, view.size, "weights")

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.masked(layer, view, modules.magnitude_mask(layer, view, self.nonzeros), factors)


@dataclass(frozen=True, slots=True)
class RandomSparse:
    """`nonzeros` entries at positions drawn uniformly with `seed` and the layer's name, their values as they are (not
    scaled up); the rest is masked. Of a matrix of `size` entries it loses the share 1 - nonzeros / size of the squared
    norm, on average over seeds. On disk the seed stands for the positions."""

    nonzeros: int
    seed: int = 0

    @property
    def family(self) -> str:
        return "random"

    @property
    def level(self) -> int:
        return self.nonzeros

    def cost(self, view: LayerView) -> Cost:
        return _mask_cost(view, self.nonzeros, SEED_BYTES)

    def obstacle(self, view: LayerView) -> str:
        return layer_obstacle(view) or count_obstacle(self.nonzeros, view.size, "weights")

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.masked(layer, view, modules.random_mask(layer, view, self.nonzeros, self.seed), factors)


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
        return _mask_cost(view, view.size // 2, index_bytes(view))

    def obstacle(self, view: LayerView) -> str:
        if view.n % 4:
            return f"2:4 sparsity needs rows of a multiple of 4 entries, these have {view.n}"
        return layer_obstacle(view)

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module:
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
        return _mask_cost(view, self.rows * view.n, -(-view.m // 8))

    def obstacle(self, view: LayerView) -> str:
        return layer_obstacle(view) or count_obstacle(self.rows, view.m, "rows")

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module:
        from core.networks import modules

        return modules.masked(layer, view, modules.row_mask(layer, view, self.rows), factors)


def _mask_cost(view: LayerView, kept: int, index: int) -> Cost:
    """Of a layer that keeps `kept` entries, with an index of `index` bytes."""
    params = kept + view.num_bias
    return Cost(params, view.size * view.positions, params * view.itemsize + index, kept * view.positions)
