"""Additivity as a run: the joint damage of plans, one point a plan, to stand beside the sum of their layers' alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.compression.additivity import Additive, predicted_damage
from core.compression.plans import Plan
from core.compression.sensitivity import FITS, LayerSensitivity, informed
from core.compression.survey import Survey
from core.errors import InputError
from core.jobs.records import Point, Run

Json = dict[str, Any]

KIND = "additivity"

MOST = 40
"""Plans of one run at most (chosen: a plot of more says no more)."""


@dataclass(frozen=True, slots=True)
class AdditivitySpec:
    """What to measure. model, arch, data  sources; name and digest of the model's weights. plans  (label, JSON) each.

    sensitivity  id of the run that measured the layers alone; samples, seed and fit are those of that run."""

    model: str
    name: str
    digest: str
    data: str
    plans: tuple[tuple[str, str], ...]
    sensitivity: str
    samples: int = 256
    seed: int = 0
    fit: str = "whitened"
    arch: str = ""


def additivity_run(spec: AdditivitySpec) -> tuple[Run, tuple[tuple[str, Json], ...]]:
    """The run and its points, one a plan. InputError for one that cannot be run."""
    if not spec.plans or len(spec.plans) > MOST or spec.fit not in FITS or spec.samples < 1:
        raise InputError(f"Additivity needs 1 to {MOST} plans, a known fit and at least one sample; choose again.")
    content: Json = json.loads(json.dumps(asdict(spec)))
    title = f"joint damage of {len(spec.plans)} plans, {spec.samples} samples"
    names = ("model", "arch", "data", "samples", "seed", "fit")
    shared = {"do": "joint_damage", **{name: content[name] for name in names}}
    return Run.new(KIND, title, spec.name, spec.digest, content), tuple(
        (f"plan-{i}", {**shared, "plan": plan, "about": {"label": label}}) for i, (label, plan) in enumerate(spec.plans)
    )


def additive_in(points: Sequence[Point], survey: Survey, found: tuple[LayerSensitivity, ...]) -> tuple[Additive, ...]:
    """Joint damages that were measured so far, beside what the layers alone foretell; plans with a layer whose damage
    alone is not known are left out."""
    known = informed(survey, found)
    made = []
    for point in points:
        predicted = predicted_damage(known, Plan.from_json(point.request["plan"])) if point.result else None
        if point.result and predicted is not None:
            made.append(Additive(point.label, predicted, point.result["joint"]))
    return tuple(made)
