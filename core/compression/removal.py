"""Removes the rows that a plan masks by Filters for real, with everything coupled to them.

    removal = planned(plan, model, layers, example)   which rows go, and why others stay masked
    network = removal.taken(network, example)         the smaller network, of one that removal.plan was applied to

Rows of layers that are tied, as those which write one residual stream, go together: the same ones in all, chosen by the
summed squared norm of the planned layers' rows. Where that cannot be, the rows stay masked and a note says why.
Source of the choice: Li et al. 2017 for a layer alone; Fang et al. 2023 for summing over a group.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from core.compression.apply import apply
from core.compression.coupling import Group, groups_of
from core.compression.cutting import Cut, without
from core.compression.folding import folded
from core.compression.plans import LayerPlan, Plan
from core.compression.trials import accepted
from core.networks import modules
from core.networks.forms import Filters

if TYPE_CHECKING:
    from core.networks.costs import Cost
    from core.networks.views import LayerView


@dataclass(frozen=True, slots=True)
class Rows:
    """The form Filters with the rows named that stay, increasing from 0; plans in files hold only how many."""

    kept: tuple[int, ...]

    @property
    def family(self) -> str:
        return "filters"

    @property
    def level(self) -> int:
        return len(self.kept)

    def cost(self, view: LayerView) -> Cost:
        return Filters(len(self.kept)).cost(view)

    def obstacle(self, view: LayerView) -> str:
        return Filters(len(self.kept)).obstacle(view)

    def mask(self, layer: nn.Module, view: LayerView) -> Tensor:
        """(m, n) bool, True in the rows that stay."""
        W = modules.matrix(layer, view)
        mask = torch.zeros(view.m, 1, dtype=torch.bool, device=W.device)
        mask[list(self.kept)] = True
        return mask.expand(view.m, view.n)

    def build(self, layer: nn.Module, view: LayerView, factors: tuple[Tensor, ...] | None = None) -> nn.Module:
        return modules.masked(layer, view, self.mask(layer, view), factors)


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """What is removed from a plan's network. plan  that names the very rows of these layers. cuts  what goes.

    notes  a sentence for everything that is not as the plan alone says."""

    plan: Plan
    cuts: tuple[Cut, ...]
    notes: tuple[str, ...]

    @property
    def kept(self) -> Mapping[str, tuple[int, ...]]:
        """Layer -> its rows that stay, of layers that lose some."""
        return {name: cut.kept for cut in self.cuts for name in cut.group.names}

    def taken(self, network: nn.Module, example: Tensor) -> nn.Module:
        """A copy of the network, in which `plan` masks rows, without them; constants folded as `folding` says."""
        if not self.cuts:
            return copy.deepcopy(network)
        return without(folded(network, self.cuts, example)[0], self.cuts)


def planned(plan: Plan, model: nn.Module, layers: tuple[LayerView, ...], example: Tensor) -> Removal:
    """What can be removed of the rows that `plan` masks, chosen by the weights of the dense `model`.

    layers   the views of the model. example  inputs (N, ...). The model is not touched. InputError if torch-pruning is
    missing and the plan masks rows; ValueError as `apply`."""
    if not _asked(plan):
        return Removal(plan, (), ())
    made, notes = _cuts(plan, apply(plan, model, layers), model, example)
    kept = {name: cut.kept for cut in made for name in cut.group.names}
    entries = (
        LayerPlan(entry.layer, Rows(kept[entry.layer])) if entry.layer in kept else entry for entry in plan.layers
    )
    named = replace(plan, layers=tuple(entries))
    return Removal(named, made, (*notes, *_dropped(apply(named, model, layers), made, example)))


def remove_rows(network: nn.Module, plan: Plan, example: Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """`network`, to which `plan` was applied, without the rows it masks; and a sentence for everything that is not as
    the plan alone says. The rows are chosen by the network's own weights. Nothing is touched. InputError as
    `planned`."""
    made, notes = _cuts(plan, network, network, example) if _asked(plan) else ((), ())
    return Removal(plan, made, ()).taken(network, example), (*notes, *_dropped(network, made, example))


def _asked(plan: Plan) -> dict[str, int]:
    return {entry.layer: entry.form.level for entry in plan.layers if isinstance(entry.form, Filters)}


def _cuts(plan: Plan, network: nn.Module, model: nn.Module, example: Tensor) -> tuple[tuple[Cut, ...], tuple[str, ...]]:
    """What goes, by the structure of `network` and the weights of `model`; and notes."""
    asked = _asked(plan)
    groups, lost = groups_of(network, example)
    why = dict.fromkeys(asked, lost or "torch-pruning does not see it in the network")
    wanted = []
    for group in groups:
        ours = [name for name in group.names if name in asked]
        others = [name for name in group.names if name not in asked]
        reason = group.obstacle or (f"{_listed(others)} would lose the same rows and keeps them" if others else "")
        why |= dict.fromkeys(ours, reason)
        if ours and not reason:
            wanted.append(_chosen(group, asked, model))
    made, refused = accepted(network, [cut for cut in wanted if cut.gone], example)
    why |= refused
    notes = [f"{name}: its rows stay masked, because {reason}." for name, reason in why.items() if reason]
    notes += [_together(cut) for cut in made if len(cut.group.writers) > 1]
    return tuple(made), tuple(notes)


def _chosen(group: Group, asked: Mapping[str, int], model: nn.Module) -> Cut:
    """The rows of largest summed squared norm stay, as many as the planned layer keeps that keeps most."""
    squares = torch.zeros(group.channels, dtype=torch.float64)
    for name in group.names:
        layer: Any = model.get_submodule(name)
        squares += layer.weight.detach().double().flatten(1).square().sum(1).cpu()
    order = torch.argsort(squares, descending=True, stable=True).tolist()
    return Cut(group, tuple(sorted(order[max(asked[name] for name in group.names) :])))


def _together(cut: Cut) -> str:
    return (
        f"{_listed(cut.group.names)} lose their rows together: the same {len(cut.kept)} of {cut.group.channels} stay."
    )


def _dropped(network: nn.Module, cuts: tuple[Cut, ...], example: Tensor) -> tuple[str, ...]:
    if not cuts:
        return ()
    names = folded(network, cuts, example)[1]
    if not names:
        return ()
    return (
        "What the removed rows still gave through a bias or BatchNorm is dropped before "
        f"{_listed(names)}, where no bias can stand in for it.",
    )


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
