"""Ranks and locks typed into the table of the Tune page, without a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.networks.forms import LowRank, Sparse
from tests.app import pages
from tests.app.test_tuning import NET, ONE, THREE, TWO, plan_of, stuck, with_masks
from tests.surveys import survey

Open = Callable[..., AppTest]


@pytest.fixture
def open_table(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    """open_table(survey, plan, **query) -> the page on that survey and plan, with the table below."""

    def make(*args: Any, **query: str) -> AppTest:
        page = pages.opened(monkeypatch, "tune", *args, **query)
        page.button_group(key="tune-below").set_value("Edit as a table").run()
        return pages.sound(page)

    return make


def edit(page: AppTest, row: int, **change: Any) -> AppTest:
    """Types into cells of a row; as a browser does, tells all that was typed since this table was made."""
    (editor,) = page.data_editor
    before = {int(i): cells for i, cells in page.session_state[editor.key]["edited_rows"].items()}
    edits = {"edited_rows": before | {row: before.get(row, {}) | change}, "added_rows": [], "deleted_rows": []}
    states = page._tree.get_widget_states()
    states.widgets.add(id=editor.proto.id, string_value=json.dumps(edits))
    page._run(states)
    return pages.sound(page)


def rows(page: AppTest) -> list[dict[str, Any]]:
    return page.data_editor[0].value.to_dict("records")


def test_the_editor_lists_every_layer_with_its_form(open_table: Open) -> None:
    page = open_table(survey([ONE, TWO, stuck(THREE, "it is tied")]), plan_of(fc2=LowRank(2)))
    first, second, third = rows(page)
    assert [row["layer"] for row in (first, second, third)] == ["fc1", "fc2", "fc3"]
    assert (second["form"], second["level"], second["of"], second["break-even"]) == ("low-rank (two factors)", 2, 6, 3)
    assert second["MACs kept"] == pytest.approx(84 / 144) and first["form"] == third["form"] == "dense"
    assert third["why not"] == "it is tied"


def test_a_typed_level_gives_a_dense_layer_its_first_form_and_reaches_the_bars(open_table: Open) -> None:
    page = open_table(NET)
    revision = pages.data(page, "bars")["revision"]
    edit(page, 1, level=2)
    assert pages.now(page).plan == plan_of(fc2=LowRank(2)) and rows(page)[1]["level"] == 2
    data = pages.data(page, "bars")
    assert (data["layers"][1]["family"], data["layers"][1]["level"]) == (0, 2) and data["revision"] > revision
    edit(page, 0, level=1)
    assert pages.now(page).plan == plan_of(fc1=LowRank(1), fc2=LowRank(2)), "the second edit keeps the first"
    assert pages.now(pages.press(page, "Undo")).plan == plan_of(fc2=LowRank(2))


def test_a_cleared_level_makes_a_layer_dense(open_table: Open) -> None:
    page = open_table(NET, plan_of(fc1=LowRank(1), fc2=LowRank(2)))
    assert pages.now(edit(page, 1, level=None)).plan == plan_of(fc1=LowRank(1))


def test_a_level_beyond_the_largest_is_the_largest(open_table: Open) -> None:
    page = open_table(NET)
    assert pages.now(edit(page, 2, level=99)).plan == plan_of(fc3=LowRank(3))


def test_a_typed_level_keeps_the_form_a_layer_has(open_table: Open) -> None:
    page = open_table(survey([with_masks(ONE), TWO]), plan_of(fc1=Sparse(6)))
    assert pages.now(edit(page, 0, level=50)).plan == plan_of(fc1=Sparse(12))


def test_a_lock_can_be_ticked_and_unticked(open_table: Open) -> None:
    page = open_table(NET, plan_of(fc2=LowRank(2)), lock="fc1")
    edit(page, 1, locked=True)
    assert pages.now(page).locked == ("fc1", "fc2") and pages.data(page, "bars")["layers"][1]["locked"]
    edit(page, 0, locked=False)
    assert pages.now(page).locked == ("fc2",) and pages.now(page).plan == plan_of(fc2=LowRank(2))


def test_a_layer_that_stays_dense_refuses_with_its_reason(open_table: Open) -> None:
    page = open_table(survey([ONE, TWO, stuck(THREE, "it is <b>tied</b>")]))
    edit(page, 2, level=1)
    assert pages.now(page).plan == plan_of()
    (info,) = page.info
    assert info.value.replace("\\", "") == "fc3 stays dense: it is <b>tied</b>." and r"\<b\>" in info.value
    assert not edit(page, 0, level=1).info
