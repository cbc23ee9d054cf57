"""What a state dict shows by names and shapes alone, where no network is known: layers, their weights, the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from core.networks.costs import Cost, total
from core.networks.forms import Dense
from core.networks.state_dicts import is_finite
from core.networks.tensor_files import TensorFiles
from core.networks.views import LayerView

EMBEDDING_NAMES = ("embed", "wte", "wpe")
TRANSPOSED_NAMES = ("c_attn", "c_proj", "c_fc", "q_attn")
"""Parts of names by which a state dict alone tells embeddings and GPT-2's transposed linear layers (chosen)."""

_PACKED, _WEIGHT = "in_proj_weight", ".weight"


def state_views(state: Mapping[str, Tensor]) -> tuple[LayerView, ...]:
    """Every tensor of two or more sides as a layer; no positions, so no MACs.

    With 2 sides it is linear (or an embedding, or transposed, by `EMBEDDING_NAMES` and `TRANSPOSED_NAMES`), with 3 or 4
    a convolution without groups, as far as anyone can tell. Of names that do not end in `weight` only those with 2
    sides that are no bias count as linear; the others, and what does not hold floating-point numbers, are blocked.
    The order is that of the file, or the natural one where a file sorted by letters puts h.10 before h.2."""
    shapes = state.shapes if isinstance(state, TensorFiles) else {name: tuple(t.shape) for name, t in state.items()}
    matrices = [name for name, sides in shapes.items() if len(sides) > 1 and 0 not in sides]
    return tuple(_view(name, state[name], shapes) for name in _in_order(matrices))


def state_weights(state: Mapping[str, Tensor], layers: Iterable[LayerView]) -> dict[str, Tensor]:
    """The weight of each layer of `state_views` by the layer's name, as stored; complex ones, which have no spectrum
    here, are left out."""
    names = set(state)  # to ask a file on disk whether it has a name would read the tensor
    found = {view.name: state[_stored_name(view.name, names)] for view in layers}
    return {name: tensor for name, tensor in found.items() if not tensor.is_complex()}


def state_rest(state: Mapping[str, Tensor], layers: Iterable[LayerView]) -> tuple[Cost, tuple[str, ...]]:
    """What is no matrix: its cost, and a line that says so."""
    own = total([Dense().cost(view) for view in layers])
    numbers = sum(tensor.numel() for tensor in state.values())
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    rest = Cost(max(numbers - own.params, 0), 0, max(size - own.bytes, 0), 0)
    return rest, (f"everything else in the file: {rest.params:,} numbers",)


def _view(name: str, tensor: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> LayerView:
    layer, sides = _layer_name(name, shapes), tuple(tensor.shape)
    kind = _kind(name, layer, sides)
    if not name.endswith("weight"):
        while len(sides) > 2 and sides[0] == 1:  # a batch side in front of a table
            sides = sides[1:]
    rows, columns = (sides[1], sides[0]) if kind == "hf_conv1d" else (sides[0], math.prod(sides[1:]))
    bias = shapes.get(name.removesuffix("weight") + "bias") == (rows,) if name.endswith("weight") else False
    unclear = kind == "other" and not name.endswith("weight")
    blocked = "its name does not say that a layer multiplies by it" if unclear else ""
    if not tensor.is_floating_point():
        blocked = f"its entries are {str(tensor.dtype).removeprefix('torch.')}, not floating-point numbers"
    return LayerView(
        name=layer,
        kind=kind,
        m=rows,
        n=columns,
        kernel=sides[2:] if kind.startswith("conv") else (),
        stride=(1,) * (len(sides) - 2) if kind.startswith("conv") else (),
        bias=bias,
        itemsize=tensor.element_size(),
        finite=is_finite(tensor),
        blocked=blocked,
    )


def _kind(name: str, layer: str, sides: tuple[int, ...]) -> str:
    last = layer.rpartition(".")[2]
    if name.endswith(_PACKED) and len(sides) == 2:
        return "in_proj"
    if len(sides) == 2 and any(part in layer for part in EMBEDDING_NAMES):
        return "embedding"
    if not name.endswith("weight"):
        return "linear" if len(sides) == 2 and "bias" not in last else "other"
    if len(sides) == 2:
        return "hf_conv1d" if last in TRANSPOSED_NAMES else "linear"
    return {3: "conv1d", 4: "conv2d"}.get(len(sides), "other")


def _layer_name(name: str, names: Mapping[str, object]) -> str:
    """The name of the layer whose weight is called so; the name itself where that is taken or does not end so."""
    packed = name.endswith(_PACKED)
    layer = name.removesuffix("_weight" if packed else _WEIGHT)
    return name if layer in names or (packed and layer + _WEIGHT in names) else layer


def _stored_name(layer: str, names: set[str]) -> str:
    """The inverse of `_layer_name`."""
    return next(name for name in (layer, layer + _WEIGHT, layer + "_weight") if name in names)


def _in_order(names: list[str]) -> list[str]:
    """The names as they come if numbers rise in them, as where a network was saved; else in natural order."""
    last: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        pattern, numbers = re.sub("[0-9]+", "0", name), _numbers(name)
        if last.get(pattern, numbers) > numbers:
            return sorted(names, key=lambda name: (_words(name), name))
        last[pattern] = numbers
    return names


def _words(name: str) -> list[tuple[str, tuple[int, str]]]:
    """What a name is sorted by: its text and numbers in turns."""
    texts = re.split("[0-9]+", name)
    return list(zip(texts, [*_numbers(name), (0, "")], strict=True))


def _numbers(name: str) -> list[tuple[int, str]]:
    """The numbers in a name as (digits, text), which order as the numbers do, however long they are."""
    return [(len(digits), digits) for found in re.findall("[0-9]+", name) for digits in (found.lstrip("0"),)]
