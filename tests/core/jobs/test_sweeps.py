"""Sweeps: which plans a specification asks for, and what is read back of them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core import journeys
from core.compression.allocate import Budget, allocate
from core.compression.plans import STEPS, Plan, plan_cost
from core.compression.survey import Survey
from core.errors import InputError
from core.jobs.records import Point
from core.jobs.sensitivities import SensitivitySpec, sensitivity_run
from core.jobs.store import Store
from core.jobs.sweeps import (
    FAMILY_SETS,
    REPAIRS,
    SweepSpec,
    checked,
    measured,
    points_of,
    prepare,
    spec_of,
    sweep_run,
    tradeoff_points,
)
from core.networks.costs import Cost
from core.networks.forms import LowRank


@pytest.fixture(scope="module")
def survey() -> Survey:
    return journeys.demo_survey("digits-mlp")


@pytest.fixture
def spec(survey: Survey) -> SweepSpec:
    return SweepSpec("digits-mlp", "digits-mlp", survey.model.digest, "digits", keeps=(0.3, 0.5, 0.7), limit=50)


def plans(spec: SweepSpec, survey: Survey) -> list[Plan]:
    return [Plan.from_json(request["plan"]) for _, request in points_of(spec, survey)]


def test_every_combination_is_one_point_within_its_budget(spec: SweepSpec, survey: Survey) -> None:
    wide = replace(spec, methods=("greedy", "uniform"), repairs=("none", "full"), seeds=(0, 1))
    found = list(points_of(wide, survey))
    about = [request["about"] for _, request in found]
    assert len({key for key, _ in found}) == len(found) <= wide.most == 24
    seen = {(a["method"], a["repair"], a["seed"], a["keep"]) for a in about}
    asked = set(product(("greedy", "uniform"), ("none", "full"), (0, 1), (0.3, 0.5, 0.7)))
    assert seen <= asked and {s[1:] for s in seen} == {s[1:] for s in asked}
    for _, request in found:
        a, plan = request["about"], Plan.from_json(request["plan"])
        assert plan.repair.steps == REPAIRS[a["repair"]] and plan.repair.seed == a["seed"] == request["seed"]
        cost = plan_cost(plan, survey.views, survey.rest)
        assert Cost(**a["cost"]) == cost and cost.macs <= a["keep"] * survey.dense.macs


def test_a_plan_is_what_the_allocator_alone_gives(spec: SweepSpec, survey: Survey) -> None:
    wanted = [allocate(survey, Budget.keep(survey, keep, "macs"), "greedy").plan for keep in (0.3, 0.5, 0.7)]
    assert plans(spec, survey) == wanted and wanted[0].repair.steps == STEPS


def test_pins_and_floors_are_kept(spec: SweepSpec, survey: Survey) -> None:
    first, second = survey.views[0], survey.views[1]
    pinned = json.loads(json.dumps(Plan(survey.model).with_form(first.name, LowRank(7)).form_json(first.name)))
    held = replace(spec, pins={first.name: pinned}, floors={second.name: 0.4})
    found = plans(held, survey)
    assert found and all(plan.form(first.name) == LowRank(7) for plan in found)
    assert all(
        plan.form(second.name).cost(second).macs >= 0.4 * second.m * second.n * second.positions for plan in found
    )


def test_measured_damages_move_ranks_to_where_they_hurt(spec: SweepSpec, survey: Survey, tmp_path: Path) -> None:
    """A layer said to be beyond price keeps more than the calibrated curves would give it."""
    store = Store.open(f"sqlite:///{tmp_path / 'runs.db'}")
    dear, cheap = survey.views[0].name, survey.views[1].name
    asked = SensitivitySpec("digits-mlp", "digits-mlp", survey.model.digest, "digits", (dear, cheap))
    run, points = sensitivity_run(asked)
    with pytest.raises(InputError, match="measure its sensitivity first"):
        prepare(sweep_run(replace(spec, sensitivity=run.id)), store)
    store.add_run(run, points)
    for (key, request), damage in zip(points, ((90.0, 80.0, 70.0), (3e-6, 2e-6, 1e-6)), strict=True):
        lists = {"at": (1, 8, 20), "damage": damage, "distance": (1.0,) * 3, "accuracy": (), "output": (0.9, 0.5, 0.2)}
        entry = {"layer": request["layer"], "family": "lowrank", **lists, "samples": 256, "fit": "whitened", "note": ""}
        store.put_result(run.id, key, {"found": [entry]}, {}, 1.0, "w")
    usual, told = sweep_run(spec), sweep_run(replace(spec, sensitivity=run.id))
    assert usual.id != told.id and "measured damage" in told.title and spec_of(told).sensitivity == run.id
    store.add_run(told)
    prepare(told, store)
    (before, *_), (after, *_) = plans(spec, survey), [Plan.from_json(p.request["plan"]) for p in store.points(told.id)]
    view = survey.layer(dear).view
    assert after.form(dear).cost(view).macs > before.form(dear).cost(view).macs
    about = store.points(told.id)[0].request["about"]
    assert "measured damage" in about["label"] and about["method"] == "greedy on measured damage"
    store.close()


def test_forms_are_only_of_the_family_asked_for(spec: SweepSpec, survey: Survey) -> None:
    for name in ("lowrank", "masks"):
        forms = {entry.form.family for plan in plans(replace(spec, families=(name,), quantity="params"), survey)
                 for entry in plan.layers}  # fmt: skip
        assert forms and forms <= set(FAMILY_SETS[name])


def test_budgets_that_hold_the_whole_network_or_nothing_give_no_point(spec: SweepSpec, survey: Survey) -> None:
    assert plans(replace(spec, keeps=(1.0, 0.001)), survey) == []


def test_a_run_keeps_its_specification_and_equal_ones_are_one_run(spec: SweepSpec) -> None:
    run = sweep_run(spec)
    assert spec_of(run) == spec and json.loads(json.dumps(run.spec)) == run.spec
    assert sweep_run(replace(spec)).id == run.id != sweep_run(replace(spec, seeds=(1,))).id
    assert "3 budgets in MACs" in run.title and run.kind == "sweep"
    with pytest.raises(InputError, match="another version"):
        spec_of(replace(run, spec={**run.spec, "colour": "red"}))


def test_rows_removed_are_budgeted_in_parameters_and_cost_what_was_counted(spec: SweepSpec, survey: Survey) -> None:
    masked = list(points_of(replace(spec, families=("rows", "masks")), survey))
    assert {request["about"]["families"] for _, request in masked} == {"rows", "masks"}
    assert all("of parameters" in request["about"]["label"] for _, request in masked), "masks save no MACs"
    found = list(points_of(replace(spec, families=("rows removed",)), survey))
    assert len(found) == 3
    for name, request in found:
        plan, about = Plan.from_json(request["plan"]), request["about"]
        assert plan.remove and {entry.form.family for entry in plan.layers} == {"filters"}
        assert "of parameters, rows removed" in about["label"]
        assert about["cost"]["params"] <= about["keep"] * survey.dense.params
        waiting = Point("run", name, request)
        result = {"dense": asdict(survey.accuracy), "compressed": None, "latency": None}
        counted = {"params": 9, "macs": 8, "bytes": 7, "useful_macs": 6}
        before, after, older = tradeoff_points(
            [waiting, replace(waiting, result={**result, "cost": counted}), replace(waiting, result=result)]
        )
        assert before.cost == older.cost == Cost(**about["cost"]) and after.cost == Cost(9, 8, 7, 6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"keeps": ()}, "needs a budget"),
        ({"seeds": ()}, "needs a budget"),
        ({"keeps": (0.5, 1.5)}, "not 1.5"),
        ({"keeps": (0.0,)}, "not 0.0"),
        ({"methods": ("magic",)}, "'magic'"),
        ({"families": ("dense",)}, "'dense'"),
        ({"repairs": ("glue",)}, "'glue'"),
        ({"quantity": "joules"}, "'joules'"),
        ({"seeds": tuple(range(400))}, "1,200 points"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(spec: SweepSpec, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        checked(replace(spec, **change))
    assert str(error.value).count(".") <= 2 and str(error.value).endswith(".")


class Shelf:
    """What `prepare` needs of a store."""

    def __init__(self) -> None:
        self.added: list[tuple[str, dict[str, Any]]] = []

    def add_points(self, id: str, points: Any) -> None:
        self.added += [(id, request) for _, request in points]


def test_preparing_a_run_adds_its_points(spec: SweepSpec, survey: Survey) -> None:
    shelf, run = Shelf(), sweep_run(spec)
    prepare(run, shelf)  # type: ignore[arg-type]
    assert [id for id, _ in shelf.added] == [run.id] * 3
    assert {request["do"] for _, request in shelf.added} == {"evaluate"} and shelf.added[0][1]["limit"] == 50


def test_other_weights_under_the_same_name_are_refused(spec: SweepSpec) -> None:
    with pytest.raises(InputError, match="have changed"):
        prepare(sweep_run(replace(spec, digest="0" * 64)), Shelf())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="None of these budgets"):
        prepare(sweep_run(replace(spec, keeps=(1e-4, 1.0))), Shelf())  # type: ignore[arg-type]


def test_what_was_measured_is_read_back(spec: SweepSpec, survey: Survey) -> None:
    name, request = next(iter(points_of(replace(spec, timed=True), survey)))
    opened = journeys.open_network("digits-mlp")
    from core.training.data import open_data

    found = journeys.evaluate(opened, open_data("digits"), Plan.from_json(request["plan"]), 50, 0, False, True)
    result = json.loads(json.dumps(journeys.as_dict(found)))
    made = measured(result)
    assert made["accuracy"] == found.compressed and made["accuracy_dense"] == found.dense
    assert found.latency is not None
    assert made["latency_ms"].value == found.latency.compressed[2] and made["latency_ms"].n == found.latency.repeats
    assert made["latency_dense_ms"].spread == pytest.approx(found.latency.noise * found.latency.dense[2])
    waiting = Point("run", name, json.loads(json.dumps(request)))
    one, two = tradeoff_points([waiting, replace(waiting, state="done", result=result)])
    assert one.accuracy is None and one.latency is None and one.plan == request["plan"]
    assert two.accuracy == found.compressed and two.size("latency") == found.latency.compressed[2]
    assert asdict(two.cost) == request["about"]["cost"] and two.predicted == request["about"]["predicted"]
    assert tradeoff_points([SimpleNamespace(request={"do": "survey"})]) == []  # type: ignore[list-item]
