"""apply(plan, model) -> a new network; the one given is never touched."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.networks.forms import Dense
from core.networks.views import LayerView, views

if TYPE_CHECKING:
    from torch import Tensor, nn

    from core.compression.plans import Plan


def apply(
    plan: Plan,
    model: nn.Module,
    layers: tuple[LayerView, ...] | None = None,
    factors: Mapping[str, tuple[Tensor, ...]] | None = None,
) -> nn.Module:
    """A copy of `model` in which every layer has the form the plan names.

    layers   the views of the model, looked up when None. factors  by layer name, what `Form.build` should use in place
    of its own truncation. ValueError for a layer the model lacks or a form that does not fit it.
    """
    known = {view.name: view for view in (layers if layers is not None else views(model))}
    new = copy.deepcopy(model)
    for entry in plan.layers:
        if entry.layer not in known:
            raise ValueError(f"the model has no layer {entry.layer!r}")
        view = known[entry.layer]
        if isinstance(entry.form, Dense):
            continue
        why = entry.form.obstacle(view)
        if why:
            raise ValueError(f"{entry.layer} cannot take the form {entry.form}: {why}")
        built = entry.form.build(model.get_submodule(entry.layer), view, (factors or {}).get(entry.layer))
        exchange(new, entry.layer, built)
    return new


def exchange(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Puts `layer` at the path `name` of `model`, in place, and wherever else the module that was there is used."""
    old = model.get_submodule(name)
    for parent in list(model.modules()):
        for child in [child for child, module in parent._modules.items() if module is old]:
            setattr(parent, child, layer)
