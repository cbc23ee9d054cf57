"""axe on every page and dialog in both themes, names and table twins of plots, narrow windows, and a projector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]


def violations(here: Visitor) -> list[str]:
    """What axe finds, one line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(here.page).response["violations"]
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_and_every_plot_has_a_name_and_a_table(visit: Visit, dark: bool) -> None:
    here = visit("", dark=dark)
    found = {"Overview": violations(here)}
    unnamed: dict[str, Any] = {"Overview": plots(here)}
    here.go("Spectra")
    here.page.wait_for_selector(".stPlotlyChart .main-svg")
    here.page.keyboard.press("j")
    here.rest()
    found["Spectra"], unnamed["Spectra"] = violations(here), plots(here)
    here.go("Tune").drag(6, 1.0, 0.97)
    here.sees("past break-even")
    here.until(lambda: "%" in here.metric("Accuracy"), "the accuracy was not measured")
    for view in ("Before and after", "Layer in hand", "Low rank + sparse", "Edit as a table"):
        here.page.get_by_text(view, exact=True).click()
        here.rest()
        found[view], unnamed[view] = violations(here), plots(here)
    assert here.page.get_by_role("application", name="Layer bars").count() == 1
    here.go("Initialisation")
    here.sees("Layers in factors")
    here.page.wait_for_selector(".stPlotlyChart .main-svg")
    found["Initialisation"], unnamed["Initialisation"] = violations(here.rest(600)), plots(here)
    for key in "osh":
        here.dialog(key)
        found[key] = violations(here)
        here.page.keyboard.press("Escape")
        here.page.get_by_role("dialog").wait_for(state="detached")
    assert {where: one for where, one in found.items() if one} == {}
    assert {where: one for where, one in unnamed.items() if one} == {}
    assert here.errors == []


def plots(here: Visitor) -> list[str]:
    """Plotly figures without a name of several words or without "Show as table" right below them."""
    script = """() => [...document.querySelectorAll('.stPlotlyChart')].map((plot) => {
      const named = plot.closest('[aria-label]') || plot.querySelector('[role=img][aria-label]');
      const next = plot.closest('[data-testid=stElementContainer]').nextElementSibling;
      return [named?.getAttribute('aria-label') || '', next?.innerText || ''];
    })"""
    pairs = here.page.evaluate(script)
    return [f"{name!r} then {next!r}" for name, next in pairs if len(name.split()) < 4 or "Show as table" not in next]


def test_the_table_twin_holds_the_numbers_of_the_plot(visit: Visit) -> None:
    here = visit("tune")
    here.drag(6, 1.0, 0.5)
    here.page.get_by_text("Show as table").first.click()
    table = here.page.locator("[data-testid=stExpander] [data-testid=stDataFrame]").first
    table.wait_for()
    here.rest()
    cells = table.locator("td").all_inner_texts()
    assert "58618" in [cell.replace(",", "") for cell in cells], cells


@pytest.mark.parametrize("where", ["", "spectra", "tune", "initialisation"])
def test_a_narrow_window_never_scrolls_sideways(visit: Visit, where: str) -> None:
    here = visit(where, width=390, height=844)
    here.page.wait_for_selector(
        ".stPlotlyChart .main-svg" if where in ("spectra", "initialisation") else ".rb[data-bars]"
    )
    here.rest()
    assert here.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
    assert here.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_projector_shows_overview_and_tune_without_scrolling(visit: Visit) -> None:
    """1280 x 720 pixels at 150 % are 853 x 480 of the page's."""
    here = visit("?teach=true", width=853, height=480, device_scale_factor=1.5)
    assert bottom(here, ".rb canvas") <= 480
    here.go("Tune")
    assert here.asks("teach") == "true", "teaching mode lasts"
    here.drag(6, 1.0, 0.5)
    assert bottom(here, ".rb canvas") <= 480 and bottom(here, "[data-testid=stMetric]") <= 480
    assert here.page.evaluate("document.documentElement.scrollWidth") <= 853
    small = here.page.evaluate(
        """() => {
          const words = document.createTreeWalker(document.querySelector('[data-testid=stMain]'), NodeFilter.SHOW_TEXT);
          let least = 99;
          while (words.nextNode()) {
            const box = words.currentNode.parentElement;
            const size = parseFloat(getComputedStyle(box).fontSize);
            if (words.currentNode.data.trim() && box.checkVisibility()) least = Math.min(least, size);
          }
          return least;
        }"""
    )
    assert 1.5 * small >= 16, "pixels of the smallest text on the projector"


def bottom(here: Visitor, selector: str) -> float:
    """Where the lowest of these ends, in the window's pixels."""
    boxes = [one.bounding_box() for one in here.page.locator(selector).all()]
    return max(box["y"] + box["height"] for box in boxes)
