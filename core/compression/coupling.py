"""Which output channels of a network can only be removed together, found by torch-pruning's dependency graph.

torch-pruning (MIT, version 1.6.1 was tried) is an optional extra: it is imported when it is needed, and a missing one
is a sentence. What it finds is taken as a proposal: `trials` tries every removal before it is believed.
Source of the graph: Fang et al. 2023, "DepGraph: Towards Any Structural Pruning".

Importing this file imports no torch.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGE = "torch_pruning"
MISSING = "Removing rows for real needs a package that is not installed; run: pip install torch-pruning"


@dataclass(frozen=True, slots=True)
class Member:
    """A layer of a group, by the path of its module. places[i]: the rows, entries or columns of it that belong to
    channel i of the group; a linear layer behind a flattened image has one column a pixel."""

    name: str
    places: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Output channels that stay or go together.

    channels  how many there are. writers  layers whose rows make them. norms  BatchNorms they pass. readers  layers
    whose columns take them in. after  writer -> the BatchNorm that alone reads it. obstacle  why none can go, "" if
    they can.
    """

    channels: int
    writers: tuple[Member, ...]
    norms: tuple[Member, ...]
    readers: tuple[Member, ...]
    after: tuple[tuple[str, str], ...]
    obstacle: str

    @property
    def names(self) -> tuple[str, ...]:
        """The writers' names."""
        return tuple(member.name for member in self.writers)


def missing() -> str:
    """Why no row can be removed for real on this machine, a sentence; "" if it can."""
    return "" if importlib.util.find_spec(PACKAGE) else MISSING


def groups_of(network: nn.Module, example: Tensor) -> tuple[tuple[Group, ...], str]:
    """Every group of output channels of the linear and convolutional layers of `network`, in their order; and, if it
    cannot be followed, why, in words that end a sentence.

    example  inputs (N, ...) that it takes. The network is not touched. InputError if torch-pruning is missing."""
    try:
        import torch_pruning as tp
    except ImportError:
        raise InputError(f"{MISSING}.") from None
    import torch

    traced = copy.deepcopy(network).eval()
    for parameter in traced.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)  # the graph is read from autograd's
    try:
        with torch.enable_grad():
            graph = tp.DependencyGraph().build_dependency(traced, (example,), verbose=False)
            return _groups(graph, traced), ""
    except Exception as error:  # whatever a network of anyone's makes of it
        return (), f"torch-pruning cannot follow this network ({type(error).__name__})"


def _groups(graph: Any, traced: nn.Module) -> tuple[Group, ...]:
    names = {module: name for name, module in traced.named_modules()}
    shared = _shared_weights(traced)
    found: list[Group] = []
    seen: set[str] = set()
    for module, name in names.items():
        if name in seen or not _is_layer(module) or module not in graph.module2node:
            continue
        group = _group(graph, module, names, shared)
        found.append(group)
        seen.update(group.names)
    return tuple(found)


def _group(graph: Any, root: Any, names: dict[Any, str], shared: set[str]) -> Group:
    """The group of all output channels of one layer."""
    from torch import nn

    channels = int(root.weight.shape[0])
    parts: dict[str, list[Member]] = {"writers": [], "norms": [], "readers": []}
    after, obstacles = [], []
    for item in graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, range(channels)):
        target = item.dep.target
        name = names.get(target.module)
        if name is None:
            obstacles += _between(target.module)
            continue
        if isinstance(target.module, nn.BatchNorm1d | nn.BatchNorm2d):
            side, count = "norms", target.module.num_features
        elif not _is_layer(target.module):
            obstacles.append(_foreign(target.module))
            continue
        elif graph.is_out_channel_pruning_fn(item.dep.handler):
            side, count = "writers", int(target.module.weight.shape[0])
            following = [names.get(node.module, "") for node in target.outputs]
            if len(following) == 1 and isinstance(target.outputs[0].module, nn.BatchNorm1d | nn.BatchNorm2d):
                after.append((name, following[0]))
        else:
            side, count = "readers", 0
        if name in shared:
            obstacles.append(f"{name} shares its weight with another layer")
        if getattr(target.module, "groups", 1) > 1:
            obstacles.append(f"{name} is a grouped convolution")
        member = Member(name, _places(zip(item.root_idxs, item.idxs, strict=True), channels))
        if count and (count != channels or any(len(at) != 1 for at in member.places)):
            obstacles.append("a padded shortcut or a concatenation ties it to layers of another width")
        parts[side].append(member)
    if not parts["readers"]:
        obstacles.append("its rows are the network's outputs")
    writers, norms, readers = (tuple(parts[side]) for side in ("writers", "norms", "readers"))
    return Group(channels, writers, norms, readers, tuple(after), obstacles[0] if obstacles else "")


def _places(pairs: Iterable[tuple[int, int]], channels: int) -> tuple[tuple[int, ...], ...]:
    places: list[set[int]] = [set() for _ in range(channels)]
    for channel, index in pairs:
        places[channel].add(index)
    return tuple(tuple(sorted(at)) for at in places)


def _is_layer(module: Any) -> bool:
    from torch import nn

    return isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)


def _between(operation: Any) -> list[str]:
    """What an operation that is no module of the network forbids: nothing, unless it is the output or a parameter."""
    from torch import nn

    if isinstance(operation, nn.Parameter):
        return ["a parameter that belongs to no layer is added to its outputs"]
    return ["its rows are the network's outputs"] if type(operation).__name__ == "_OutputOp" else []


def _foreign(module: nn.Module) -> str:
    kind = type(module).__name__
    return f"a {kind} looks at all its channels at once" if "Norm" in kind else f"a {kind} is tied to it"


def _shared_weights(network: nn.Module) -> set[str]:
    """Names of modules of which a parameter also belongs to another one."""
    owners: dict[int, set[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), set()).add(name.rpartition(".")[0])
    distinct = {name for name, _ in network.named_modules()}  # a module of two names counts once
    return {name for names in owners.values() if len(names & distinct) > 1 for name in names & distinct}
