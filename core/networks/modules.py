"""Builds the module that stands for a layer in another form. Plain torch modules, so that a bundle needs nothing of
this project: two factors are an nn.Sequential with children `first` and `second`, a mask is zeros in the weight. Low
rank + sparse is the one module torch lacks, a `Sum` with children `low_rank` and `sparse`; it is defined once, in the
loader that every bundle has a copy of.

The bias stays on the second factor. New weights take the type and device of the old ones.
"""

from __future__ import annotations

import copy
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from core.bundle_loader import Sum
from core.numerics.conv import matricize, unmatricize
from core.numerics.lowrank_sparse import decompose, largest
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
    layer: nn.Module, view: LayerView, rank: int, unfolding: str, factors: tuple[Tensor, ...] | None
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


def low_rank_sparse(
    layer: nn.Module, view: LayerView, rank: int, nonzeros: int, factors: tuple[Tensor, ...] | None
) -> nn.Module:
    """A `Sum` of `low_rank` (m x r times r x n, or k x k then 1 x 1) and of a plain layer without bias that holds the
    other `nonzeros` entries of the matrix; what `decompose` finds unless factors are given.

    factors  A (m, r), B (r, n) and S (m, n), zero but for its entries. ValueError if the rank of A, B is not `rank`."""
    if factors is None:
        split = decompose(matrix(layer, view), rank, nonzeros)
        factors = split.A, split.B, split.S
    sparse = _plain(layer, view, view.n if not view.kernel else view.channels_in, view.m, _settings(layer, view))
    with torch.no_grad():
        sparse.weight.copy_(factors[2].reshape(sparse.weight.shape))
    pair = low_rank(layer, view, rank, "rows", factors[:2])
    return Sum(OrderedDict(low_rank=pair, sparse=sparse)).train(layer.training)


def bias_of(built: nn.Module) -> Tensor:
    """The bias of a layer in whatever form it was built: of two factors that of the second."""
    if isinstance(built, Sum):
        built = built.get_submodule("low_rank")
    bias: Any = built.get_submodule("second").bias if isinstance(built, nn.Sequential) else built.bias
    return bias  # type: ignore[no-any-return]


def masked(layer: nn.Module, view: LayerView, mask: Tensor, factors: tuple[Tensor, ...] | None) -> nn.Module:
    """A copy of the layer with the entries of its (m, n) matrix outside `mask` (bool) set to zero.

    factors  the first is a matrix (m, n) of new values for the kept entries; None keeps the old ones."""
    new = copy.deepcopy(layer)
    W = matrix(layer, view) if factors is None else factors[0]
    _set_matrix(new, view, W * mask.to(W.dtype))
    return new


def magnitude_mask(layer: nn.Module, view: LayerView, nonzeros: int) -> Tensor:
    """(m, n) bool, True at the `nonzeros` entries of largest magnitude; ties go to the earlier entry."""
    return largest(matrix(layer, view).double(), nonzeros)


def random_mask(layer: nn.Module, view: LayerView, nonzeros: int, seed: int) -> Tensor:
    """(m, n) bool, True at `nonzeros` positions drawn uniformly: the first of one random order, so that a mask of more
    entries holds that of fewer. The seed and the layer's name decide (by their checksum: torch's generator on the CPU
    takes 32 bits of a seed); the generator of the process is not touched."""
    random = torch.Generator().manual_seed(zlib.crc32(f"{seed} {view.name}".encode()))
    mask = torch.zeros(view.m * view.n, dtype=torch.bool)
    mask[torch.randperm(view.m * view.n, generator=random)[:nonzeros]] = True
    return mask.view(view.m, view.n).to(matrix(layer, view).device)


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
    if not view.kernel:
        return _plain(layer, view, view.n, rank), _plain(layer, view, rank, view.m, bias=view.bias)
    sides = len(view.kernel)
    point = {"kernel_size": (1,) * sides, "stride": (1,) * sides, "padding": (0,) * sides}
    if unfolding == "rows":
        parts = _settings(layer, view), point
    elif unfolding == "columns":
        parts = point, _settings(layer, view)
    else:
        parts = _along(0, view, layer), _along(1, view, layer)
    first = _plain(layer, view, view.channels_in, rank, parts[0])
    return first, _plain(layer, view, rank, view.m, parts[1], view.bias)


def _plain(
    layer: nn.Module,
    view: LayerView,
    inputs: int,
    outputs: int,
    settings: Mapping[str, Any] | None = None,
    bias: bool = False,
) -> Any:
    """A layer of torch's own of the kind of `layer`, its values not set; `settings` are those of a convolution."""
    weight: Any = layer.weight
    made: type[Any] = nn.Linear
    if view.kernel:
        made = nn.Conv1d if view.kind == "conv1d" else nn.Conv2d
    # no random init: it would advance torch's generator
    empty = made(inputs, outputs, bias=bias, dtype=weight.dtype, device="meta", **(settings or {}))
    return empty.to_empty(device=weight.device)


def _settings(layer: nn.Module, view: LayerView) -> dict[str, Any]:
    """How a convolution goes over its input; {} for another layer."""
    source: Any = layer
    if not view.kernel:
        return {}
    return {
        "kernel_size": view.kernel,
        "stride": view.stride,
        "padding": source.padding,
        "dilation": view.dilation,
        "padding_mode": source.padding_mode,
    }


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
