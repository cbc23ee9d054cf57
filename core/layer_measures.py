"""What can be found out of single layers of a network: what it costs the network to compress one alone, or those of a
plan at once, the time of one, and how well low rank + sparse stands for it along one budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import journeys
from core.errors import InputError
from core.networks.forms import Dense
from core.networks.sparse_forms import index_bytes
from core.networks.views import LayerView
from core.numerics.lowrank_sparse import RANKS, Pair, iso_budget, iso_curve, spread

if TYPE_CHECKING:
    from core.compression.plans import Plan
    from core.compression.sensitivity import LayerSensitivity
    from core.networks.checkpoints import Opened
    from core.training.data import Data
    from core.training.layer_latency import LayerLatency


LARGE, FEWER_RANKS = 2**19, 12
"""A layer of more entries than the first is tried at the second number of ranks: each takes seconds (chosen)."""


@dataclass(frozen=True, slots=True)
class IsoBudget:
    """One layer as low rank + sparse along a budget. pairs (rank, entries), from entries alone to a rank alone; () if
    neither fits. errors  relative Frobenius error of the weights at each. seconds  of wall time that took."""

    pairs: tuple[Pair, ...]
    errors: tuple[float, ...]
    seconds: float


def budget_pairs(view: LayerView, quantity: str, keep: float) -> tuple[Pair, ...]:
    """Every (rank, entries) whose form spends the share `keep`, in (0, 1], of what the dense layer has of `quantity`,
    "params" or "bytes"; the bias and, in bytes, an index of one bit an entry are paid from it. ValueError otherwise."""
    if quantity not in ("params", "bytes") or not 0.0 < keep <= 1.0:
        raise ValueError(f"a budget keeps a share in (0, 1] of params or bytes, not {keep} of {quantity}")
    entry, index = (view.itemsize, index_bytes(view)) if quantity == "bytes" else (1, 0)
    budget = int(keep * Dense().cost(view).of(quantity)) - entry * view.num_bias
    return iso_budget(view.m, view.n, budget, entry, index)


def iso_budget_curve(
    opened: Opened,
    layer: str,
    quantity: str = "params",
    keep: float = 0.5,
    progress: journeys.Progress | None = None,
) -> IsoBudget:
    """The error of one layer's weights at some of its `budget_pairs`, evenly spread. Needs the weights alone.

    InputError for a layer that is not there or can take no form; ValueError as `budget_pairs`."""
    from core.compression.surveying import matrix_of

    found = {entry.view.name: entry for entry in journeys.survey_of(opened, progress).layers}
    if layer not in found or found[layer].obstacle:
        raise InputError(f"{opened.ref.name} has no layer {layer!r} that can take this form; choose another.")
    view = found[layer].view
    pairs = spread(budget_pairs(view, quantity, keep), RANKS if view.size <= LARGE else FEWER_RANKS)
    started = time.perf_counter()
    errors = iso_curve(matrix_of(opened, view), pairs, progress) if pairs else ()
    return IsoBudget(pairs, errors, time.perf_counter() - started)


def layer_sensitivity(
    opened: Opened,
    data: Data,
    layer: str,
    families: Sequence[str] = ("lowrank",),
    candidates: int = 10,
    samples: int = 256,
    seed: int = 0,
    fit: str = "whitened",
    progress: journeys.Progress | None = None,
) -> tuple[LayerSensitivity, ...]:
    """Measured damage of one layer alone, on training examples of `data`. InputError as `journeys.runnable`."""
    from core.compression.sensitivity import sensitivity

    model, survey = journeys.runnable(opened), journeys.survey_of(opened, progress)
    x, y = data.split("train", samples, seed)
    x = journeys.prepared(opened, data, x)
    labels = y if survey.num_classes else None
    kinds = tuple(families)
    return sensitivity(model, x, survey.views, kinds, candidates, labels, fit, survey.num_classes, progress, (layer,))


def plan_damage(
    opened: Opened, data: Data, plan: Plan, samples: int = 256, seed: int = 0, fit: str = "whitened"
) -> float:
    """Damage of a whole plan on the training examples that `layer_sensitivity` takes. InputError as
    `journeys.runnable`; PlanError for a plan of another model."""
    from core.compression.additivity import joint_damage
    from core.compression.plans import check_plan

    model, survey = journeys.runnable(opened), journeys.survey_of(opened)
    check_plan(plan, opened.ref, survey.views)
    x, _ = journeys.calibration_inputs(opened, data, samples, seed)
    return joint_damage(model, {"plan": plan}, x, survey.views, bool(survey.num_classes), fit)["plan"]


def time_layer(
    opened: Opened, layer: str, family: str = "lowrank", count: int = 12, progress: journeys.Progress | None = None
) -> LayerLatency:
    """Time of one layer of the network against the level of a family, on a sample of zeros. InputError if the network
    cannot be run or has no such layer in that family."""
    import torch

    from core.networks.forms import FAMILIES
    from core.training.layer_latency import layer_latency

    model, survey = journeys.runnable(opened), journeys.survey_of(opened)
    known = {view.name: view for view in survey.views}
    if layer not in known or family not in FAMILIES or FAMILIES[family].obstacle(known[layer]):
        raise InputError(f"{opened.ref.name} has no layer {layer!r} that can take this form; choose another.")
    view = known[layer]
    full = FAMILIES[family].full(view)
    levels = sorted({max(1, round(full ** (i / (count - 1)))) for i in range(count)})
    return layer_latency(model, view, family, levels, torch.zeros(1, *survey.input_shape), progress=progress)
