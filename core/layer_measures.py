"""What can be measured of single layers of a network: what it costs the network to compress one alone, or those of a
plan at once, and the time of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core import journeys
from core.errors import InputError

if TYPE_CHECKING:
    from core.compression.plans import Plan
    from core.compression.sensitivity import LayerSensitivity
    from core.networks.checkpoints import Opened
    from core.training.data import Data
    from core.training.layer_latency import LayerLatency


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
