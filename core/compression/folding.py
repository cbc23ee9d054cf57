"""What becomes of a channel that is gone: it gives its readers nothing.

What a masked row still gave, its bias through BatchNorm and activation, is a constant; it is added to the bias of a
reader where that is exact, a linear layer or a convolution without padding, if it has a bias. Elsewhere it is dropped:
a padded convolution reads the constant inside of an image and zeros around it, so no bias can stand for it. BatchNorm
re-estimation and bias correction come after the cut. Source: derived.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.compression.cutting import Cut
from core.compression.trials import outputs, probes

CONSTANT = 1e-5
"""Spread, relative to its size, up to which what a channel gives counts as constant (chosen: single precision)."""


def folded(network: nn.Module, cuts: Sequence[Cut], example: Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy whose readers' biases hold what the channels of the cuts give them, still with these channels; and the
    readers to which something other than zero was given that no bias can hold."""
    new = copy.deepcopy(network)
    dropped = []
    for name, parts in constants(network, cuts, example).items():
        places = [place for place, _ in parts]
        values = [value for _, value in parts]
        reader: Any = new.get_submodule(name)
        if all(value == 0.0 for value in values):
            continue
        steady = [value for value in values if value is not None]
        if len(steady) < len(values) or not takes_constants(reader):
            dropped.append(name)
            continue
        W = reader.weight.detach().double().flatten(2).sum(2) if reader.weight.ndim > 2 else reader.weight.detach()
        with torch.no_grad():
            reader.bias += (W.double()[:, places] @ W.new_tensor(steady, dtype=torch.float64)).to(reader.bias)
    return new, tuple(dropped)


def constants(network: nn.Module, cuts: Sequence[Cut], example: Tensor) -> dict[str, list[tuple[int, float | None]]]:
    """Reader -> (column, what the channels of the cuts give it there): a number if it is the same for every input and
    at every position, else None."""
    columns: dict[str, list[int]] = {}
    for cut in cuts:
        for member in cut.group.readers:
            columns.setdefault(member.name, []).extend(cut.places(member))
    low: dict[str, Tensor] = {}
    high: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
            x = given[0] if isinstance(module, nn.Linear) else given[0].movedim(1, -1)
            rows = x.reshape(-1, x.shape[-1])[:, columns[name]].double()
            low[name] = torch.minimum(low.get(name, rows[0]), rows.amin(0))
            high[name] = torch.maximum(high.get(name, rows[0]), rows.amax(0))

        return hook

    hooks = [network.get_submodule(name).register_forward_pre_hook(watch(name)) for name in columns]
    try:
        outputs(network, probes(example))
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[str, list[tuple[int, float | None]]] = {}
    for name in low:
        middle, spread = (low[name] + high[name]) / 2, high[name] - low[name]
        steady = spread <= CONSTANT * middle.abs()
        values = [float(value) if known else None for value, known in zip(middle, steady, strict=True)]
        found[name] = list(zip(columns[name], values, strict=True))
    return found


def takes_constants(reader: Any) -> bool:
    """Whether a bias of this layer can stand for a constant in its inputs."""
    edges = () if isinstance(reader, nn.Linear) else reader._reversed_padding_repeated_twice
    return reader.bias is not None and not any(edges)
