"""Takes channels out of a network: smaller tensors in every layer that makes, normalises or reads them.

Nothing is tried or made up for here; `trials` and `folding` do."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from core.compression.coupling import Group, Member


@dataclass(frozen=True, slots=True)
class Cut:
    """Channels of a group that go, by their index, at least one and not all."""

    group: Group
    gone: tuple[int, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """The channels that stay."""
        return tuple(i for i in range(self.group.channels) if i not in set(self.gone))

    def places(self, member: Member) -> list[int]:
        """Rows, entries or columns of a member that go."""
        return [place for channel in self.gone for place in member.places[channel]]


def without(network: nn.Module, cuts: Sequence[Cut]) -> nn.Module:
    """A copy of the network in which the channels of the cuts are gone. Nothing is folded or tried."""
    new = copy.deepcopy(network)
    rows: dict[str, set[int]] = {}
    columns: dict[str, set[int]] = {}
    for cut in cuts:
        for member in (*cut.group.writers, *cut.group.norms):
            rows.setdefault(member.name, set()).update(cut.places(member))
        for member in cut.group.readers:
            columns.setdefault(member.name, set()).update(cut.places(member))
    for name, gone in rows.items():
        _shrink(new.get_submodule(name), gone, 0)
    for name, gone in columns.items():
        _shrink(new.get_submodule(name), gone, 1)
    return new


def _shrink(module: Any, gone: set[int], side: int) -> None:
    """Takes rows (side 0) or columns (side 1) out of a layer, or entries out of a BatchNorm, in place."""
    keep = torch.tensor([i for i in range(module.weight.shape[side] if side else _size(module)) if i not in gone])
    names = ("weight",) if side else ("weight", "bias", "running_mean", "running_var")
    for name in names:
        tensor = getattr(module, name, None)
        if tensor is None:
            continue
        smaller = tensor.detach().index_select(side, keep.to(tensor.device)).contiguous()
        setattr(module, name, nn.Parameter(smaller, tensor.requires_grad) if name in module._parameters else smaller)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.num_features = len(keep)
    elif isinstance(module, nn.Linear):
        setattr(module, "in_features" if side else "out_features", len(keep))
    else:
        setattr(module, "in_channels" if side else "out_channels", len(keep))


def _size(module: Any) -> int:
    """Rows of a layer or entries of a BatchNorm."""
    return int(module.num_features if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) else module.weight.shape[0])
