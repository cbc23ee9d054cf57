"""A network as a graph whose suffix can be run again: what does not depend on a layer is kept from the dense pass, and
only what does is recomputed, for several candidates of the layer stacked along the batch.

Made by torch.fx tracing. BatchNorm in evaluation is folded into the convolution before it, images are held channels
last, and a fresh value that nothing else reads is changed in place by the ReLU or the sum after it. Every graph is
checked against the network itself on a few samples before it is used.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

STACK_BYTES = 8 * 2**20
"""Largest value of a stack of candidates (chosen: above it, memory is fetched anew at each step, 1.3 times slower)."""

KEPT_BYTES = 256 * 2**20
"""Most bytes of values kept from the dense pass of one chunk of samples (chosen)."""

TOLERANCE = 1e-4
"""Most relative difference between the graph's outputs and the network's; float32 rounding is near 1e-6 (chosen)."""

_SUMS = (operator.add, torch.add)
_RELUS = (F.relu, torch.relu)
_FRESH = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
_FUNCTIONAL = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    F.relu_: F.relu,
    torch.relu_: torch.relu,
}

Layer = Callable[[fx.Node, Tensor, bool], Tensor]
"""Outputs of the layer's candidates, stacked: (call, its input, whether that is stacked already) -> value."""


class Untraceable(Exception):
    """Why a network cannot be replayed, in words that end a sentence."""


class Replay:
    """The graph of a network for the layers `names`.

    model    in evaluation; a copy is kept, the one given is not touched. example  a few inputs, batch first.
    layers   name -> the layer itself, as it was. affine  name -> (scale, shift) of the BatchNorm folded into it.
    ran      the names that the network calls, in order. bytes  kept of one sample.
    Raises Untraceable."""

    def __init__(self, model: nn.Module, names: Iterable[str], example: Tensor) -> None:
        self.names = set(names)
        wanted = _outputs(model, example)
        why = ""
        for channels_last in (True, False) if example.ndim == 4 else (False,):
            self.format = torch.channels_last if channels_last else torch.contiguous_format
            try:
                self._prepare(model)
                found, two, three = self._probe(example)
            except Untraceable:
                raise
            except Exception as error:  # the user's own network: whatever tracing or running it raises
                why = f"it cannot be traced ({type(error).__name__})"
                continue
            if found.shape == wanted.shape and _close(found, wanted):
                break
            why = "its trace gives other outputs than it does itself"
        else:
            raise Untraceable(why)
        self._measure(two, three)

    def dense(self, x: Tensor) -> tuple[Tensor, dict[fx.Node, Any]]:
        """The outputs for x and the values that suffixes read."""
        env: dict[fx.Node, Any] = {}
        kept = {}
        for node in self.graph.nodes:
            env[node] = self._value(node, env, x)
            if node in self.needed:
                kept[node] = env[node]
            for dead in self.dead[node]:
                del env[dead]
        return kept[self.end], kept

    def suffix(self, name: str, kept: dict[fx.Node, Any], layer: Layer, slots: int) -> Tensor:
        """The network's outputs, (slots * samples, ...) with all samples of a slot together, where `layer` stands for
        every call of the layer `name`."""
        env: dict[fx.Node, Any] = {}
        made = self.after[name]
        tiled: dict[fx.Node, Any] = {}

        def read(node: fx.Node) -> Any:
            if node in env:
                return env[node]
            if node not in tiled:
                tiled[node] = _tiled(kept[node], self.spec[node], slots)
            return tiled[node]

        for node in made:
            if node.target == name and node.op == "call_module":
                given = node.args[0]
                stacked = given in env
                env[node] = layer(node, env[given] if stacked else kept[given], stacked)  # type: ignore[index]
            else:
                done = self._in_place(node, env, kept, slots)
                env[node] = done if done is not None else self._call(node, read)
            for dead in self.dead[node]:
                env.pop(dead, None)
                tiled.pop(dead, None)
            if node is self.end:
                break
        return env[self.end]  # type: ignore[no-any-return]

    def axis(self, node: fx.Node) -> int:
        """The axis along which the value of a node carries the samples; 0 where that is not understood."""
        spec = self.spec[node]
        return spec if isinstance(spec, int) else 0

    def slots(self, name: str, samples: int) -> int:
        """Most candidates of the layer to stack at once."""
        if name not in self.stackable:
            return 1
        return max(1, STACK_BYTES // max(1, samples * self.largest[name]))

    def samples(self) -> int:
        """Samples of one chunk, so that the kept values stay under KEPT_BYTES and a value under STACK_BYTES."""
        return max(1, min(KEPT_BYTES // max(1, self.bytes), STACK_BYTES // max(1, 4 * max(self.largest.values()))))

    def _prepare(self, model: nn.Module) -> None:
        root = copy.deepcopy(model).eval()
        for module in root.modules():
            if getattr(module, "inplace", False) is True:
                module.inplace = False  # type: ignore[assignment]
        self.graph = _Tracer(self.names).trace(root)
        self.root = root.to(memory_format=self.format) if self.format is torch.channels_last else root  # type: ignore[call-overload]
        for node in self.graph.nodes:
            if node.op == "call_function" and node.target in _FUNCTIONAL:
                node.target = _FUNCTIONAL[node.target]
            elif node.op == "call_function" and node.target is operator.setitem:
                raise Untraceable("it writes into parts of tensors")
            elif node.op == "call_method" and node.target.endswith("_") and not node.target.endswith("__"):
                node.target = node.target[:-1]
            if node.kwargs.get("inplace"):
                node.kwargs = {**node.kwargs, "inplace": False}
        self.layers = {name: root.get_submodule(name) for name in self.names}
        self.affine: dict[str, tuple[Tensor, Tensor]] = {}
        self.modules: dict[str, nn.Module] = {}
        calls = [node.target for node in self.graph.nodes if node.op == "call_module"]
        for target in set(calls):
            self.modules[target] = root.get_submodule(target)
        for node in list(self.graph.nodes):
            self._fold(node, calls)
        self.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        self._plan()

    def _fold(self, norm: fx.Node, calls: list[Any]) -> None:
        """Takes a BatchNorm out of the graph if the only thing it does is to follow one convolution."""
        source: Any = norm.args[0] if norm.args else None
        if norm.op != "call_module" or not isinstance(source, fx.Node) or source.op != "call_module":
            return
        bn, conv = self.modules[norm.target], self.modules[source.target]  # type: ignore[index]
        if not isinstance(bn, nn.BatchNorm1d | nn.BatchNorm2d) or not isinstance(conv, nn.Conv1d | nn.Conv2d):
            return
        if len(source.users) > 1 or bn.running_mean is None or bn.running_var is None:
            return
        if calls.count(norm.target) > 1 or calls.count(source.target) > 1:
            return
        scale = (bn.running_var + bn.eps).rsqrt() * (1.0 if bn.weight is None else bn.weight)
        shift = (0.0 if bn.bias is None else bn.bias) - bn.running_mean * scale
        self.affine[source.target] = (scale.detach(), shift.detach())  # type: ignore[index]
        self.modules[source.target] = fuse_conv_bn_eval(conv, bn)  # type: ignore[index]
        norm.replace_all_uses_with(source)
        self.graph.erase_node(norm)

    def _plan(self) -> None:
        """What depends on each layer, what must be kept for it, and after which node a value is no longer read."""
        nodes = list(self.graph.nodes)
        output = nodes[-1]
        if not isinstance(output.args[0], fx.Node):
            raise Untraceable("it gives more than one output")
        self.end = output.args[0]
        self.graph_order = nodes
        self.after: dict[str, list[fx.Node]] = {}
        self.needed = {self.end}
        for name in self.names:
            downstream: set[fx.Node] = set()
            for node in nodes[:-1]:
                own = node.op == "call_module" and node.target == name
                if own or any(source in downstream for source in node.all_input_nodes):
                    downstream.add(node)
                    sources = node.all_input_nodes
                    self.needed.update(source for source in sources if source not in downstream or own)
            if self.end in downstream:
                self.after[name] = [node for node in nodes if node in downstream]
        last = {source: node for node in nodes for source in node.all_input_nodes}
        self.dead: dict[fx.Node, list[fx.Node]] = {node: [] for node in nodes}
        for source, node in last.items():
            if source is not self.end and node is not output:
                self.dead[node].append(source)
        self.ran = tuple(
            name for node in nodes if node.op == "call_module" and (name := str(node.target)) in self.after
        )
        self.ran = tuple(dict.fromkeys(self.ran))

    def _probe(self, example: Tensor) -> tuple[Tensor, dict[fx.Node, Any], dict[fx.Node, Any]]:
        """Outputs for the example, and all values of two and of three samples."""
        three = example[torch.arange(3, device=example.device) % len(example)]
        runs = []
        for x in (three[:2], three):
            env: dict[fx.Node, Any] = {}
            for node in self.graph.nodes:
                env[node] = self._value(node, env, x)
            runs.append(env)
        return self.dense(example)[0], runs[0], runs[1]

    def _measure(self, two: dict[fx.Node, Any], three: dict[fx.Node, Any]) -> None:
        """Along which axis each value carries the samples, what a sample takes, and where stacking is sound."""
        self.spec = {node: _spec(two[node], three[node]) for node in three}
        size = {node: _nbytes(three[node]) // 3 for node in three}
        self.bytes = sum(size[node] for node in self.needed)
        self.largest = {name: max(size[node] for node in self.after[name]) for name in self.after}
        kept = {node: three[node] for node in self.needed}
        self.stackable = {name for name in self.after if self._stacks(name, kept)}

    def _stacks(self, name: str, kept: dict[fx.Node, Any]) -> bool:
        """Whether two candidates in one stack give what each gives alone: the layer as it is, and half of it."""
        calls = [node for node in self.after[name] if node.op == "call_module" and node.target == name]
        frontier = {source for node in self.after[name] for source in node.all_input_nodes} - set(self.after[name])
        if self.spec[self.end] != 0 or any(self.spec[node] != self.spec[calls[0]] for node in calls):
            return False
        axis = self.spec[calls[0]]
        if axis is None or axis is _MIXED or any(self.spec[node] is _MIXED for node in frontier):
            return False
        module = self.modules[name]

        def scaled(*shares: float) -> Layer:
            def layer(_: fx.Node, value: Tensor, stacked: bool) -> Tensor:
                parts = value.chunk(len(shares), axis) if stacked else (value,) * len(shares)
                return torch.cat([share * module(part) for share, part in zip(shares, parts, strict=True)], axis)

            return layer

        try:
            both = self.suffix(name, kept, scaled(1.0, 0.5), 2)
            alone = [self.suffix(name, kept, scaled(share), 1) for share in (1.0, 0.5)]
        except Exception:  # shapes that the network fixes: the candidates then run one by one
            return False
        return _close(both, torch.cat(alone))

    def _value(self, node: fx.Node, env: dict[fx.Node, Any], x: Tensor) -> Any:
        if node.op == "placeholder":
            if node is not self.graph_order[0] and not node.args:
                raise Untraceable("it takes more than one input")
            return x.contiguous(memory_format=self.format) if node is self.graph_order[0] else node.args[0]
        if node.op == "output":
            return None
        return self._call(node, env.__getitem__)

    def _call(self, node: fx.Node, read: Callable[[fx.Node], Any]) -> Any:
        args: Any = fx.map_arg(node.args, read)
        kwargs: Any = fx.map_arg(node.kwargs, read)
        target: Any = node.target
        if node.op == "call_module":
            return self.modules[target](*args, **kwargs)
        if node.op == "call_function":
            return target(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        value: Any = self.root
        for part in target.split("."):
            value = getattr(value, part)
        return value

    def _in_place(self, node: fx.Node, env: dict[fx.Node, Any], kept: dict[fx.Node, Any], slots: int) -> Any:
        """The value of a ReLU or of a sum made in a fresh value that nothing else reads, None where that is no way."""
        if self._is_relu(node) and self._owned(node.args[0], env):
            return env[node.args[0]].relu_()  # type: ignore[index]
        if node.op != "call_function" or node.target not in _SUMS or len(node.args) != 2 or node.kwargs:
            return None
        for own, other in (node.args, node.args[::-1]):
            if not self._owned(own, env) or not isinstance(other, fx.Node) or other is own:
                continue
            into: Tensor = env[own]  # type: ignore[index]
            added = env[other] if other in env else kept[other]
            if not isinstance(added, Tensor) or added.dtype != into.dtype:
                return None
            if other in env and added.shape == into.shape:
                return into.add_(added)
            axis = self.spec[other]
            if other not in env and isinstance(axis, int) and axis == self.spec[own]:  # type: ignore[index]
                parts: Tensor = into.unflatten(axis, (slots, -1))  # type: ignore[no-untyped-call]
                if parts.select(axis, 0).shape == added.shape:
                    parts.add_(added.unsqueeze(axis))
                    return into
            return None
        return None

    def _is_relu(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(self.modules[str(node.target)]) is nn.ReLU
        return (node.op == "call_function" and node.target in _RELUS) or (
            node.op == "call_method" and node.target == "relu"
        )

    def _owned(self, node: Any, env: dict[fx.Node, Any]) -> bool:
        """Whether the value of the node was made in this suffix, shares memory with nothing, and has one reader."""
        if not isinstance(node, fx.Node) or node not in env or len(node.users) != 1:
            return False
        if node.op == "call_module":
            return isinstance(self.modules[str(node.target)], _FRESH) or node.target in self.names
        return node.op == "call_function" and node.target in _SUMS


class _Tracer(fx.Tracer):
    """Goes into every module but torch's own and the layers to be exchanged."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.names or super().is_leaf_module(m, module_qualified_name)


class _Mixed:
    """Stands for the axis of a value whose dependence on the number of samples is not understood."""


_MIXED = _Mixed()


def _spec(two: Any, three: Any) -> Any:
    """The axis along which a tensor carries the samples, None if along none; True for a count that grows with them; a
    tuple of these for a sequence."""
    if isinstance(two, Tensor) and isinstance(three, Tensor):
        if two.ndim != three.ndim:
            return _MIXED
        grown = [i for i in range(two.ndim) if two.shape[i] != three.shape[i]]
        if len(grown) > 1 or any(3 * two.shape[i] != 2 * three.shape[i] for i in grown):
            return _MIXED
        return grown[0] if grown else None
    if isinstance(two, tuple | list) and isinstance(three, tuple | list):
        if len(two) != len(three):
            return _MIXED
        specs = tuple(_spec(a, b) for a, b in zip(two, three, strict=True))
        return _MIXED if any(spec is _MIXED for spec in specs) else specs
    if isinstance(two, int) and isinstance(three, int) and two != three:
        return True if 3 * two == 2 * three else _MIXED
    return None if isinstance(two, int | float | str | torch.dtype | torch.device | type(None)) else _MIXED


def _tiled(value: Any, spec: Any, slots: int) -> Any:
    """The value for `slots` candidates: a tensor repeated along its axis of samples, a count of samples multiplied."""
    if slots == 1 or spec is None:
        return value
    if spec is True:
        return value * slots
    if isinstance(spec, tuple):
        made = [_tiled(part, one, slots) for part, one in zip(value, spec, strict=True)]
        return torch.Size(made) if isinstance(value, torch.Size) else type(value)(made)
    return torch.cat([value] * slots, spec)


def _nbytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(_nbytes(part) for part in value) if isinstance(value, tuple | list) else 0


def _close(found: Tensor, wanted: Tensor) -> bool:
    size = float(wanted.double().norm())
    return bool(found.shape == wanted.shape) and float((found - wanted).double().norm()) <= TOLERANCE * size


def _outputs(model: nn.Module, example: Tensor) -> Tensor:
    training = {module for module in model.modules() if module.training}
    made = model.eval()(example)
    for module in training:
        module.training = True
    if not isinstance(made, Tensor):
        raise Untraceable("it gives something other than one tensor")
    return made
