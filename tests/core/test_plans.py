"""Plans: what is saved, what is refused and in which words, and costs against sums by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from core.compression.plans import LayerPlan, Plan, Repair, check_plan, plan_cost
from core.errors import PlanError
from core.networks.arch import ModelRef
from core.networks.costs import Cost
from core.networks.forms import (
    Dense,
    Filters,
    LowRank,
    LowRankSparse,
    RandomSparse,
    SemiSparse,
    Sparse,
    SpatialLowRank,
)
from core.networks.views import LayerView

REF = ModelRef("file", "net.pt", "0123456789abcdef" * 4)
FORMS = (LowRank(3), LowRank(2, True), SpatialLowRank(4), Sparse(17), SemiSparse(), Filters(5), Dense())
NEWER = (RandomSparse(9), RandomSparse(9, 5), LowRankSparse(3, 20))
VIEWS = (
    LayerView("conv", "conv2d", m=8, n=36, positions=25, kernel=(3, 3), stride=(1, 1), in_size=(5, 5), out_size=(5, 5)),
    LayerView("fc", "linear", m=10, n=20, positions=1, bias=True),
    LayerView("head", "linear", m=10, n=20, positions=2, tied_to="fc"),
    LayerView("words", "embedding", m=30, n=10, positions=4),
)
WRITTEN = """
{"schema": 1, "model": {"source": "file", "name": "net.pt", "digest": "0123"},
 "repair": {"steps": ["whitened", "bias"], "samples": 500, "seed": 3},
 "layers": [{"layer": "a", "family": "lowrank", "rank": 3}, {"layer": "b", "family": "lowrank_in", "rank": 2},
            {"layer": "c", "family": "spatial", "rank": 4}, {"layer": "d", "family": "sparse", "nonzeros": 17},
            {"layer": "e", "family": "sparse24"}, {"layer": "f", "family": "filters", "rows": 5},
            {"layer": "g", "family": "dense"}]}
"""


def sentence(error: pytest.ExceptionInfo[PlanError]) -> str:
    """The message, which must be one sentence with a next step."""
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and (";" in text or ": open" in text), text
    return text


def changed(**changes) -> str:
    """The JSON of a plan with some of its keys replaced; None removes one."""
    content = json.loads(WRITTEN) | changes
    return json.dumps({key: value for key, value in content.items() if value is not None})


def with_layer(**entry) -> str:
    return changed(layers=[{"layer": "a", **entry}])


def test_what_earlier_versions_wrote_is_read():
    layers = tuple(LayerPlan(name, form) for name, form in zip("abcdefg", FORMS, strict=True))
    assert Plan.from_json(WRITTEN) == Plan(
        ModelRef("file", "net.pt", "0123"), layers, Repair(("whitened", "bias"), 500, 3)
    )


@pytest.mark.parametrize("form", (*FORMS, *NEWER), ids=lambda form: form.family)
@pytest.mark.parametrize("name", ["layer1.0.conv1", '<img src=x onerror="alert(1)">', "слой/один\u202e", "", "a\nb"])
def test_a_plan_reads_back_equal(form, name):
    plan = Plan(
        ModelRef("demo", name, "f" * 64), (LayerPlan(name, form), LayerPlan("other", LowRank(1))), Repair((), 7, 1)
    )
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.to_json().isascii()


def test_an_empty_plan_repairs_by_every_step_and_reads_back_equal():
    plan = Plan(REF)
    assert plan.repair == Repair(("whitened", "sequential", "batchnorm", "bias"), 1000, 0)
    assert Plan.from_json(plan.to_json()) == plan


def test_removing_rows_is_written_only_where_it_is_asked_for():
    plan = Plan.from_json(WRITTEN)
    asked = replace(plan, remove=True)
    assert not plan.remove and "remove" not in json.loads(plan.to_json())
    assert json.loads(asked.to_json())["remove"] is True and Plan.from_json(asked.to_json()) == asked != plan
    assert Plan.from_json(changed(remove=False)) == plan


def test_repair_steps_are_put_in_their_order():
    text = changed(repair={"steps": ["bias", "whitened", "sequential"], "samples": 10, "seed": 0})
    assert Plan.from_json(text).repair.steps == ("whitened", "sequential", "bias")


def test_keys_that_are_not_known_are_ignored():
    text = changed(bundle={"schema": 1}, note="mine")
    assert Plan.from_json(text) == Plan.from_json(WRITTEN)


@pytest.mark.parametrize("text", ["", "{", "plan", "\x00\x01", '{"schema": 1,', "[" * 100_000])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(PlanError, match="not valid JSON") as error:
        Plan.from_json(text)
    sentence(error)


@pytest.mark.parametrize(
    "text", ["[]", "3", "null", "{}", changed(schema=2), changed(schema="1"), changed(schema=None)]
)
def test_another_schema_is_refused(text):
    with pytest.raises(PlanError, match="not of schema 1") as error:
        Plan.from_json(text)
    sentence(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (with_layer(family="tucker", rank=3), "the family 'tucker'"),
        (with_layer(rank=3), "'family'"),
        (with_layer(family="lowrank"), "'rank'"),
        (with_layer(family="lowrank", rank=-1), "the count -1"),
        (with_layer(family="lowrank_in", rank=0), "the count 0"),
        (with_layer(family="spatial", rank=2.0), "the count 2.0"),
        (with_layer(family="sparse", nonzeros="9"), "the count '9'"),
        (with_layer(family="filters", rows=True), "the count True"),
        (with_layer(family=["lowrank"], rank=1), ""),
        (changed(layers=[{"family": "sparse24"}]), "'layer'"),
        (changed(layers=[3]), ""),
        (changed(layers=None), "'layers'"),
        (changed(remove="yes"), "the choice 'yes'"),
        (changed(remove=1), "the choice 1"),
        (changed(layers=7), ""),
        (changed(model=None), "'model'"),
        (changed(model={"source": "file", "name": "x"}), "'digest'"),
        (changed(model="net.pt"), ""),
        (changed(repair=None), "'repair'"),
        (changed(repair={"steps": [], "samples": "many", "seed": 0}), "'many'"),
        (changed(repair={"steps": [], "samples": 0, "seed": 0}), "0"),
        (changed(repair={"steps": [], "samples": float("inf"), "seed": 0}), "inf"),
        (changed(repair={"steps": [], "samples": 1, "seed": float("inf")}), ""),
        (changed(repair={"steps": 3, "samples": 1, "seed": 0}), ""),
        (changed(repair={"steps": [], "samples": 1, "seed": -1}), "-1"),
    ],
)
def test_what_is_missing_or_wrong_is_named(text, words):
    with pytest.raises(PlanError, match="lacks or misstates") as error:
        Plan.from_json(text)
    assert words in sentence(error)


@pytest.mark.parametrize(
    "repair", [{"steps": ["magic"], "samples": 1, "seed": 0}, {"steps": ["bias", "magic"], "samples": 1, "seed": 0}]
)
def test_a_repair_that_is_not_known_is_refused(repair):
    with pytest.raises(PlanError, match="a repair that is not known") as error:
        Plan.from_json(changed(repair=repair))
    sentence(error)


def test_a_layer_named_twice_is_refused():
    twice = [{"layer": "a", "family": "lowrank", "rank": r} for r in (1, 2)]
    with pytest.raises(PlanError, match="names a layer twice") as error:
        Plan.from_json(changed(layers=twice))
    sentence(error)


def test_with_form_gives_a_new_plan():
    plan = Plan(REF).with_form("fc", LowRank(3))
    again = plan.with_form("fc", LowRank(5)).with_form("conv", Sparse(9))
    assert (plan.form("fc"), again.form("fc"), again.form("conv"), again.form("else")) == (
        LowRank(3),
        LowRank(5),
        Sparse(9),
        Dense(),
    )
    assert len(again.layers) == 2 and again.with_form("conv", Dense()) == Plan(REF).with_form("fc", LowRank(5))
    assert again.repair == plan.repair and again.model == REF


def test_a_plan_for_this_model_passes():
    check_plan(Plan(REF).with_form("fc", LowRank(3)).with_form("conv", SpatialLowRank(12)), REF, VIEWS)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(ModelRef("file", "other.pt", "0"), (LayerPlan("fc9", LowRank(1)),)), "net.pt has no layer 'fc9'"),
        (Plan(REF, tuple(LayerPlan(f"fc{i}", LowRank(1)) for i in range(9))), "'fc0', 'fc1', 'fc2' ...: open"),
        (Plan(ModelRef("file", "other.pt", "0")), "other weights of 'other.pt', not for net.pt"),
        (Plan(REF).with_form("fc", LowRank(11)), "rank 11 is outside 1 to 10"),
        (Plan(REF).with_form("fc", SpatialLowRank(1)), "only a two-dimensional kernel"),
        (Plan(REF).with_form("fc", Sparse(201)), "201 weights is outside 1 to 200"),
        (Plan(REF).with_form("words", LowRank(1)), "looked up"),
        (Plan(REF).with_form("head", LowRank(1)), "shares its weight with fc"),
    ],
)
def test_a_plan_that_does_not_fit_says_what_to_do(plan, words):
    with pytest.raises(PlanError) as error:
        check_plan(plan, REF, VIEWS)
    assert words in sentence(error)


def test_the_dense_cost_by_hand():
    rest = Cost(params=7, macs=11, bytes=13, useful_macs=11)
    macs = 8 * 36 * 25 + 200 + 2 * 200
    params = 8 * 36 + 210 + 300  # the tied head is stored once
    assert plan_cost(Plan(REF), VIEWS, rest) == Cost(params + 7, macs + 11, 4 * params + 13, macs + 11)


def test_the_cost_of_a_plan_by_hand():
    plan = Plan(REF).with_form("conv", LowRank(2)).with_form("fc", Sparse(50))
    macs = 2 * (36 + 8) * 25 + 200 + 400
    useful = 2 * (36 + 8) * 25 + 50 + 400
    params = 2 * (36 + 8) + (50 + 10) + 300
    assert plan_cost(plan, VIEWS) == Cost(params, macs, 4 * params + 200 // 8, useful)


def test_plans_are_values():
    a, b = (Plan(REF).with_form("fc", LowRank(3)) for _ in range(2))
    assert a == b and hash(a) == hash(b)
    with pytest.raises(AttributeError):
        a.layers = ()
