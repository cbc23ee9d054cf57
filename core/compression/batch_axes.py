"""Where a value carries the samples of a batch, told from its shapes for two and for three samples, and the same value
for several candidates at once."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

COUNT: Final = True
"""Stands for a whole number that grows with the samples."""


class _Mixed:
    """The type of MIXED."""


MIXED: Final = _Mixed()
"""Stands for a value whose dependence on the number of samples is not understood."""

Axis = Any
"""An axis of a tensor, None for a value that does not grow with the samples, COUNT, MIXED, or a tuple of these."""


def axis_of(two: Any, three: Any) -> Axis:
    """How a value of the same network grows from two samples to three."""
    if isinstance(two, Tensor) and isinstance(three, Tensor):
        if two.ndim != three.ndim:
            return MIXED
        grown = [i for i in range(two.ndim) if two.shape[i] != three.shape[i]]
        if len(grown) > 1 or any(3 * two.shape[i] != 2 * three.shape[i] for i in grown):
            return MIXED
        return grown[0] if grown else None
    if isinstance(two, tuple | list) and isinstance(three, tuple | list):
        if len(two) != len(three):
            return MIXED
        parts = tuple(axis_of(a, b) for a, b in zip(two, three, strict=True))
        return MIXED if any(part is MIXED for part in parts) else parts
    if type(two) is int and type(three) is int and two != three:
        return COUNT if 3 * two == 2 * three else MIXED
    plain = two is None or isinstance(two, int | float | str | torch.dtype | torch.device)
    return None if plain and two == three else MIXED


def tiled(value: Any, axis: Axis, slots: int) -> Any:
    """The value for `slots` candidates, each with all samples: a tensor repeated along its axis, a count multiplied."""
    if slots == 1 or axis is None:
        return value
    if axis is COUNT:
        return value * slots
    if isinstance(axis, tuple):
        parts = [tiled(part, own, slots) for part, own in zip(value, axis, strict=True)]
        return torch.Size(parts) if isinstance(value, torch.Size) else type(value)(parts)
    return torch.cat([value] * slots, axis)


def nbytes(value: Any) -> int:
    """Bytes of all tensors in a value."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(nbytes(part) for part in value) if isinstance(value, tuple | list) else 0
