"""Removing rows on the Tune page, without a browser: the toggle, undo, links, and counted numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import links, tune_removal
from core import journeys
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.networks.costs import Cost
from core.networks.forms import Filters, LowRank
from tests.app import pages
from tests.app.test_tune_measured import answer

Open = Callable[..., AppTest]
LABEL = "Remove masked rows for real"


@pytest.fixture(scope="module")
def mlp() -> Survey:
    return journeys.demo_survey("digits-mlp")


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    return partial(pages.opened, monkeypatch, "tune")


def rows(survey: Survey, **more: Any) -> Plan:
    return replace(Plan(survey.model).with_form("fc2", Filters(60)), **more)


def toggles(page: AppTest) -> dict[str, Any]:
    return {toggle.label: toggle for toggle in page.toggle}


def test_it_is_offered_only_where_rows_are_masked(open_page: Open, mlp: Survey) -> None:
    assert LABEL not in toggles(open_page(mlp, Plan(mlp.model).with_form("fc2", LowRank(9))))
    page = open_page(mlp, rows(mlp))
    assert not toggles(page)[LABEL].value and not toggles(page)[LABEL].disabled
    assert "same rows must go" in toggles(page)[LABEL].help


def test_the_choice_is_part_of_the_plan_and_is_undone(open_page: Open, mlp: Survey) -> None:
    page = open_page(mlp, rows(mlp))
    toggles(page)[LABEL].set_value(True).run()
    assert pages.sound(page) and pages.now(page).plan == rows(mlp, remove=True)
    pages.press(page, "Undo")
    assert pages.now(page).plan == rows(mlp) and not toggles(page)[LABEL].value
    pages.press(page, "Redo")
    assert pages.now(page).plan == rows(mlp, remove=True) and toggles(page)[LABEL].value


def test_the_dial_and_the_solver_keep_the_choice(open_page: Open, mlp: Survey) -> None:
    page = open_page(mlp, rows(mlp, remove=True), mode="sparsity")
    pages.dial(page, keep=0.5, seq=1)
    dialled = pages.now(page).plan
    pages.press(page, "Choose ranks")
    solved = pages.now(page).plan
    assert dialled.remove and solved.remove and dialled != rows(mlp, remove=True) != solved


def test_counted_numbers_stand_where_predicted_ones_did(open_page: Open, bench: Any, mlp: Survey) -> None:
    page = open_page(mlp, rows(mlp, remove=True))
    assert "MACs kept" in pages.metrics(page) and "MACs kept, counted" not in pages.metrics(page)
    cost = Cost(mlp.dense.params // 4, mlp.dense.macs // 5, mlp.dense.bytes // 4, mlp.dense.macs // 5)
    notes = ["fc3: its rows stay masked, because its rows are the network's outputs."]
    bench.end({**answer(0.9), "cost": asdict(cost), "notes": notes})
    pages.run(page)
    found = pages.metrics(page)
    assert found["MACs kept, counted"][0].startswith("20") and found["Parameters kept, counted"][0].startswith("25")
    assert "counted on the smaller network" in pages.words(page) and notes[0] in pages.words(page)


def test_without_the_package_it_is_off_and_says_why(
    monkeypatch: pytest.MonkeyPatch, open_page: Open, mlp: Survey
) -> None:
    monkeypatch.setattr(tune_removal, "missing", lambda: "It needs a package; run: pip install torch-pruning")
    page = open_page(mlp, rows(mlp))
    assert toggles(page)[LABEL].disabled and any(
        "pip install torch-pruning" in words.value.replace("\\", "") for words in page.markdown
    )
    page = open_page(mlp, rows(mlp, remove=True))
    toggles(page)[LABEL].set_value(False).run()
    assert pages.now(page).plan == rows(mlp)


def test_a_link_keeps_the_choice_and_older_links_have_none(mlp: Survey) -> None:
    for plan in (rows(mlp), rows(mlp, remove=True)):
        assert links.decode_plan(links.encode_plan(plan), mlp) == plan
    older = "AwNmr3ja42dgYH7BAAWmMuwpbEDaBgAXiQH5"
    assert links.encode_plan(rows(mlp)) == older
