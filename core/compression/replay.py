"""A network whose suffix can be run again: what does not depend on a layer is kept from the dense pass, and only what
does is recomputed, for several candidates of the layer stacked along the batch.

A fresh value that nothing else reads is changed in place by the ReLU or the sum after it. The graph is checked against
the network itself, and stacks against candidates alone, on a few samples before either is used.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from core.compression.batch_axes import MIXED, axis_of, nbytes, tiled
from core.compression.tracing import Traced, Untraceable

STACK_BYTES = 8 * 2**20
"""Most bytes of one value in a stack of candidates (chosen: from 1 to 16 MB makes no difference on ResNet-20, larger
values cost more, because memory is fetched anew for each)."""

KEPT_BYTES = 256 * 2**20
"""Most bytes of values kept from the dense pass of one chunk of samples (chosen)."""

TOLERANCE = 1e-4
"""Most relative difference between the graph's outputs and the network's; float32 rounding is near 1e-6 (chosen)."""

_SUMS = (operator.add, torch.add)
_RELUS = (F.relu, torch.relu)
_FRESH = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)

Values = dict[fx.Node, Any]

Layer = Callable[[fx.Node, Tensor, bool], Tensor]
"""Outputs of the layer's candidates, stacked: (call, its input, whether that is stacked already) -> value."""


class Replay:
    """The graph of a network in evaluation for the layers `names`; the network given is not touched.

    example    a few inputs, batch first. net  the graph, with the layers and what is folded into them.
    after      name -> the nodes that depend on the layer, in order; of layers that reach the output.
    stackable  names whose candidates can share a pass. bytes  kept of one sample. Raises Untraceable. To be made and
    used without gradients."""

    def __init__(self, model: nn.Module, names: Iterable[str], example: Tensor) -> None:
        wanted = model(example)
        if not isinstance(wanted, Tensor):
            raise Untraceable("it gives something other than one tensor")
        self.net, two, three = self._checked(model, set(names), example, wanted)
        self.spec = {node: axis_of(two[node], three[node]) for node in three}
        size = {node: nbytes(three[node]) // 3 for node in three}
        self.bytes = sum(size[node] for node in self.needed)
        self.largest = {name: max(size[node] for node in self.after[name]) for name in self.after}
        kept = {node: three[node] for node in self.needed}
        self.stackable = {name for name in self.after if self._stacks(name, kept)}

    def dense(self, x: Tensor) -> tuple[Tensor, Values]:
        """The outputs for x and the values that suffixes read."""
        env: Values = {}
        kept: Values = {}
        for node in self.net.nodes:
            env[node] = self.net.value(node, env.__getitem__, x)
            if node in self.needed:
                kept[node] = env[node]
            for dead in self.dead[node]:
                del env[dead]
        return kept[self.net.end], kept

    def suffix(self, name: str, kept: Values, layer: Layer, slots: int) -> Tensor:
        """The network's outputs, (slots * samples, ...) with all samples of a slot together, where `layer` stands for
        every call of the layer `name`."""
        env: Values = {}
        repeated: Values = {}

        def read(node: fx.Node) -> Any:
            if node in env:
                return env[node]
            if node not in repeated:
                repeated[node] = tiled(kept[node], self.spec[node], slots)
            return repeated[node]

        for node in self.after[name]:
            if node.op == "call_module" and node.target == name:
                given: Any = node.args[0]
                env[node] = layer(node, env[given] if given in env else kept[given], given in env)
            else:
                done = self._in_place(node, env, kept, slots)
                env[node] = done if done is not None else self.net.value(node, read)
            for dead in self.dead[node]:
                env.pop(dead, None)
                repeated.pop(dead, None)
        return env[self.net.end]  # type: ignore[no-any-return]

    def axis(self, node: fx.Node) -> int:
        """The axis along which the value of a node carries the samples; 0 where that is not understood."""
        spec = self.spec[node]
        return spec if isinstance(spec, int) else 0

    def slots(self, name: str, samples: int) -> int:
        """Most candidates of the layer to stack at once."""
        return max(1, STACK_BYTES // max(1, samples * self.largest[name])) if name in self.stackable else 1

    def samples(self) -> int:
        """Samples of one chunk: the kept values stay under KEPT_BYTES, and four candidates of it under STACK_BYTES."""
        return max(1, min(KEPT_BYTES // max(1, self.bytes), STACK_BYTES // max(1, 4 * max(self.largest.values()))))

    def _checked(
        self, model: nn.Module, names: set[str], example: Tensor, wanted: Tensor
    ) -> tuple[Traced, Values, Values]:
        """A graph that gives the network's outputs, and all its values for two and for three samples. Images are held
        channels last where the network allows it."""
        three = example[torch.arange(3, device=example.device) % len(example)]
        why = ""
        for channels_last in (True, False) if example.ndim == 4 else (False,):
            try:
                self.net = Traced(model, names, channels_last)
                self._plan()
                found, _ = self.dense(example)
                runs = [self._values(three[:2]), self._values(three)]
            except Untraceable:
                raise
            except Exception as error:  # the user's own network: whatever tracing or running it raises
                why = f"it cannot be traced ({type(error).__name__})"
                continue
            if _close(found, wanted):
                return self.net, runs[0], runs[1]
            why = "its trace gives other outputs than it does itself"
        raise Untraceable(why)

    def _plan(self) -> None:
        """What depends on each layer, what must be kept for it, and after which node a value is no longer read."""
        nodes, end = self.net.nodes, self.net.end
        self.after: dict[str, list[fx.Node]] = {}
        self.needed = {end}
        for name in sorted(self.net.names):
            calls = set(self.net.calls(name))
            reached = set(calls)
            for node in nodes:
                if any(source in reached for source in node.all_input_nodes):
                    reached.add(node)
            if end in reached:
                self.after[name] = [node for node in nodes if node in reached]
                self.needed.update(s for node in reached for s in node.all_input_nodes if s not in reached)
                self.needed.update(s for node in calls for s in node.all_input_nodes)
        last = {source: node for node in nodes for source in node.all_input_nodes}
        self.dead: dict[fx.Node, list[fx.Node]] = {node: [] for node in nodes}
        for source, node in last.items():
            if source is not end:
                self.dead[node].append(source)

    def _values(self, x: Tensor) -> Values:
        env: Values = {}
        for node in self.net.nodes:
            env[node] = self.net.value(node, env.__getitem__, x)
        return env

    def _stacks(self, name: str, kept: Values) -> bool:
        """Whether two candidates in one stack give what each gives alone: the layer as it is, and half of it.
        Untraceable if the layer as it is does not give the dense outputs."""
        calls = self.net.calls(name)
        module = self.net.modules[name]
        if not _close(self.suffix(name, kept, lambda _, given, __: module(given), 1), kept[self.net.end]):
            raise Untraceable(f"what follows {name!r} gives other outputs when it is run again")
        axis = self.spec[calls[0]]
        frontier = {source for node in self.after[name] for source in node.all_input_nodes} - set(self.after[name])
        if type(axis) is not int or self.spec[self.net.end] != 0 or any(self.spec[node] != axis for node in calls):
            return False
        if any(self.spec[node] is MIXED for node in frontier):
            return False

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

    def _in_place(self, node: fx.Node, env: Values, kept: Values, slots: int) -> Any:
        """The value of a ReLU or of a sum made in a fresh value that nothing else reads, None where that is no way."""
        if self._is_relu(node):
            return env[node.args[0]].relu_() if self._owned(node.args[0], env) else None  # type: ignore[index]
        if node.op != "call_function" or node.target not in _SUMS or len(node.args) != 2 or node.kwargs:
            return None
        for own, other in (node.args, node.args[::-1]):
            if not self._owned(own, env) or not isinstance(other, fx.Node) or other is own:
                continue
            into, added = env[own], env[other] if other in env else kept[other]  # type: ignore[index]
            if not isinstance(added, Tensor) or added.dtype != into.dtype:
                return None
            if other in env:
                return into.add_(added) if added.shape == into.shape else None
            axis = self.spec[other]
            if type(axis) is int and axis == self.spec[own]:  # type: ignore[index]
                parts = into.unflatten(axis, (slots, -1))
                if parts.select(axis, 0).shape == added.shape:
                    parts.add_(added.unsqueeze(axis))
                    return into
            return None
        return None

    def _is_relu(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(self.net.modules[str(node.target)]) is nn.ReLU
        named = node.op == "call_method" and node.target == "relu"
        return named or (node.op == "call_function" and node.target in _RELUS)

    def _owned(self, node: Any, env: Values) -> bool:
        """Whether the value of the node is a tensor made in this suffix that shares memory with nothing, and has one
        reader."""
        if not isinstance(node, fx.Node) or len(node.users) != 1 or not isinstance(env.get(node), Tensor):
            return False
        if node.op == "call_module":
            return node.target in self.net.names or isinstance(self.net.modules[str(node.target)], _FRESH)
        return node.op == "call_function" and node.target in _SUMS


def _close(found: Any, wanted: Tensor) -> bool:
    if not isinstance(found, Tensor) or found.shape != wanted.shape:
        return False
    return float((found - wanted).double().norm()) <= TOLERANCE * float(wanted.double().norm())
