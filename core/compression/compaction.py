"""Removes what a network does not use, exactly: channels that are constant, and channels that nothing reads.

A channel goes if every layer that makes it has a zero row there (or is followed by a BatchNorm whose scale is zero
there) and each reader either gets zero from it or can hold the constant in its bias; or if every reader has zero
columns for it. Removing one can leave others unread, so it is done until nothing changes. Source: derived.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from core.compression.coupling import Group, Member, groups_of
from core.compression.cutting import Cut, without
from core.compression.folding import constants, folded, takes_constants
from core.compression.trials import accepted, largest_difference, outputs, probes

EXACT = 1e-5
"""Largest difference of outputs relative to the largest with which a compacted network is returned."""


def compact(network: nn.Module, example: Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of `network` without dead channels, with outputs equal to `EXACT` on random inputs; and notes: what went,
    and dead channels that had to stay with the reason.

    example  inputs (N, ...). The network is not touched. InputError if torch-pruning is missing."""
    new, notes = copy.deepcopy(network), {}
    while True:
        groups, lost = groups_of(new, example)
        if lost:
            return copy.deepcopy(network), (f"Nothing was removed: {lost}.",)
        free = [group for group in groups if not group.obstacle]
        made, refused = accepted(new, [Cut(g, gone) for g in free if (gone := _dead(new, g, example))], example)
        stuck = {name: g.obstacle for g in groups if g.obstacle for name in g.names if _has_zero_row(new, name)}
        for name, why in (stuck | refused).items():
            notes[name] = f"{name}: its dead rows stay, because {why}."
        if not made:
            break
        new = without(folded(new, made, example)[0], made)
        for cut in made:
            for name in cut.group.names:
                notes[name] = f"{name}: {len(cut.kept)} rows left of {_rows(network, name)}."
    x = probes(example)
    pairs = zip(outputs(new, x), outputs(network, x), strict=True)
    if any(largest_difference(*pair) > EXACT for pair in pairs):
        return copy.deepcopy(network), ("Nothing was removed: the outputs would have changed.",)
    return new, tuple(notes.values())


def _dead(network: nn.Module, group: Group, example: Tensor) -> tuple[int, ...]:
    """Channels of a group that can go without changing any output, at most all but one."""
    after = dict(group.after)
    silent = torch.ones(group.channels, dtype=torch.bool)
    for member in group.writers:
        zero = _zero(network, member, 0)
        if member.name in after:
            scale: Any = network.get_submodule(after[member.name])
            zero |= scale.weight.detach().eq(0).cpu() if scale.weight is not None else torch.zeros_like(zero)
        silent &= zero
    unread = torch.ones(group.channels, dtype=torch.bool)
    for member in group.readers:
        unread &= _zero(network, member, 1)
    silent &= _foldable(network, group, silent, example)
    gone = (silent | unread).nonzero().flatten().tolist()
    return tuple(gone[: group.channels - 1])


def _zero(network: nn.Module, member: Member, side: int) -> Tensor:
    """(channels,) bool: whether all of a member's rows (side 0) or columns (side 1) for a channel are zero. Channels it
    has no part in are."""
    layer: Any = network.get_submodule(member.name)
    W = layer.weight.detach().cpu()
    empty = (W if side == 0 else W.transpose(0, 1)).flatten(1).eq(0).all(1)
    return torch.tensor([bool(empty[list(places)].all()) for places in member.places])


def _foldable(network: nn.Module, group: Group, silent: Tensor, example: Tensor) -> Tensor:
    """(channels,) bool, within `silent`: whether every reader gets nothing, or what its bias can hold."""
    channels = silent.nonzero().flatten().tolist()
    fine = silent.clone()
    if not channels:
        return fine
    given = constants(network, [Cut(group, tuple(channels))], example)
    for member in group.readers:
        values = dict(given.get(member.name, ()))
        holds = takes_constants(network.get_submodule(member.name))
        for channel in channels:
            for place in member.places[channel]:
                value = values.get(place)
                if value is None or (value and not holds):
                    fine[channel] = False
    return fine


def _has_zero_row(network: nn.Module, name: str) -> bool:
    """Whether a row of a layer and its bias are all zero."""
    layer: Any = network.get_submodule(name)
    zero = layer.weight.detach().flatten(1).eq(0).all(1)
    return bool((zero if layer.bias is None else zero & layer.bias.detach().eq(0)).any())


def _rows(network: nn.Module, name: str) -> int:
    layer: Any = network.get_submodule(name)
    return int(layer.weight.shape[0])
