"""Sensitivity as a run: one point a layer, the numbers those of applying the form and running the network."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from core import journeys
from core.compression.apply import apply
from core.compression.plans import Plan
from core.compression.proxies import proxies
from core.compression.survey import Survey
from core.errors import InputError
from core.jobs.additivities import AdditivitySpec, additive_in, additivity_run
from core.jobs.records import Point, Run
from core.jobs.sensitivities import SensitivitySpec, found_in, sensitivity_run
from core.jobs.tasks import perform
from core.networks.forms import Filters, LowRank
from core.training.data import open_data


@pytest.fixture(scope="module")
def survey() -> Survey:
    return journeys.demo_survey("digits-mlp")


@pytest.fixture
def spec(survey: Survey) -> SensitivitySpec:
    names = tuple(view.name for view in survey.views)
    return SensitivitySpec(
        "digits-mlp", "digits-mlp", survey.model.digest, "digits", names, candidates=3, samples=64, fit="plain"
    )


def test_every_layer_is_a_point_whose_damage_is_that_of_the_whole_network(
    spec: SensitivitySpec, survey: Survey
) -> None:
    run, points = sensitivity_run(spec)
    assert [request["layer"] for _, request in points] == [view.name for view in survey.views]
    results = [json.loads(json.dumps(perform(request))) for _, request in points]
    stored = [Point(run.id, key, request, "done", result=r) for (key, request), r in zip(points, results, strict=True)]
    found = found_in(stored)
    assert [entry.layer for entry in found] == [view.name for view in survey.views] and len(found[0].at) == 3
    opened = journeys.open_network("digits-mlp")
    assert opened.module is not None
    x, _ = open_data("digits").split("train", 64, 0)
    x = journeys.prepared(opened, open_data("digits"), x)
    entry, level = found[1], found[1].at[0]
    small = apply(Plan(survey.model).with_form(entry.layer, LowRank(level)), opened.module, survey.views)
    with torch.no_grad():
        p, q = (torch.log_softmax(net(x).double(), 1) for net in (opened.module, small))
    assert entry.damage[0] == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()), rel=1e-3)
    assert any(proxy.rho is not None for proxy in proxies(survey, found))


def test_layers_still_to_come_are_left_out(spec: SensitivitySpec) -> None:
    run, points = sensitivity_run(spec)
    assert found_in([Point(run.id, key, request) for key, request in points]) == ()


@pytest.mark.parametrize(
    "change",
    [{"layers": ()}, {"families": ()}, {"families": ("magic",)}, {"fit": "magic"}, {"candidates": 0}, {"samples": 0}],
)
def test_what_cannot_be_measured_is_one_sentence(spec: SensitivitySpec, change: dict[str, object]) -> None:
    with pytest.raises(InputError) as error:
        sensitivity_run(replace(spec, **change))  # type: ignore[arg-type]
    assert str(error.value).endswith(".")


def test_equal_measurements_are_one_run(spec: SensitivitySpec) -> None:
    assert sensitivity_run(spec)[0].id == sensitivity_run(replace(spec))[0].id
    assert sensitivity_run(replace(spec, seed=1))[0].id != sensitivity_run(spec)[0].id


def test_plans_together_lose_what_the_whole_network_says(spec: SensitivitySpec, survey: Survey) -> None:
    run, points = sensitivity_run(spec)
    stored = [Point(run.id, key, request, "done", result=perform(request)) for key, request in points]
    found = found_in(stored)
    first, second = (entry for entry in found[:2])
    plan = Plan(survey.model)
    for entry in (first, second):
        plan = plan.with_form(entry.layer, LowRank(entry.at[1]))
    asked = {"samples": spec.samples, "seed": spec.seed, "fit": spec.fit}
    content = (("both", plan.to_json()), ("masked", Plan(survey.model).with_form(first.layer, Filters(3)).to_json()))
    joint, requests = additivity_run(
        AdditivitySpec("digits-mlp", "digits-mlp", survey.model.digest, "digits", content, run.id, **asked)
    )
    results = [json.loads(json.dumps(perform(request))) for _, request in requests]
    points_of = [
        Point(joint.id, key, request, "done", result=r) for (key, request), r in zip(requests, results, strict=True)
    ]
    made = additive_in(points_of, survey, found)
    assert [one.key for one in made] == ["both", "masked"]
    one = made[0]
    assert one.predicted == pytest.approx(first.damage[1] + second.damage[1], rel=1e-6)
    opened = journeys.open_network("digits-mlp")
    assert opened.module is not None
    x, _ = journeys.calibration_inputs(opened, open_data("digits"), spec.samples, spec.seed)
    with torch.no_grad():
        p, q = (
            torch.log_softmax(net(x).double(), 1) for net in (opened.module, apply(plan, opened.module, survey.views))
        )
    assert one.joint == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()), rel=1e-3)
    for bad in (replace_plans(joint, ()), replace_plans(joint, content * 30)):
        with pytest.raises(InputError, match="1 to 40 plans"):
            additivity_run(bad)


def replace_plans(run: Run, plans: tuple[tuple[str, str], ...]) -> AdditivitySpec:
    return AdditivitySpec(**{**run.spec, "plans": plans})
