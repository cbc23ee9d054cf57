"""What a layer's function loses against its rank, and what a low-rank start makes of a whole network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from core import journeys
from core.errors import InputError

if TYPE_CHECKING:
    from core.networks.checkpoints import Opened

PROJECTED = 10
"""Ranks at which the row space is searched for (chosen: each is an iteration of its own)."""

SEARCHED = 2**19
"""Entries of a layer up to which row spaces are searched; beyond it takes minutes (chosen)."""

STARTS, STEPS = 1, 20
"""Random starts and steps of each search."""


@dataclass(frozen=True, slots=True)
class FunctionCurves:
    """Loss of a layer's function over Gaussian inputs, 0 for the layer itself and 1 for none of it (behind BatchNorm
    the mean of 1 - g), at the truncation of every rank.

    objective  what follows the layer; context  that in words. at  ranks. none, optimal, norm  losses by how rows are
    scaled, see `relu.SCALES`; one of them, "none", behind BatchNorm. low, high  the bracket of the ReLU's optimum, ()
    for other objectives. projected  (rank, loss) of searched row spaces. note  what was not done, "" if nothing."""

    layer: str
    objective: str
    context: str
    at: tuple[int, ...]
    none: tuple[float, ...]
    optimal: tuple[float, ...]
    norm: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    projected: tuple[tuple[int, float], ...]
    note: str


def function_curves(
    opened: Opened, layer: str, objective: str = "", seed: int = 0, progress: journeys.Progress | None = None
) -> FunctionCurves:
    """The curves of one layer. objective  of `relu.OBJECTIVES` or leaky(slope); "" for what follows the layer in its
    network, ReLU where that is an activation without curves. InputError for a layer that is not there or has no matrix,
    or an unknown objective."""
    from core.compression.contexts import contexts
    from core.networks.forms import layer_obstacle
    from core.networks.modules import matrix
    from core.numerics import nkp, relu

    model, survey = journeys.runnable(opened), journeys.survey_of(opened)
    known = {view.name: view for view in survey.views}
    if layer not in known or layer_obstacle(known[layer]):
        raise InputError(f"{opened.ref.name} has no layer {layer!r} whose rank could be lowered; choose another.")
    view = known[layer]
    context = contexts(model, survey.views)[layer]
    wanted = objective or context.objective
    note = ""
    try:
        how = relu.objective(wanted)
    except ValueError as error:
        if objective:
            raise _refusal(error, "choose one of them") from None
        how, note = relu.objective("relu"), f"{wanted} has no curve of its own here, so the ReLU stands in for it."
    W = matrix(model.get_submodule(layer), view).double()
    if progress:
        progress("one decomposition", 0, PROJECTED)
    scales = ("none",) if how.scale_free else relu.SCALES
    curves = {scale: tuple(curve.tolist()) for scale, curve in relu.loss_curves(W, how, scales).items()}
    full = min(view.m, view.n)
    ranks = sorted({max(1, round(full ** (i / PROJECTED))) for i in range(PROJECTED)} - {full})
    projected = []
    if view.size <= SEARCHED:
        for i, rank in enumerate(ranks):
            if progress:
                progress("row spaces", i, len(ranks))
            found = nkp.project(W, rank, how, starts=STARTS, steps=STEPS, seed=seed)
            projected.append((rank, 1.0 - found.kept))
    else:
        note = f"{note} Row spaces were not searched, as the layer has {view.size:,} weights.".strip()
    low, high = relu.brackets(W) if how.name == "relu" else ((), ())
    return FunctionCurves(
        layer,
        how.name,
        context.words,
        tuple(range(full + 1)),
        curves["none"],
        curves.get("optimal", ()),
        curves.get("norm", ()),
        low,
        high,
        tuple(projected),
        note,
    )


def network_start(
    opened: Opened, fraction: float, method: str = "rescaled", scale: str = "optimal", seed: int = 0
) -> dict[str, Any]:
    """What `low_rank_start` makes of the network, as plain values: a record a layer, and parameters before and after.
    InputError for a fraction outside (0, 1] or an unknown method or scale."""
    from core.compression.starts import low_rank_start

    model, survey = journeys.runnable(opened), journeys.survey_of(opened)
    try:
        new, starts = low_rank_start(model, survey.views, fraction, method, scale, seed)
    except ValueError as error:
        raise _refusal(error, "choose again") from None
    before, after = (sum(p.numel() for p in net.parameters()) for net in (model, new))
    return {"layers": [asdict(start) for start in starts], "before": before, "after": after}


def _refusal(error: ValueError, then: str) -> InputError:
    """What the numerics refuse, as a sentence with the next step."""
    words = str(error)
    return InputError(f"{words[0].upper()}{words[1:]}; {then}.")
