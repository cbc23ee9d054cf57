"""What becomes of a layer's outputs in its network: a ReLU, BatchNorm and then a ReLU, an addition, another activation.

It decides which function a low-rank start should keep (`core.numerics.relu`, `core.numerics.hermite`): read from the
graph that torch.fx traces. What cannot be read counts as linear, for which truncation is best; the reason is told.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from core.compression.tracing import LayerTracer
from core.networks.views import LayerView

ACTIVATIONS: dict[Any, str] = {
    nn.ReLU: "relu",
    F.relu: "relu",
    torch.relu: "relu",
    nn.GELU: "gelu",
    F.gelu: "gelu",
    nn.SiLU: "silu",
    F.silu: "silu",
    nn.Tanh: "tanh",
    torch.tanh: "tanh",
}
METHODS = {"relu": "relu", "relu_": "relu", "tanh": "tanh"}
PASSING = (nn.Dropout, nn.Dropout2d, nn.Identity)
ADDING = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True, slots=True)
class Context:
    """objective  of `relu.OBJECTIVES`, "leaky(slope)", or an activation of `hermite`. words  what follows, and why that
    objective, for people. norm  name of the BatchNorm in between, "" without one."""

    objective: str
    words: str
    norm: str = ""


def contexts(model: nn.Module, layers: Iterable[LayerView]) -> dict[str, Context]:
    """Layer name -> what follows it. A network that cannot be traced has every layer linear, with the reason."""
    names = [view.name for view in layers]
    try:
        tracer = LayerTracer(set(names))
        graph = tracer.trace(model)
    except Exception as error:  # a network of anyone's may raise anything
        why = f"the network cannot be traced ({type(error).__name__})"
        return dict.fromkeys(names, Context("linear", why))
    found: dict[str, list[Context]] = {name: [] for name in names}
    for node in graph.nodes:
        if node.op == "call_module" and str(node.target) in found:
            found[str(node.target)].append(_after(node, model))
    return {name: _one(each) for name, each in found.items()}


def _one(each: list[Context]) -> Context:
    if not each:
        return Context("linear", "its place in the network is not seen")
    return each[0] if len(set(each)) == 1 else Context("linear", "it is used in places that differ")


def _after(node: fx.Node, model: nn.Module) -> Context:
    users = list(node.users)
    if len(users) != 1:
        return Context("linear", "several things read it")
    user = users[0]
    if user.op == "output":
        return Context("linear", "it is the network's output")
    module = model.get_submodule(str(user.target)) if user.op == "call_module" else None
    if isinstance(module, PASSING):
        return _after(user, model)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return _behind_norm(user, model)
    if isinstance(module, nn.LeakyReLU):
        return Context(f"leaky({module.negative_slope:g})", "a leaky ReLU follows")
    if user.op == "call_function" and user.target is F.leaky_relu:
        slope = user.kwargs.get("negative_slope", user.args[1] if len(user.args) > 1 else 0.01)
        return Context(f"leaky({float(slope):g})", "a leaky ReLU follows")  # type: ignore[arg-type]
    name = _activation(user, module)
    if name:
        return Context(name, f"{'a ReLU' if name == 'relu' else name} follows")
    if user.op == "call_function" and user.target in ADDING:
        return Context("linear", "an addition follows")
    return Context("linear", f"{_said(user, module)} follows")


def _behind_norm(norm: fx.Node, model: nn.Module) -> Context:
    users = list(norm.users)
    module = model.get_submodule(str(users[0].target)) if len(users) == 1 and users[0].op == "call_module" else None
    if len(users) == 1 and _activation(users[0], module) == "relu":
        return Context("bn", "BatchNorm and a ReLU follow", str(norm.target))
    return Context("linear", "BatchNorm follows, and no ReLU behind it", str(norm.target))


def _activation(user: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return ACTIVATIONS.get(type(module), "")
    if user.op == "call_method":
        return METHODS.get(str(user.target), "")
    return ACTIVATIONS.get(user.target, "") if user.op == "call_function" else ""


def _said(user: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return type(module).__name__
    return str(getattr(user.target, "__name__", user.target))
