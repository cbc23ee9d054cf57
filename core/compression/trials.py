"""Tries a cut before it is believed.

On a copy with random weights, in double precision, the network without the channels must give what the network with the
channels unread gives. That finds whatever the dependency graph missed: attention heads, padding shortcuts, norms across
channels, shapes written into the code. Source: derived.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from core.compression.cutting import Cut, without

EQUAL = 1e-8
"""Largest difference, relative to the largest output, of a cut that is believed (chosen: double precision)."""

UNRUN, ELSEWHERE = "the network does not run with fewer of its rows", "the other channels would change with it"
OUTPUTS, UNCHECKED = "its rows are the network's outputs", "the network cannot be run in double precision to check it"


def accepted(network: nn.Module, cuts: Sequence[Cut], example: Tensor) -> tuple[list[Cut], dict[str, str]]:
    """The cuts that can be made together, and why not, by the name of a writer, for each of the others."""
    if not cuts or not trial(network, cuts, example):
        return list(cuts), {}
    made: list[Cut] = []
    refused: dict[str, str] = {}
    for cut in cuts:
        why = trial(network, [*made, cut], example)
        if why:
            refused |= dict.fromkeys(cut.group.names, why)
        else:
            made.append(cut)
    return made, refused


def trial(network: nn.Module, cuts: Sequence[Cut], example: Tensor) -> str:
    """Why the cuts cannot be made, "" if they can; tried on a copy with random weights in double precision."""
    scrambled = _scrambled(network)
    x = probes(example)
    x = x.double() if x.is_floating_point() else x
    unread = copy.deepcopy(scrambled)
    for cut in cuts:
        for member in cut.group.readers:
            reader: Any = unread.get_submodule(member.name)
            with torch.no_grad():
                reader.weight[:, cut.places(member)] = 0.0
    try:
        wanted = outputs(unread, x)
    except Exception:  # a network of anyone's may raise anything
        return UNCHECKED
    try:
        found = outputs(without(scrambled, cuts), x)
    except Exception:
        return UNRUN
    if [part.shape for part in found] != [part.shape for part in wanted]:
        return OUTPUTS
    return "" if all(largest_difference(*pair) <= EQUAL for pair in zip(found, wanted, strict=True)) else ELSEWHERE


def largest_difference(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference relative to the largest wanted value, 0 of nothing; infinite where either is not a
    number."""
    if not found.numel():
        return 0.0
    size = float(wanted.abs().max())
    value = float((found - wanted).abs().max()) / (size or 1.0)
    return value if value == value else float("inf")


def probes(example: Tensor) -> Tensor:
    """Two random inputs (2, ...) shaped like an example (N, ...); of integers the example's own first two."""
    if not example.is_floating_point():
        return example[:2]
    random = torch.randn(2, *example.shape[1:], generator=torch.Generator().manual_seed(0))
    return random.to(example)


def outputs(network: nn.Module, x: Tensor) -> list[Tensor]:
    """All tensors that the network returns, in evaluation mode and without gradients."""
    with torch.no_grad(), _evaluating(network):
        return list(_flat(network(x)))


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _flat(made: Any) -> Iterable[Tensor]:
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, dict | list | tuple):
        for part in made.values() if isinstance(made, dict) else made:
            yield from _flat(part)


def _scrambled(network: nn.Module) -> nn.Module:
    """A copy in double precision with random weights: of a matrix normal with variance 1 / inputs, else in [0.5, 1.5]
    so that units are alive and norms are no zeros."""
    new = copy.deepcopy(network).double()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in new.parameters():
            if not parameter.is_floating_point():
                continue
            if parameter.ndim > 1:
                values = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
                parameter.copy_(values / max(1, parameter[0].numel()) ** 0.5)
            else:
                parameter.copy_(torch.rand(parameter.shape, generator=random, dtype=torch.float64) + 0.5)
        for module in new.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
                shape = module.running_mean.shape
                module.running_mean.copy_(torch.rand(shape, generator=random, dtype=torch.float64) - 0.5)
                if module.running_var is not None:
                    module.running_var.copy_(torch.rand(shape, generator=random, dtype=torch.float64) + 0.5)
    return new
