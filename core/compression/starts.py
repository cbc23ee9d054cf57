"""A network started low-rank: each layer of it in two factors that keep its function, by what follows the layer.

The network given may be freshly initialised, to be trained low-rank from there, or trained, as a first approximation.
Layers are independent of one another. Source of the question: Vodrahalli et al., arXiv 2202.00834; what is skipped is
also skipped in the public code of Khodak et al. 2021; the rest is derived.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.compression.apply import exchange
from core.compression.contexts import Context, contexts
from core.networks.forms import LowRank, layer_obstacle
from core.networks.modules import matrix
from core.networks.views import CONVOLUTIONS, LayerView
from core.numerics.inits import function_loss, lowrank_init

SMALLEST_SIDE = 16
"""Layers with a shorter side stay dense: there is little to save (chosen)."""

ANYWHERE = ("spectral", "rescaled", "orthogonal", "kaiming")
"""Methods that any context takes; the others fall back to "rescaled" where they do not apply, and say so."""


@dataclass(frozen=True, slots=True)
class LayerStart:
    """One layer of a start. rank  0 where it stayed dense, and why in `skipped`. objective, words  of its context.

    method  that was used. loss  what its function loses over Gaussian inputs, see `inits.function_loss`; spectral  what
    the truncated SVD of that rank loses."""

    layer: str
    rank: int
    objective: str
    words: str
    method: str = ""
    loss: float = 0.0
    spectral: float = 0.0
    skipped: str = ""


def skips(layers: tuple[LayerView, ...], ranks: Mapping[str, int]) -> dict[str, str]:
    """Layer name -> why it stays dense: the first convolution or layer, the classifier, no saving, too small a side, or
    whatever forbids every form."""
    found = {}
    for i, view in enumerate(layers):
        m, n, r = view.m, view.n, ranks[view.name]
        if layer_obstacle(view):
            found[view.name] = layer_obstacle(view)
        elif i == 0 and view.kind in CONVOLUTIONS:
            found[view.name] = "the first convolution sees the input, where every direction may count"
        elif i == len(layers) - 1:
            found[view.name] = "the last layer tells the classes apart"
        elif min(m, n) < SMALLEST_SIDE:
            found[view.name] = f"a side of {min(m, n)} leaves little to save"
        elif r * (m + n) >= m * n:
            found[view.name] = f"rank {r} would not save parameters"
    return found


def ranks_at(layers: tuple[LayerView, ...], fraction: float) -> dict[str, int]:
    """max(1, round(fraction min(m, n))) for every layer. ValueError unless 0 < fraction <= 1."""
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"a rank fraction lies in (0, 1], got {fraction}")
    return {view.name: max(1, min(round(fraction * min(view.m, view.n)), min(view.m, view.n))) for view in layers}


def params_at(layers: tuple[LayerView, ...], fraction: float) -> int:
    """Parameters of the layers when all that are not skipped have that rank fraction."""
    ranks = ranks_at(layers, fraction)
    dense = skips(layers, ranks)
    return sum(
        view.size + view.num_bias if view.name in dense else LowRank(ranks[view.name]).cost(view).params
        for view in layers
    )


def fraction_for(layers: tuple[LayerView, ...], params: int) -> float:
    """The largest rank fraction, to 1e-3, whose layers have at most `params` parameters. ValueError if none does."""
    stops = [i / 1000 for i in range(1, 1001)]
    low, high = 0, len(stops)
    while low < high:  # parameters rise with the fraction until a layer is better off dense
        middle = (low + high) // 2
        low, high = (middle + 1, high) if params_at(layers, stops[middle]) <= params else (low, middle)
    if low == 0:
        raise ValueError(
            f"even the smallest ranks take {params_at(layers, stops[0]):,} parameters, more than {params:,}"
        )
    return stops[low - 1]


def low_rank_start(
    model: nn.Module,
    layers: tuple[LayerView, ...],
    fraction: float,
    method: str = "rescaled",
    scale: str = "optimal",
    seed: int = 0,
) -> tuple[nn.Module, tuple[LayerStart, ...]]:
    """A copy of the network with its layers in factors, and what became of each. method, scale  of `lowrank_init`;
    convolutions take the k × k, then 1 × 1 form. Biases and everything else stay. ValueError as `ranks_at` and
    `lowrank_init`."""
    ranks = ranks_at(layers, fraction)
    dense, around = skips(layers, ranks), contexts(model, layers)
    new, made = copy.deepcopy(model), []
    for i, view in enumerate(layers):
        context = around[view.name]
        if view.name in dense:
            made.append(LayerStart(view.name, 0, context.objective, context.words, skipped=dense[view.name]))
            continue
        layer = model.get_submodule(view.name)
        W, gamma = matrix(layer, view), _gamma(model, context)
        used = _method(method, context)
        factors = lowrank_init(W, ranks[view.name], used, context.objective, scale, seed + i, gamma=gamma)
        exchange(new, view.name, LowRank(ranks[view.name]).build(layer, view, factors))
        plain = factors if used == "spectral" else lowrank_init(W, ranks[view.name], "spectral")
        lost, spectral = (function_loss(W, A @ B, context.objective, gamma) for A, B in (factors, plain))
        made.append(LayerStart(view.name, ranks[view.name], context.objective, context.words, used, lost, spectral))
    return new, tuple(made)


def _method(method: str, context: Context) -> str:
    from core.numerics import hermite

    if method in ANYWHERE or (context.objective not in hermite.SMOOTH and method != "sampled"):
        return method
    return method if context.objective in ("relu", "linear") else "rescaled"


def _gamma(model: nn.Module, context: Context) -> Tensor | None:
    """Scales of the BatchNorm behind a layer; None where they are all 1 or there is none."""
    norm: Any = model.get_submodule(context.norm) if context.norm and context.objective == "bn" else None
    if norm is None or norm.weight is None:
        return None
    scales: Tensor = norm.weight.detach()
    return None if torch.equal(scales, torch.ones_like(scales)) else scales
