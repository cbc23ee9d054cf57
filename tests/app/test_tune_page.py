"""The Tune page without a browser: bars, numbers and controls, on the three layers of `test_tuning` and on a demo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import links
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.networks.costs import Cost
from core.networks.forms import LowRank
from tests.app import pages
from tests.app.test_tuning import NET, ONE, TWO, plan_of, stuck
from tests.surveys import linear_layer
from tests.surveys import survey as made_of

NBSP = "\u00a0"
Open = Callable[..., AppTest]


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    """open_page(survey, plan, **query) -> the page on that survey and plan."""
    return partial(pages.opened, monkeypatch, "tune")


def kept(page: AppTest) -> dict[str, float]:
    """What the first three numbers say, in per cent."""
    found = list(pages.metrics(page).items())[:3]
    return {label: float(value.removesuffix(f"{NBSP}%")) for label, (value, _) in found}


def bar(page: AppTest, name: str) -> dict[str, Any]:
    return next(layer for layer in pages.data(page, "bars")["layers"] if layer["name"] == name)


def test_a_model_opens_dense_with_its_bars_four_numbers_and_nothing_to_undo(open_page: Open) -> None:
    page = open_page(NET)
    data = pages.data(page, "bars")
    assert [(layer["name"], layer["family"]) for layer in data["layers"]] == [("fc1", -1), ("fc2", -1), ("fc3", -1)]
    assert (data["mode"], data["quantity"], data["dial"]) == ("rank", "macs", 1.0) and data["other"] == [5, 7, 20]
    assert list(pages.metrics(page)) == ["Parameters kept", "MACs kept", "Energy kept, predicted", "Accuracy, dense"]
    assert set(kept(page).values()) == {100.0} and pages.metrics(page)["Accuracy, dense"] == ("not measured", "")
    assert [pages.button(page, name).disabled for name in ("Undo", "Redo", "Pin")] == [True, True, False]
    named = {"Undo": "u", "Redo": "y", "Pin": "p", "Measure accuracy and latency": "e"}
    assert {name: pages.button(page, name).proto.shortcut for name in named} == named


def test_a_layer_past_break_even_is_counted_as_dense_and_warned_of(open_page: Open) -> None:
    page = open_page(NET, plan_of(fc1=LowRank(2), fc2=LowRank(4), fc3=LowRank(1)))
    assert kept(page)["Parameters kept"] == pytest.approx(100 * 93 / 110, abs=0.05)
    assert kept(page)["MACs kept"] == pytest.approx(100 * 182 / 199, abs=0.05)
    (warning,) = page.warning
    assert warning.value.startswith("1 layer past break-even (fc2)") and "it counts as dense" in warning.value
    pages.send(page, "bars", kind="edit", layer="fc1", family=0, level=3, seq=1)
    assert page.warning[0].value.startswith("2 layers past break-even (fc1, fc2)")
    pages.send(page, "bars", kind="edit", layer="fc1", family=0, level=2, seq=2)
    pages.send(page, "bars", kind="edit", layer="fc2", family=0, level=3, seq=3)
    assert not page.warning and kept(page)["MACs kept"] == pytest.approx(100 * (20 + 126 + 11 + 7) / 199, abs=0.05)


def test_a_drag_changes_the_plan_the_numbers_and_the_address(open_page: Open) -> None:
    page = open_page(NET)
    revision = pages.data(page, "bars")["revision"]
    pages.send(page, "bars", kind="edit", layer="fc2", family=0, level=1, seq=1)
    assert pages.now(page).plan == plan_of(fc2=LowRank(1)) and pages.now(page).primary == "fc2"
    assert kept(page) == {
        "Parameters kept": pytest.approx(100 * (110 - 48 + 14) / 110, abs=0.05),
        "MACs kept": pytest.approx(100 * (199 - 144 + 42) / 199, abs=0.05),
        "Energy kept, predicted": pytest.approx(100 * (25 + 9 + 9) / 53, abs=0.05),
    }
    assert links.decode_plan(page.query_params["cfg"], NET) == plan_of(fc2=LowRank(1))
    assert pages.data(page, "bars")["revision"] == revision, "the browser shows it already"


def test_undo_and_redo_walk_through_the_drags(open_page: Open) -> None:
    page = open_page(NET)
    for seq, level in enumerate((3, 1), 1):
        pages.send(page, "bars", kind="edit", layer="fc2", family=0, level=level, seq=seq)
    seen = []
    for label in ("Undo", "Undo", "Redo", "Redo"):
        pages.press(page, label)
        seen.append((bar(page, "fc2")["family"], bar(page, "fc2")["level"], pages.button(page, "Redo").disabled))
    assert seen == [(0, 3, False), (-1, 1, False), (0, 3, False), (0, 1, True)]


def test_all_dense_can_be_taken_back(open_page: Open) -> None:
    plan = plan_of(fc1=LowRank(1), fc2=LowRank(2))
    page = open_page(NET, plan)
    assert pages.button(page, "Undo").disabled
    pages.press(page, "All dense")
    assert pages.now(page).plan == plan_of() and "cfg" not in page.query_params
    assert pages.now(pages.press(page, "Undo")).plan == plan


def test_costs_are_compared_with_the_pinned_plan(open_page: Open) -> None:
    page = pages.press(open_page(NET, plan_of(fc2=LowRank(3))), "Pin")
    pages.send(page, "bars", kind="edit", layer="fc2", family=0, level=1, seq=1)
    shown = pages.metrics(page)
    assert shown["Parameters kept"][1] == f"{100 * (14 - 42) / 110:+.1f} points against pinned"
    assert shown["MACs kept"][1] == f"{100 * (42 - 126) / 199:+.1f} points against pinned"
    assert links.decode_plan(page.query_params["pin"], NET) == plan_of(fc2=LowRank(3))
    pages.press(page, "Unpin")
    assert pages.metrics(page)["MACs kept"][1] == "" and "pin" not in page.query_params
    assert pages.now(page).plan == plan_of(fc2=LowRank(1))


def test_messages_overtaken_by_the_last_are_acted_on_in_order_and_once(open_page: Open) -> None:
    page = open_page(NET)
    first = {"kind": "edit", "layer": "fc1", "family": 0, "level": 2, "seq": 1}
    second = {"kind": "lock", "layer": "fc1", "locked": True, "seq": 2}
    pages.send(page, "bars", kind="select", layer="fc3", seq=3, earlier=[first, second])
    now = pages.now(page)
    assert (now.plan, now.locked, now.primary) == (plan_of(fc1=LowRank(2)), ("fc1",), "fc3")
    pages.press(page, "Undo")
    pages.send(page, "bars", kind="select", layer="fc2", seq=4, earlier=[first, second])
    assert pages.now(page).plan == plan_of() and pages.now(page).primary == "fc2"


def test_who_teaches_gets_the_bars_first_larger_and_numbers_without_frames(open_page: Open) -> None:
    plain, taught = open_page(NET), open_page(NET, teach="true")

    def first(page: AppTest) -> str:
        return next(kind for kind in pages.kinds(page) if kind in ("bidi_component", "button_group"))

    assert (first(plain), first(taught)) == ("button_group", "bidi_component")
    small, large = pages.data(plain, "bars"), pages.data(taught, "bars")
    assert large["scale"] > small["scale"] == 1.0 and large["height"] < small["height"]
    assert [{metric.proto.show_border for metric in page.metric} for page in (plain, taught)] == [{True}, {False}]


def test_weights_alone_have_no_macs_and_no_accuracy_and_say_why(open_page: Open) -> None:
    layers = [replace(layer, view=replace(layer.view, positions=0)) for layer in NET.layers]
    alone = replace(made_of(layers, Cost(5, 0, 20, 0)), reason="its <b>architecture</b> was not recognised")
    page = open_page(alone, plan_of(fc2=LowRank(1)))
    shown = pages.metrics(page)
    assert (shown["MACs kept"][0], shown["Accuracy"][0]) == ("unknown", "cannot be run")
    share = float(shown["Parameters kept"][0].removesuffix(f"{NBSP}%"))
    assert share == pytest.approx(100 * 76 / 110, abs=0.05)
    assert page.metric[3].help.replace("\\", "") == alone.reason and r"\<b\>" in page.metric[3].help
    assert pages.data(page, "bars")["quantity"] == "params"
    assert "Weights only: errors are of weights" in pages.words(page)
    labels = {button.label for button in page.button}
    assert labels.isdisjoint({"Measure accuracy and latency", "Calibrate"})
    assert any("need a network that can be run" in info.value for info in page.info)


def test_a_model_without_a_layer_to_factorise_says_where_to_look(open_page: Open) -> None:
    page = open_page(made_of([stuck(ONE), stuck(TWO)]))
    assert any("No layer of this model can be factorised" in info.value for info in page.info)
    assert not page.metric and not page.get("bidi_component")


def test_an_uncalibrated_network_offers_to_look_at_inputs(open_page: Open, bench: Any, mlp: Survey) -> None:
    assert "Calibrate" not in {button.label for button in open_page(mlp).button}
    page = pages.press(open_page(replace(mlp, calibration="")), "Calibrate")
    (job,) = bench.asked
    assert (job.request["do"], job.request["model"], job.request["data"]) == ("calibrate", "digits-mlp", "digits")
    assert "Calibrating" in page.get("progress")[0].proto.text
    assert "Calibrate" not in {button.label for button in page.button}


def test_a_link_brings_ranks_locks_and_the_pinned_plan(open_page: Open) -> None:
    plan, pin = plan_of(fc1=LowRank(2), fc3=LowRank(1)), plan_of(fc2=LowRank(3))
    page = open_page(NET, plan, pin=links.encode_plan(pin), lock="fc3", layer="fc3")
    now = pages.now(page)
    assert (now.plan, now.pinned, now.locked, now.primary) == (plan, pin, ("fc3",), "fc3")
    assert [(bar(page, f"fc{i}")["family"], bar(page, f"fc{i}")["level"]) for i in (1, 2, 3)] == [
        (0, 2),
        (-1, 1),
        (0, 1),
    ]
    assert links.decode_plan(page.query_params["cfg"], NET) == plan
    assert not page.warning


def test_a_damaged_link_opens_the_model_as_it_is_and_says_so(open_page: Open) -> None:
    text = links.encode_plan(plan_of(fc1=LowRank(2)))
    page = open_page(NET, cfg=text[:-2] + ("AA" if not text.endswith("AA") else "BB"))
    assert pages.now(page).plan == plan_of()
    assert ["damaged" in notice.value for notice in page.warning] == [True]


def test_a_link_of_another_model_keeps_known_layers_and_lists_the_others(open_page: Open) -> None:
    page = open_page(NET, layers="fc2,conv9", lock="conv8,fc1", layer="conv9")
    now = pages.now(page)
    assert (now.selected, now.locked, now.primary) == (("fc2",), ("fc1",), "fc2")
    (notice,) = page.warning
    assert notice.value.replace("\\", "").endswith("does not have: conv9, conv8.")
    assert [layer["locked"] for layer in pages.data(page, "bars")["layers"]] == [True, False, False]


def test_names_from_a_file_stay_text_in_the_warning(open_page: Open) -> None:
    name = "<img src=x onerror=alert(1)>"
    net = made_of([linear_layer(name, 6, 4, (2.0, 1.0, 1.0, 0.5))])
    page = open_page(net, Plan(net.model).with_form(name, LowRank(4)))
    assert r"\<img" in page.warning[0].value and bar(page, name)["label"] == name
