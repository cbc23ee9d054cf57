"""Why a form does not fit a layer, as words that follow "it cannot take this form:"; "" where it fits. No torch."""

from __future__ import annotations

import math

from core.networks.views import CONVOLUTIONS, LINEAR, LayerView

SMALLEST = 2
"""A matrix with a side shorter than this has nothing to factorise."""


def layer_obstacle(view: LayerView) -> str:
    """Why no form but Dense fits this layer, "" if some may."""
    if not view.finite:
        return "its weight holds NaN or infinite values"
    if view.tied_to:
        return f"it shares its weight with {view.tied_to}"
    if view.blocked:
        return view.blocked
    if view.kind == "embedding":
        return "an embedding is looked up, not multiplied"
    if view.kind == "in_proj":
        return "its projections are packed inside nn.MultiheadAttention"
    if view.kind not in CONVOLUTIONS + LINEAR:
        return f"layers of kind {view.kind} are not supported"
    if view.groups > 1:
        return f"it is a grouped convolution: {view.groups} separate {view.m} × {view.n} matrices"
    if min(view.m, view.n) < SMALLEST:
        return f"a {view.m} × {view.n} matrix has rank 1 already"
    return ""


def unfolded_shape(view: LayerView, unfolding: str) -> tuple[int, int]:
    """Rows and columns of the layer's matrix in an unfolding of `numerics.conv`."""
    sides = math.prod(view.kernel)
    if unfolding == "rows" or not view.kernel:
        return view.m, view.n
    if unfolding == "columns":
        return view.m * sides, view.channels_in
    return view.m * view.kernel[-1], view.channels_in * view.kernel[0]


def has_kernel(view: LayerView) -> bool:
    return view.kind in CONVOLUTIONS and math.prod(view.kernel) > 1


def rank_obstacle(rank: int, view: LayerView, unfolding: str) -> str:
    full = min(unfolded_shape(view, unfolding))
    return "" if 1 <= rank <= full else f"rank {rank} is outside 1 to {full}"


def count_obstacle(count: int, full: int, what: str) -> str:
    return "" if 1 <= count <= full else f"{count} {what} is outside 1 to {full}"
