"""A network as a graph of torch.fx: nothing in it changes a value in place, and BatchNorm in evaluation is folded into
the convolution before it."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_FUNCTIONAL: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    F.relu_: F.relu,
    torch.relu_: torch.relu,
}


class Untraceable(Exception):
    """Why a network cannot be replayed, in words that end a sentence."""


class Traced:
    """The graph of a copy of `model`, which must be in evaluation.

    names    layers to keep as nodes of their own. channels_last  how weights and four-dimensional inputs are held.
    nodes    in order, the output node left out; `end` is the one it returns.
    layers   name -> the layer itself, as it was. affine  name -> (scale, shift) of a BatchNorm folded into it.
    modules  target -> what a node of the graph calls. Raises Untraceable, or what tracing raises."""

    def __init__(self, model: nn.Module, names: Iterable[str], channels_last: bool) -> None:
        self.names = set(names)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        root: Any = copy.deepcopy(model)
        self.root = root
        for module in root.modules():
            if getattr(module, "inplace", False) is True:
                module.inplace = False
        graph = LayerTracer(self.names).trace(root)
        if channels_last:
            root.to(memory_format=torch.channels_last)
        for node in graph.nodes:
            _make_functional(node)
        called = [str(node.target) for node in graph.nodes if node.op == "call_module"]
        self.layers = {name: root.get_submodule(name) for name in self.names}
        self.modules: dict[str, nn.Module] = {target: root.get_submodule(target) for target in called}
        self.affine: dict[str, tuple[Tensor, Tensor]] = {}
        for node in list(graph.nodes):
            self._fold(graph, node, called)
        graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        nodes = list(graph.nodes)
        if not isinstance(nodes[-1].args[0], fx.Node):
            raise Untraceable("it gives more than one output")
        self.graph, self.nodes, self.end = graph, nodes[:-1], nodes[-1].args[0]

    def calls(self, name: str) -> list[fx.Node]:
        """The nodes that call a layer, in order. Untraceable if one is not given just one value."""
        found = [node for node in self.nodes if node.op == "call_module" and node.target == name]
        if any(len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node) for node in found):
            raise Untraceable(f"it calls {name!r} with more than one input")
        return found

    def value(self, node: fx.Node, read: Callable[[fx.Node], Any], x: Tensor | None = None) -> Any:
        """What a node gives: `read` looks its inputs up, x is the input of the network."""
        target: Any = node.target
        if node.op == "placeholder":
            if node is self.nodes[0] and x is not None:
                return x.contiguous(memory_format=self.format)
            if not node.args:
                raise Untraceable("it takes more than one input")
            return node.args[0]
        if node.op == "get_attr":
            found: Any = self.root
            for part in target.split("."):
                found = getattr(found, part)
            return found
        args: Any = fx.map_arg(node.args, read)
        kwargs: Any = fx.map_arg(node.kwargs, read)
        if node.op == "call_module":
            return self.modules[target](*args, **kwargs)
        return getattr(args[0], target)(*args[1:], **kwargs) if node.op == "call_method" else target(*args, **kwargs)

    def _fold(self, graph: fx.Graph, norm: fx.Node, called: list[str]) -> None:
        """Takes a BatchNorm out of the graph if all it does is to follow one convolution that nothing else reads."""
        source: Any = norm.args[0] if norm.args else None
        if norm.op != "call_module" or not isinstance(source, fx.Node) or source.op != "call_module":
            return
        bn, conv = self.modules[str(norm.target)], self.modules[str(source.target)]
        if not isinstance(bn, nn.BatchNorm1d | nn.BatchNorm2d) or not isinstance(conv, nn.Conv1d | nn.Conv2d):
            return
        if bn.running_mean is None or bn.running_var is None or len(source.users) > 1:
            return
        if called.count(str(norm.target)) > 1 or called.count(str(source.target)) > 1:
            return
        scale = (bn.running_var + bn.eps).rsqrt() * (1.0 if bn.weight is None else bn.weight)
        shift = (0.0 if bn.bias is None else bn.bias) - bn.running_mean * scale
        self.affine[str(source.target)] = (scale.detach(), shift.detach())
        self.modules[str(source.target)] = fuse_conv_bn_eval(conv, bn)
        norm.replace_all_uses_with(source)
        graph.erase_node(norm)


class LayerTracer(fx.Tracer):
    """Goes into every module but torch's own and the layers to be exchanged."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.names or super().is_leaf_module(m, module_qualified_name)


def _make_functional(node: fx.Node) -> None:
    """Replaces what changes a value in place; that this is sound for the network at hand is checked on its outputs."""
    if node.op == "call_function" and node.target in _FUNCTIONAL:
        node.target = _FUNCTIONAL[node.target]
    elif node.op == "call_method":
        name = str(node.target)
        node.target = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
