"""Linked selection: what is ticked or clicked on Spectra is so everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]


def tick(here: Visitor, row: int) -> None:
    """Tick a row of the layer table, which shows the 8 layers of the demo and nothing else."""
    table = here.page.locator("[data-testid=stDataFrame]").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    here.page.mouse.click(box["x"] + 16, box["y"] + 35 + (box["height"] - 38) / 8 * (row + 0.5))
    here.rest()


def ends(here: Visitor) -> str:
    """Labels in the spectrum figure."""
    return str(here.page.locator(".stPlotlyChart").first.text_content())


def test_ticks_colour_lines_and_follow_from_page_to_page(visit: Visit) -> None:
    here = visit("spectra")
    here.page.wait_for_selector(".stPlotlyChart .main-svg")
    here.sees("Grey are all layers")
    tick(here, 1)
    tick(here, 6)
    here.until(lambda: here.asks("layers") == "layer1.0.conv1,layer3.0.conv2", "the ticks are not in the address")
    here.until(lambda: "layer1.0.conv1" in ends(here) and "layer3.0.conv2" in ends(here), "the lines have no names")
    assert here.asks("layer") == "layer3.0.conv2"
    here.go("Tune")
    assert here.line().startswith("layer3.0.conv2:")
    here.page.mouse.click(*here.at(1, -0.16))
    here.until(lambda: here.asks("layer") == "layer1.0.conv1", "the layer was not picked")
    here.go("Spectra")
    here.page.wait_for_selector(".stPlotlyChart .main-svg")
    assert here.asks("layers") == "layer1.0.conv1,layer3.0.conv2" and here.asks("layer") == "layer1.0.conv1"
    here.until(lambda: "layer3.0.conv2" in ends(here), "the lines were lost")
    here.page.keyboard.press("j")
    here.until(lambda: here.asks("layer") == "layer3.0.conv2", "j did not move among the ticked")
    assert here.errors == []


def test_a_click_on_a_line_ticks_its_row(visit: Visit) -> None:
    here = visit("spectra")
    points = here.page.locator(".stPlotlyChart .scatterlayer .points path")
    points.first.wait_for(state="attached")
    box = points.nth(points.count() // 2).bounding_box()
    here.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    here.until(lambda: here.asks("layers") != "", "a click on a line did nothing")
    name = here.asks("layers")
    here.until(lambda: here.asks("layer") == name, "the layer in hand is another one")
    here.until(lambda: name in ends(here), "the line has no name")


def test_a_click_on_the_strip_takes_the_layer_in_hand(visit: Visit) -> None:
    here = visit()
    here.page.mouse.click(*here.at(5, 0.2))
    here.until(lambda: here.asks("layer") == "layer3.0.conv1", "the click is not in the address")
    here.go("Tune")
    assert here.line().startswith("layer3.0.conv1:")
