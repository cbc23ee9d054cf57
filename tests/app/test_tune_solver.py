"""The dial, locks, the budget solver and masks on the Tune page, without a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import services
from core.compression.plans import Plan, Repair
from core.compression.survey import Survey
from core.networks.forms import Dense, LowRank
from tests.app import pages
from tests.app.test_tuning import NET, ONE, THREE, TWO, plan_of, with_masks
from tests.surveys import survey as made_of

NBSP = "\u00a0"
Open = Callable[..., AppTest]
MASKED = made_of([with_masks(layer) for layer in (ONE, TWO, THREE)])


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    """open_page(survey, plan, **query) -> the page on that survey and plan."""
    return partial(pages.opened, monkeypatch, "tune")


def solve(page: AppTest, keep: int = 50, multiple: int = 1, floor: int = 0) -> AppTest:
    """Asks the budget solver."""
    by_label = {slider.label: slider for slider in page.slider}
    by_label["Keep"].set_value(keep)
    by_label["Least share of every layer"].set_value(floor)
    next(box for box in page.selectbox if box.label == "Ranks are multiples of").set_value(multiple)
    return pages.press(page, "Choose ranks")


def bar(page: AppTest, name: str) -> dict[str, Any]:
    return next(layer for layer in pages.data(page, "bars")["layers"] if layer["name"] == name)


def kept(page: AppTest) -> dict[str, float]:
    """Parameters and MACs kept, in per cent."""
    found = list(pages.metrics(page).items())[:2]
    return {label: float(value.removesuffix(f"{NBSP}%")) for label, (value, _) in found}


def test_a_lock_is_kept_and_neither_dial_nor_solver_touch_its_layer(open_page: Open) -> None:
    page = open_page(NET, plan_of(fc2=LowRank(5)))
    pages.send(page, "bars", kind="lock", layer="fc2", locked=True, seq=1)
    assert pages.now(page).locked == ("fc2",) and page.query_params["lock"] == "fc2" and bar(page, "fc2")["locked"]
    pages.dial(page, keep=0.05, seq=2)
    assert pages.now(page).plan == plan_of(fc1=LowRank(1), fc2=LowRank(5), fc3=LowRank(1))
    solve(page, 100)
    assert pages.now(page).plan.form("fc2") == LowRank(5)
    pages.send(page, "bars", kind="lock", layer="fc2", locked=False, seq=3)
    assert pages.now(page).locked == () and "lock" not in page.query_params
    pages.dial(page, keep=1.0, seq=4)
    assert pages.now(page).plan == plan_of()


def test_a_dial_that_overtakes_the_answer_to_a_lock_walks_along_the_path_with_the_lock(open_page: Open) -> None:
    """Both messages in one run, as when Python is slow: the plan is the one that two runs would have made."""
    apart, at_once = (open_page(NET, plan_of(fc2=LowRank(5))) for _ in range(2))
    lock = {"kind": "lock", "layer": "fc2", "locked": True, "seq": 1}
    pages.send(apart, "bars", **lock)
    for keep in (0.35, 0.5, 0.7):
        pages.dial(apart, keep=keep, seq=round(100 * keep))
        pages.dial(at_once, keep=keep, seq=round(100 * keep), earlier=[lock])
        assert pages.now(at_once).plan == pages.now(apart).plan != plan_of()
        assert pages.data(at_once, "bars")["revision"] > pages.data(apart, "bars")["revision"], "the bars are told"
        pages.send(at_once, "bars", kind="lock", layer="fc2", locked=False, seq=round(100 * keep) + 1)
        lock["seq"] = round(100 * keep) + 2


def test_the_dial_takes_the_nearest_stop_and_is_one_step_to_undo(open_page: Open) -> None:
    page = open_page(NET)
    pages.dial(page, keep=0.5049, seq=1)
    assert pages.now(page).dial == 0.5 and 0 < kept(page)["MACs kept"] <= 50
    assert pages.data(page, "bars")["dial"] == 0.5
    assert pages.now(pages.press(page, "Undo")).plan == plan_of()


def test_neither_solver_nor_all_dense_changes_the_repair_of_a_plan(open_page: Open, mlp: Survey) -> None:
    repair = Repair((), 77, 5)
    page = solve(open_page(mlp, Plan(mlp.model, (), repair)), 40)
    assert pages.now(page).plan.layers and pages.now(page).plan.repair == repair
    pages.press(page, "All dense")
    assert pages.now(page).plan == Plan(mlp.model, (), repair)


def test_stops_of_the_dial_are_kept_apart_for_layers_in_another_order() -> None:
    here, there = NET, replace(NET, layers=NET.layers[::-1])
    names = [services.dial_name(survey, plan_of(), "rank", ()) for survey in (here, there, replace(NET, arch="MLP"))]
    assert len(set(names)) == 3


def test_the_solver_stays_within_its_budget_and_can_be_undone(open_page: Open, mlp: Survey) -> None:
    page = solve(open_page(mlp, locked="fc3"), 40)
    assert 35 < kept(page)["MACs kept"] <= 40 and pages.now(page).dial == 0.4
    assert not page.warning
    assert pages.now(pages.press(page, "Undo")).plan == Plan(mlp.model)


def test_the_solver_follows_multiples_and_floors(open_page: Open, mlp: Survey) -> None:
    page = solve(open_page(mlp), 40, multiple=8)
    ranks = [entry.form.rank for entry in pages.now(page).plan.layers]
    assert ranks and all(rank % 8 == 0 for rank in ranks)
    page = solve(open_page(mlp), 60, floor=50)
    least = {"fc1": 64 * 192, "fc2": 192 * 192, "fc3": 10 * 192}
    for layer in mlp.layers:
        form = pages.now(page).plan.form(layer.view.name)
        macs = least[layer.view.name] if isinstance(form, Dense) else form.rank * (layer.view.m + layer.view.n)
        assert macs >= least[layer.view.name] / 2


def test_a_budget_that_cannot_be_met_says_what_to_do(open_page: Open) -> None:
    page = solve(open_page(NET), 5)
    (notice,) = page.warning
    assert "below the floor" in notice.value and "raise the budget" in notice.value
    assert pages.now(page).plan == plan_of(fc1=LowRank(1), fc2=LowRank(1), fc3=LowRank(1)), "the least there is"


def test_masks_are_counted_in_what_they_save(open_page: Open) -> None:
    page = open_page(MASKED)
    assert page.button_group(key="tune-quantity").options == ["MACs", "parameters", "bytes"]
    page.button_group(key="tune-mode").set_value("sparsity").run()
    data = pages.data(pages.sound(page), "bars")
    assert (data["mode"], data["quantity"]) == ("sparsity", "params") and page.query_params["mode"] == "sparsity"
    assert [family["id"] for family in data["layers"][0]["families"]] == ["sparse", "sparse24", "filters"]
    assert page.button_group(key="tune-quantity").options == ["parameters", "bytes"]
    assert "never MACs" in pages.words(page)
    pages.send(page, "bars", kind="edit", layer="fc2", family=0, level=25, seq=1)
    assert kept(page)["MACs kept"] == 100.0
    assert kept(page)["Parameters kept"] == pytest.approx(100 * (110 - 36) / 110, abs=0.05)
    families = {entry.form.family for entry in pages.now(solve(page)).plan.layers}
    assert families and families <= {"sparse", "sparse24", "filters"} and kept(page)["Parameters kept"] <= 50


def test_the_quantity_is_that_of_bars_dial_and_solver(open_page: Open) -> None:
    page = open_page(NET)
    before = pages.data(page, "bars")
    page.button_group(key="tune-quantity").set_value("bytes").run()
    data = pages.data(pages.sound(page), "bars")
    assert data["quantity"] == "bytes" and page.query_params["by"] == "bytes"
    assert data["path"] != before["path"] and data["revision"] > before["revision"]
    assert "Of the bytes." in pages.words(page)
