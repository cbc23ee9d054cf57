"""What is seen travels with the address, and the Spectra page fits wide and narrow windows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]

SPECTRA = "spectra?model=digits-resnet&layers=layer3.0.conv2&layer=layer3.0.conv2"


def pick(here: Visitor, label: str, option: str) -> None:
    """Choose an option of a select box."""
    here.page.get_by_role("combobox", name=label).click()
    here.page.get_by_role("option", name=option).click()
    here.rest()


def title(here: Visitor) -> str:
    """The value axis of the first figure."""
    return str(here.page.locator(".stPlotlyChart").first.locator(".g-ytitle").text_content())


def test_what_is_seen_survives_page_switches_and_opens_elsewhere(visit: Visit) -> None:
    here = visit(SPECTRA)
    here.page.get_by_role("radio", name="Error").click()
    here.until(lambda: here.asks("show") == "error", "the quantity is not in the address")
    pick(here, "Matrix", "whitened")
    here.until(lambda: title(here) == "relative error of the outputs", "the axis does not follow the matrix")
    here.page.get_by_placeholder("part of a name").fill("conv2")
    here.until(lambda: here.asks("find") == "conv2", "the search is not in the address")
    here.page.get_by_role("tab", name="Ledger").click()
    here.until(lambda: here.asks("tab") == "ledger", "the tab is not in the address")
    here.go("Tune")
    here.page.get_by_role("radio", name="Edit as a table").click()
    here.until(lambda: here.asks("below") == "table", "what Tune shows is not in the address")
    here.go("Overview").go("Spectra")
    wanted = {"show": "error", "matrix": "whitened", "find": "conv2", "tab": "ledger", "below": "table"}
    for one in (here, visit(here.link())):
        one.until(lambda one=one: title(one) == "relative error of the outputs", "another figure is drawn")
        assert {name: one.asks(name) for name in wanted} == wanted
        assert one.page.get_by_role("tab", name="Ledger").get_attribute("aria-selected") == "true"
        assert one.page.get_by_placeholder("part of a name").input_value() == "conv2"
        one.go("Tune")
        one.page.locator("[data-testid=stDataFrame]").first.wait_for()
        assert one.asks("show") == "error" and one.errors == []


def test_hostile_words_of_the_address_do_nothing(visit: Visit) -> None:
    text = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%F0%9F%90%8D%00%ED%A0%80"
    names = ("show", "matrix", "versus", "twin", "kinds", "x", "k", "over", "find")
    query = "&".join(f"{name}={text}" for name in names)
    here = visit(f"{SPECTRA}&{query}&tab={'9' * 3000}&below={text}")
    here.page.wait_for_selector(".stPlotlyChart .main-svg")
    assert title(here).startswith("singular value")
    assert {here.asks(name) for name in (*names[:-1], "tab", "below")} == {""}
    assert not here.page.locator("[data-testid=stException]").count() and here.errors == []


def box(here: Visitor, selector: str) -> dict[str, float]:
    here.page.locator(selector).first.wait_for()
    return dict(here.page.locator(selector).first.bounding_box())


@pytest.mark.parametrize("dark", [False, True])
def test_a_wide_window_has_no_void_beside_the_plot(visit: Visit, dark: bool) -> None:
    here = visit(SPECTRA, width=1440, height=900, dark=dark)
    here.page.wait_for_selector(".stPlotlyChart .main-svg")
    left, right = (box(here, f".st-key-{key}") for key in ("spectra-axes", "spectra-k"))
    table = box(here, "[data-testid=stDataFrame]")
    assert right["x"] > left["x"] and table["width"] >= 620, "seven columns fit"
    ends = [left["y"] + left["height"], table["y"] + table["height"]]
    assert abs(ends[0] - ends[1]) < 60, f"the columns end at {ends}"


def test_a_narrow_window_has_one_low_line_for_each_rule(visit: Visit) -> None:
    here = visit(SPECTRA, width=420, height=900)
    here.page.wait_for_selector(".stPlotlyChart .main-svg")
    rules = box(here, ".st-key-spectra-rule-rows")
    buttons = here.page.locator(".st-key-spectra-rule-rows button[kind=secondary]:visible")
    boxes = [buttons.nth(i).bounding_box() for i in range(buttons.count())]
    assert len(boxes) == 12 and rules["height"] < 650
    assert all(24 <= b["height"] <= 40 and b["width"] < 120 and b["x"] > 210 for b in boxes), "beside the words"
    assert all(b["y"] - a["y"] >= 30 for a, b in pairwise(boxes)), "they do not touch"
    tall = here.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    wide = here.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
    assert tall < 3100 and wide <= 420
