"""Finds every layer of a network that holds a weight matrix, and what no layer holds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypedDict, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.networks.costs import Cost
from core.networks.forms import Dense
from core.networks.views import LayerView

_READS = "reads this weight directly, so the layer cannot be exchanged"

_Made = TypeVar("_Made")


class _Common(TypedDict):
    bias: bool
    blocked: str
    itemsize: int


def layer_views(model: nn.Module, example: Tensor | None = None) -> tuple[LayerView, ...]:
    """What `views.views` promises; the pass runs on the meta device, or on the model's own if an operator has no meta
    form. Of layers that share a weight the first owns it, the others are tied to it, and none can be exchanged."""
    sizes = _trace(model, example) if example is not None else {}
    found: list[LayerView] = []
    owners: dict[int, int] = {}
    for name, module in model.named_modules():
        view = _view(name, module, _blocked(model, name), sizes.get(name, ()))
        if view is None:
            continue
        weight = weight_of(module)
        owner = owners.setdefault(id(weight), len(found))
        if owner < len(found):
            view = replace(view, tied_to=found[owner].name)
            found[owner] = replace(found[owner], blocked=found[owner].blocked or f"{view.name} shares its weight")
        found.append(replace(view, finite=_finite(weight)))
    order = {name: i for i, name in enumerate(sizes)}
    return tuple(sorted(found, key=lambda v: order.get(v.name.removesuffix(".in_proj"), len(order))))


def weight_of(module: nn.Module) -> Tensor:
    """The weight of a layer, or the packed one of nn.MultiheadAttention. Raises AttributeError without one."""
    weight: Any = module.in_proj_weight if isinstance(module, nn.MultiheadAttention) else module.weight
    return weight  # type: ignore[no-any-return]


def rest_of(model: nn.Module, layers: tuple[LayerView, ...], example: Tensor | None) -> tuple[Cost, tuple[str, ...]]:
    """What no layer of `layers` accounts for: its cost, and a line a kind of module, "BatchNorm2d × 19: 1,376".

    Parameters: all distinct ones less those of the layers (tied layers count once). MACs: torch's flop counter on the
    meta device, halved, less those of the layers, which leaves attention products; 0 without an example. Buffers count
    as bytes, not as parameters."""
    params = {id(p): p for p in model.parameters()}
    bytes_all = sum(p.numel() * p.element_size() for p in params.values())
    bytes_all += sum(b.numel() * b.element_size() for b in model.buffers())
    own = [Dense().cost(v) for v in layers if not v.tied_to]
    used = [Dense().cost(v) for v in layers]
    macs = count_macs(model, example) - sum(c.macs for c in used) if example is not None else 0
    cost = Cost(
        sum(p.numel() for p in params.values()) - sum(c.params for c in own),
        max(macs, 0),
        bytes_all - sum(c.bytes for c in own),
        max(macs, 0),
    )
    held = {v.name.removesuffix(".in_proj") for v in layers}
    kinds: dict[str, list[int]] = {}
    for name, module in model.named_modules():
        count = sum(p.numel() for p in module.parameters(recurse=False))
        if count and name not in held:
            kinds.setdefault(type(module).__name__, []).append(count)
    return cost, tuple(f"{kind} × {len(counts)}: {sum(counts):,} parameters" for kind, counts in kinds.items())


def count_macs(model: nn.Module, example: Tensor) -> int:
    """Multiply-adds of one forward pass on `example`, by torch's FlopCounterMode on the meta device (2 FLOPs each), or
    on the model's own if an operator has no meta form."""

    def count(model: nn.Module, example: Tensor) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(example)
        return int(counter.get_total_flops()) // 2

    return _on_copy(model, example, count)


def layer_order(model: nn.Module, example: Tensor) -> dict[str, int]:
    """How often each leaf module is called in one pass, in the order of the first call."""
    return {name: len(calls) for name, calls in _trace(model, example).items()}


def _trace(model: nn.Module, example: Tensor) -> dict[str, tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]]:
    """Module name to (input shape, output shape) of each call, in the order of the first call."""
    return _on_copy(model, example, _shapes)


def _on_copy(model: nn.Module, example: Tensor, run: Callable[[nn.Module, Tensor], _Made]) -> _Made:
    """run(copy of the model in evaluation mode, example), on the meta device where every operator has a meta form."""
    try:
        return run(copy.deepcopy(model).to("meta").eval(), example.to("meta"))
    except (NotImplementedError, RuntimeError):
        return run(copy.deepcopy(model).eval(), example)


def _shapes(model: nn.Module, example: Tensor) -> dict[str, Any]:
    calls: dict[str, list[Any]] = {}

    def watch(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            given = inputs[0] if inputs else None
            made = output[0] if isinstance(output, tuple) else output
            if isinstance(given, Tensor) and isinstance(made, Tensor):
                calls.setdefault(name, []).append((tuple(given.shape), tuple(made.shape)))

        return hook

    for name, module in model.named_modules():
        if not list(module.children()) or isinstance(module, nn.MultiheadAttention):
            module.register_forward_hook(watch(name))
    with torch.no_grad():
        model(example)
    return {name: tuple(shapes) for name, shapes in calls.items()}


def _view(name: str, module: nn.Module, blocked: str, calls: tuple[Any, ...]) -> LayerView | None:
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is None:
            return None
        m, n = module.in_proj_weight.shape
        tokens = sum(_prod(shape[0][:-1]) for shape in calls)
        bias = module.in_proj_bias is not None
        return LayerView(f"{name}.in_proj", "in_proj", m, n, tokens, bias=bias, itemsize=_itemsize(module))
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2 or list(module.children()):
        return None
    bias = isinstance(getattr(module, "bias", None), Tensor)
    common: _Common = {"bias": bias, "blocked": blocked, "itemsize": weight.element_size()}
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        ins, outs = (calls[0][0], calls[0][1]) if calls else ((), ())
        padding = () if isinstance(module.padding, str) else tuple(int(p) for p in module.padding)
        sides = weight.ndim - 2
        return LayerView(
            name=name,
            kind="conv1d" if isinstance(module, nn.Conv1d) else "conv2d",
            m=weight.shape[0] // module.groups,
            n=weight[0].numel(),
            positions=sum(_prod(shapes[1][-sides:]) for shapes in calls),
            kernel=tuple(weight.shape[2:]),
            stride=tuple(module.stride),
            padding=padding,
            dilation=tuple(module.dilation),
            in_size=tuple(ins[-sides:]) if ins else (),
            out_size=tuple(outs[-sides:]) if outs else (),
            groups=module.groups,
            **common,
        )
    positions = sum(_prod(shapes[1][1:-1]) * shapes[1][0] for shapes in calls)
    if isinstance(module, nn.Embedding):
        return LayerView(name, "embedding", weight.shape[0], weight.shape[1], positions=positions, **common)
    if isinstance(module, nn.Linear):
        return LayerView(name, "linear", weight.shape[0], weight.shape[1], positions=positions, **common)
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        return LayerView(name, "hf_conv1d", weight.shape[1], weight.shape[0], positions=positions, **common)
    common["blocked"] = blocked or f"a {type(module).__name__} is not among the kinds that are supported"
    return LayerView(name, "other", weight.shape[0], weight[0].numel(), **common)


def _blocked(model: nn.Module, name: str) -> str:
    """Why a parent of the layer needs its very weight, or why there is no place to put another; "" otherwise."""
    if not name:
        return "it is the whole network, so there is nothing around it to exchange it in"
    parent_name, _, _ = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    for kind in (nn.MultiheadAttention, nn.TransformerEncoderLayer):
        if isinstance(parent, kind):
            return f"nn.{kind.__name__} {_READS}"
    return ""


def _itemsize(module: nn.MultiheadAttention) -> int:
    return int(module.in_proj_weight.element_size())


def _prod(sides: tuple[int, ...]) -> int:
    result = 1
    for side in sides:
        result *= int(side)
    return result


def _finite(weight: Tensor) -> bool:
    """Whether no entry is NaN or infinite; torch has no isfinite for one-byte floats."""
    if weight.is_meta or not (weight.is_floating_point() or weight.is_complex()):
        return True
    return bool((weight.float() if weight.element_size() == 1 else weight).isfinite().all())
