"""Sweeps that a database already holds, as if their points had been measured."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from core.compression.survey import Survey
from core.jobs.additivities import AdditivitySpec, additivity_run
from core.jobs.sensitivities import SensitivitySpec, sensitivity_run
from core.jobs.store import Store
from core.jobs.sweeps import SweepSpec, measured, points_of, sweep_run
from core.provenance import here


def spec(survey: Survey) -> SweepSpec:
    """Three budgets of a demo on the digits, timed."""
    name = survey.model.name
    return SweepSpec(name, name, survey.model.digest, "digits", keeps=(0.2, 0.4, 0.6), timed=True)


def result(value: float, ms: float = 1.0) -> dict[str, Any]:
    """What an evaluation would have answered: accuracy `value` against 0.9 of the dense network, `ms` against 2 ms."""
    where = json.loads(json.dumps(asdict(here("a test"))))
    number = {"what": "accuracy", "spread": 0.01, "n": 500, "seed": 0, "provenance": where}
    times = {"dense": [2.0] * 4, "compressed": [ms] * 4, "again": [2.0] * 4, "batch": 1, "repeats": 60}
    return {
        "dense": {**number, "value": 0.9},
        "compressed": {**number, "value": value},
        "latency": {**times, "provenance": where, "noise": 0.02, "ratio": ms / 2, "verdict": "faster"},
    }


def filled(store: Store, survey: Survey, values: tuple[float | None, ...] = (0.7, 0.85, 0.895), **more: Any) -> str:
    """A sweep of three points of which some are measured; its id. more: of the specification."""
    asked = replace(spec(survey), **more)
    run = store.add_run(sweep_run(asked), tuple(points_of(asked, survey)))
    for point, value in zip(store.points(run.id), values, strict=True):
        if value is not None:
            found = result(value)
            store.put_result(run.id, point.key, found, measured(found), 3.0, "w")
    if None not in values:
        store.set_state(run.id, "done")
    return run.id


def sensed(store: Store, survey: Survey) -> str:
    """Every layer's damage at three ranks; the id of its run."""
    name = survey.model.name
    layers = tuple(layer.view.name for layer in survey.layers if not layer.obstacle)
    run, points = sensitivity_run(SensitivitySpec(name, name, survey.model.digest, "digits", layers))
    store.add_run(run, points)
    for i, (key, request) in enumerate(points):
        lists = {"at": [1, 3, 6], "damage": [0.5, 0.1 / (i + 1), 0.01], "distance": [0.5, 0.2, 0.1], "accuracy": []}
        one = {"layer": request["layer"], "family": "lowrank", **lists, "output": [0.9, 0.4, 0.1], "samples": 256}
        store.put_result(run.id, key, {"found": [{**one, "fit": "whitened", "note": ""}]}, {}, 1.0, "w")
    store.set_state(run.id, "done")
    return run.id


def joined(store: Store, survey: Survey, sweep: str, sensitivity: str, joint: tuple[float, ...]) -> str:
    """Joint damages of a sweep's plans; the id of their run."""
    name = survey.model.name
    plans = tuple((point.label, point.request["plan"]) for point in store.points(sweep))
    run, points = additivity_run(AdditivitySpec(name, name, survey.model.digest, "digits", plans, sensitivity))
    store.add_run(run, points)
    for (key, _), value in zip(points, joint, strict=True):
        store.put_result(run.id, key, {"joint": value}, {}, 1.0, "w")
    store.set_state(run.id, "done")
    return run.id
