"""The panels under the bars, without a browser: the layer in hand, costs before and after."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.networks.forms import LowRank
from tests.app import pages
from tests.app.test_tuning import NET, ONE, TWO, plan_of, stuck
from tests.surveys import linear_layer, survey

Open = Callable[..., AppTest]


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    """open_page(survey, plan, **query) -> the page on that survey and plan."""
    return partial(pages.opened, monkeypatch, "tune")


@pytest.fixture
def in_hand(open_page: Open) -> Open:
    """in_hand(survey, plan, **query) -> the page on that survey and plan, with the panel of the layer in hand."""

    def make(*args: Any, **query: str) -> AppTest:
        page = open_page(*args, **query)
        page.button_group(key="tune-below").set_value("Layer in hand").run()
        return pages.sound(page)

    return make


def test_the_layer_in_hand_has_its_error_curves_and_rank_rules(in_hand: Open) -> None:
    page = in_hand(NET, plan_of(fc2=LowRank(2)), layer="fc2")
    charts = {chart.key: chart.proto for chart in page.get("plotly_chart")}
    assert set(charts) == {"figure-made by hand-fc2-errors"} and charts["figure-made by hand-fc2-errors"].alt
    (rules,) = [box for box in page.selectbox if box.label == "Rule"]
    said = [(int(option.split(": rank ")[1].split()[0]), "costs more" in option) for option in rules.options]
    assert {dearer for _, dearer in said} == {True, False} and all(dearer == (14 * rank > 48) for rank, dearer in said)
    assert "**fc2**, 8 × 6" in pages.words(page)


def test_a_rank_rule_can_be_used(in_hand: Open) -> None:
    net = survey([linear_layer("fc", 20, 20, [1.0] * 4 + [1e-9] * 16), TWO])
    page = in_hand(net, layer="fc")
    (rules,) = [box for box in page.selectbox if box.label == "Rule"]
    planted = next(option for option in rules.options if option.endswith(": rank 4"))
    rules.select(planted).run()
    pages.press(page, "Use this rank")
    assert pages.now(page).plan == plan_of(fc=LowRank(4))
    assert pages.now(pages.press(page, "Undo")).plan == plan_of()


def test_the_form_of_the_layer_in_hand_goes_to_similar_layers(in_hand: Open) -> None:
    twins = [linear_layer(name, 8, 6, (1.0,) * 6) for name in ("a", "b", "c")]
    net = survey([*twins, stuck(linear_layer("d", 8, 6, (1.0,) * 6)), ONE])
    page = in_hand(net, plan_of(b=LowRank(2)), layer="b")
    same = page.button(key="same-form")
    assert same.label == "Same form for 2 similar layers" and not same.disabled
    same.click().run()
    assert pages.now(pages.sound(page)).plan == plan_of(a=LowRank(2), b=LowRank(2), c=LowRank(2))
    assert pages.now(pages.press(page, "Undo")).plan == plan_of(b=LowRank(2))
    assert "Same form" not in str([button.label for button in in_hand(NET, layer="fc1").button])


def test_a_layer_in_hand_that_stays_dense_says_why(in_hand: Open) -> None:
    page = in_hand(survey([ONE, stuck(TWO, "it is tied")]), layer="fc2")
    assert [info.value for info in page.info] == ["fc2 stays dense: it is tied."]
    assert not page.get("plotly_chart")


def test_costs_before_and_after_are_those_of_the_hand_computation(open_page: Open) -> None:
    page = open_page(NET, plan_of(fc1=LowRank(2), fc2=LowRank(4), fc3=LowRank(1)))
    (chart,) = page.get("plotly_chart")
    before, after = json.loads(chart.proto.spec)["data"][:2]
    assert before["x"] == [100, 100, 100]
    assert after["x"] == pytest.approx([100 * 93 / 110, 100 * 182 / 199, 100 * 372 / 440])


def test_weights_alone_have_no_repair_to_show_and_say_why(open_page: Open) -> None:
    page = open_page(replace(NET, reason="it was not recognised"), plan_of(fc2=LowRank(2)))
    said = [info.value.replace("\\", "") for info in page.info]
    assert said == ["Accuracy and latency need a network that can be run: it was not recognised."]
