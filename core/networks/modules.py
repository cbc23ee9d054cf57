"""Builds the module that stands for a layer in another form. Plain torch modules only, so that a bundle needs nothing
of this project: two factors are an nn.Sequential with children `first` and `second`, a mask is zeros in the weight.

The bias stays on the second factor. New weights take the type and device of the old ones.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from core.numerics.conv import matricize, unmatricize
from core.numerics.svd import truncate

if TYPE_CHECKING:
    from core.networks.views import LayerView


def matrix(layer: nn.Module, view: LayerView, unfolding: str = "rows") -> Tensor:
    """The layer's weight as its (m, n) matrix in an unfolding, detached; Hugging Face's Conv1D is transposed back."""
    weight: Any = layer.weight
    W: Tensor = weight.detach()
    if view.kind == "hf_conv1d":
        return W.T
    return matricize(W, unfolding) if view.kernel else W


def dense(layer: nn.Module, view: LayerView, W: Tensor | None) -> nn.Module:
    """A copy of the layer, with its (m, n) matrix replaced by W if given."""
    new = copy.deepcopy(layer)
    if W is not None:
        _set_matrix(new, view, W)
    return new


def low_rank(
    layer: nn.Module, view: LayerView, rank: int, unfolding: str, factors: tuple[Tensor, Tensor] | None
) -> nn.Module:
    """Two layers whose product is A B in the given unfolding; the truncated SVD of the weight unless factors are given.

    factors  A (rows, r), B (r, columns) of the unfolded matrix. ValueError if their rank is not `rank`."""
    A, B = factors if factors is not None else truncate(matrix(layer, view, unfolding), rank)
    if A.shape[1] != rank or B.shape[0] != rank:
        raise ValueError(f"{view.name}: factors of rank {A.shape[1]} given for rank {rank}")
    first, second = _empty_factors(layer, view, rank, unfolding)
    with torch.no_grad():
        if view.kernel:
            first.weight.copy_(B.reshape(first.weight.shape))
            second.weight.copy_(_second_kernel(A, view, rank, unfolding))
        else:
            first.weight.copy_(B)
            second.weight.copy_(A)
        if view.bias:
            second.bias.copy_(_bias(layer))
    return nn.Sequential(OrderedDict(first=first, second=second)).train(layer.training)


def masked(layer: nn.Module, view: LayerView, mask: Tensor, factors: tuple[Tensor, Tensor] | None) -> nn.Module:
    """A copy of the layer with the entries of its (m, n) matrix outside `mask` (bool) set to zero.

    factors  the first is a matrix (m, n) of new values for the kept entries; None keeps the old ones."""
    new = copy.deepcopy(layer)
    W = matrix(layer, view) if factors is None else factors[0]
    _set_matrix(new, view, W * mask.to(W.dtype))
    return new


def magnitude_mask(layer: nn.Module, view: LayerView, nonzeros: int) -> Tensor:
    """(m, n) bool, True at the `nonzeros` entries of largest magnitude; ties go to the earlier entry."""
    flat = matrix(layer, view).abs().double().flatten()
    keep = torch.argsort(flat, descending=True, stable=True)[:nonzeros]
    mask = torch.zeros(flat.shape[0], dtype=torch.bool, device=flat.device)
    mask[keep] = True
    return mask.view(view.m, view.n)


def two_of_four_mask(layer: nn.Module, view: LayerView) -> Tensor:
    """(m, n) bool, True at the two entries of largest magnitude of every four neighbours in a row."""
    groups = matrix(layer, view).abs().double().reshape(view.m, view.n // 4, 4)
    order = torch.argsort(groups, dim=-1, descending=True, stable=True)
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order[..., :2], True).view(view.m, view.n)


def row_mask(layer: nn.Module, view: LayerView, rows: int) -> Tensor:
    """(m, n) bool, True in the `rows` rows of largest Euclidean norm."""
    norms = matrix(layer, view).double().norm(dim=1)
    mask = torch.zeros(view.m, dtype=torch.bool, device=norms.device)
    mask[torch.argsort(norms, descending=True, stable=True)[:rows]] = True
    return mask[:, None].expand(view.m, view.n)


def _set_matrix(layer: nn.Module, view: LayerView, W: Tensor) -> None:
    weight: Any = layer.weight
    with torch.no_grad():
        if view.kind == "hf_conv1d":
            weight.copy_(W.T)
        else:
            weight.copy_(unmatricize(W, weight.shape) if view.kernel else W)


def _bias(layer: nn.Module) -> Tensor:
    bias: Any = layer.bias
    return bias.detach()  # type: ignore[no-any-return]


def _empty_factors(layer: nn.Module, view: LayerView, rank: int, unfolding: str) -> tuple[Any, Any]:
    weight: Any = layer.weight
    kind = {"dtype": weight.dtype, "device": "meta"}  # no random init: it would advance torch's generator
    if not view.kernel:
        pair: tuple[nn.Module, ...] = (
            nn.Linear(view.n, rank, bias=False, **kind),
            nn.Linear(rank, view.m, bias=view.bias, **kind),
        )
        return tuple(part.to_empty(device=weight.device) for part in pair)  # type: ignore[return-value]
    conv: type[nn.Conv1d] | type[nn.Conv2d] = nn.Conv1d if view.kind == "conv1d" else nn.Conv2d
    source: Any = layer
    c, sides = view.channels_in, len(view.kernel)
    one: Any = (1,) * sides
    zero: Any = (0,) * sides
    whole: Any = {
        "kernel_size": view.kernel,
        "stride": view.stride,
        "padding": source.padding,
        "dilation": view.dilation,
        "padding_mode": source.padding_mode,
    }
    point: Any = {"kernel_size": one, "stride": one, "padding": zero}
    if unfolding == "rows":
        parts = (whole, point)
    elif unfolding == "columns":
        parts = (point, whole)
    else:
        parts = tuple(_along(axis, view, source) for axis in (0, 1))
    convs = (conv(c, rank, bias=False, **parts[0], **kind), conv(rank, view.m, bias=view.bias, **parts[1], **kind))
    return tuple(part.to_empty(device=weight.device) for part in convs)  # type: ignore[return-value]


def _along(axis: int, view: LayerView, source: Any) -> Any:
    """Settings of the factor that keeps one spatial side of a two-dimensional convolution."""

    def only(values: tuple[int, ...], rest: int) -> tuple[int, ...]:
        return tuple(v if i == axis else rest for i, v in enumerate(values))

    padding = source.padding if isinstance(source.padding, str) else only(view.padding, 0)
    return {
        "kernel_size": only(view.kernel, 1),
        "stride": only(view.stride, 1),
        "padding": padding,
        "dilation": only(view.dilation, 1),
        "padding_mode": source.padding_mode,
    }


def _second_kernel(A: Tensor, view: LayerView, rank: int, unfolding: str) -> Tensor:
    """A (rows, r) as the kernel of the second factor, (o, r, *sides)."""
    if unfolding == "rows":
        return A.reshape(view.m, rank, *(1,) * len(view.kernel))
    if unfolding == "columns":
        return unmatricize(A, (view.m, rank, *view.kernel), "columns")
    return A.reshape(view.m, view.kernel[1], rank).transpose(1, 2).reshape(view.m, rank, 1, view.kernel[1])
