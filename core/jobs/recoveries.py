"""A recovery as a run of one point: a plan trained on its data, before and after on the same test examples."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from core.compression.tradeoff import TradeoffPoint
from core.jobs.records import Run
from core.training.recover_spec import RecoverSpec, checked

Json = dict[str, Any]

KIND = "recover"


@dataclass(frozen=True, slots=True)
class RecoverySpec:
    """What to train. model, arch, data  sources; name and digest of the model's weights. plan  JSON.

    training  how. limit  test examples, None for all. out  a folder for the bundle, "" for none: each recovery gets one
    of its own inside it. timed  measures latency too. about  what the trade-off plot knows of the plan."""

    model: str
    name: str
    digest: str
    data: str
    plan: str
    about: Json
    training: RecoverSpec = field(default_factory=RecoverSpec)
    arch: str = ""
    limit: int | None = None
    out: str = ""
    timed: bool = False


def about_point(point: TradeoffPoint) -> Json:
    """What the trade-off plot knows of a point, for the recovery that starts there."""
    return {
        "label": f"{point.label}, trained",
        "method": point.method,
        "families": point.families,
        "repair": "trained",
        "keep": point.keep,
        "seed": point.seed,
        "predicted": point.predicted,
        "objective": point.objective,
        "cost": asdict(point.cost),
        "whole": asdict(point.whole) if point.whole else None,
    }


def recovery_run(spec: RecoverySpec) -> tuple[Run, tuple[tuple[str, Json], ...]]:
    """The run and its one point. InputError for a training that cannot be run."""
    checked(spec.training)
    content: Json = json.loads(json.dumps(asdict(spec)))
    how = "on labels" if not spec.training.distil else f"{spec.training.distil:.0%} distilled"
    title = f"{spec.about['label']}: {spec.training.epochs} epochs, {how}, rate {spec.training.lr:g}"
    run = Run.new(KIND, title, spec.name, spec.digest, content)
    names = ("model", "arch", "data", "plan", "training", "limit", "timed", "about")
    request = {"do": "recover", **{name: content[name] for name in names}}
    if spec.out:
        request["out"] = f"{spec.out}/{run.id}/bundle"
    return run, ((f"{run.id[:12]}-rec", request),)
