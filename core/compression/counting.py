"""What a network costs once rows are removed from it: counted on its own tensors, not predicted from the plan."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.compression.plans import Plan
from core.networks.costs import Cost, total
from core.networks.forms import FAMILIES, Dense, Form, LowRankSparse, Sparse
from core.networks.inspection import rest_of, weight_of
from core.networks.views import LayerView, views


@dataclass(frozen=True, slots=True)
class Counted:
    """A network's cost, and the view and the cost of each of its layers, for one sample; MACs are 0 where no sample was
    run."""

    cost: Cost
    layers: tuple[tuple[LayerView, Cost], ...]

    def parts(self, layer: str) -> tuple[tuple[LayerView, Cost], ...]:
        """What a layer of the dense network has become: one layer, or several under its name."""
        return tuple(part for part in self.layers if part[0].name == layer or part[0].name.startswith(f"{layer}."))


def counted(network: nn.Module, plan: Plan, example: Tensor | None) -> Counted:
    """Parameters, MACs and bytes of `network`, to which `plan` was applied, as it is.

    Every stored number counts, except zeros of layers that `plan` still masks: as `Cost` says of masks, their bytes
    have the index of the mask instead, and their MACs are executed but not useful. example  an input (1, ...)."""
    found = views(network, example)
    rest, _ = rest_of(network, found, example)
    costs = [_cost(network, view, plan) for view in found]
    return Counted(total(costs) + rest, tuple(zip(found, costs, strict=True)))


def _mask(plan: Plan, name: str) -> Form | None:
    """The mask that `plan` lays on a layer of the compressed network, None if it lays none."""
    form = plan.form(name)
    if form.family in FAMILIES and not FAMILIES[form.family].unfolding:
        return form
    whole = plan.form(name.removesuffix(".sparse"))
    return Sparse(whole.nonzeros) if isinstance(whole, LowRankSparse) and name.endswith(".sparse") else None


def _cost(network: nn.Module, view: LayerView, plan: Plan) -> Cost:
    """Of one layer; a tied one only executes."""
    dense = Dense().cost(view)
    if view.tied_to:
        return Cost(0, dense.macs, 0, dense.useful_macs)
    form = _mask(plan, view.name)
    weight = weight_of(network.get_submodule(view.name.removesuffix(".in_proj")))
    zeros = view.size - int(torch.count_nonzero(weight))
    if form is None or not zeros:
        return dense
    mask = form.cost(view)
    index = mask.bytes - mask.params * view.itemsize
    return Cost(
        dense.params - zeros,
        dense.macs,
        dense.bytes - zeros * view.itemsize + index,
        dense.useful_macs - zeros * view.positions if dense.macs else 0,
    )
