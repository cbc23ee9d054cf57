"""The explorer's main journey in a real browser: open, pick, drag, see, measure, export, share."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]
LAYER, NAME, FULL = 6, "layer3.0.conv2", 64
"""A bar of the demo network, and the largest rank of its layer."""


def test_open_pick_drag_measure_export_and_share(visit: Visit, tmp_path: Path) -> None:
    here = visit()
    assert "compressible layers keep" in here.body()
    here.go("Tune")
    here.page.mouse.click(*here.at(LAYER, -0.16))
    here.until(lambda: here.asks("layer") == NAME, "the layer picked is not in the address")
    assert here.line().startswith(f"{NAME}: dense")
    whole = here.metric("Parameters kept"), here.metric("MACs kept")
    assert whole == ("100.0 %", "100.0 %") and here.metric("Accuracy, dense") == "99.4 %"

    before = here.line(), here.total(), here.sent
    here.grab(here.at(LAYER, 1.0), here.at(LAYER, 0.5))
    assert f"rank {FULL // 2} of {FULL}" in here.line() and "predicted output error" in here.line()
    assert here.line() != before[0] and here.total() != before[1], "cost and error change in the hand"
    assert here.sent == before[2] and here.metric("MACs kept") == "100.0 %", "nothing is sent before the release"
    shown = here.total()
    here.page.mouse.up()
    here.until(lambda: here.metric("MACs kept") != "100.0 %", "Python's numbers did not follow")
    assert here.total() == shown
    assert f"{here.metric('MACs kept')} of MACs, {here.metric('Parameters kept')} of parameters" in shown

    here.until(lambda: "%" in here.metric("Accuracy"), "the accuracy was not measured")
    accuracy = here.metric("Accuracy, measured")
    assert "n = 500" in here.conditions("Accuracy")

    dialog = here.dialog("s")
    dialog.get_by_role("tab", name="Compressed network").click()
    dialog.get_by_role("button", name="Export").click()
    here.sees("largest difference")
    with here.page.expect_download() as download:
        dialog.get_by_role("button", name="Save as a zip").click()
    download.value.save_as(tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        files = {Path(name).name: name for name in bundle.namelist()}
        assert {"model.safetensors", "plan.json", "report.html", "load_model.py"} <= set(files)
        plan = json.loads(bundle.read(files["plan.json"]))
        assert bundle.testzip() is None
    assert NAME in json.dumps(plan) and str(FULL // 2) in json.dumps(plan)

    dialog.get_by_role("tab", name="Link").click()
    link = dialog.locator("code").first.inner_text().strip()
    assert link == here.link()
    there = visit(link)
    there.shows(here)
    there.until(lambda: "%" in there.metric("Accuracy"), "the accuracy was not shown")
    assert there.metric("Accuracy, measured") == accuracy
    assert there.asks("cfg") == here.asks("cfg") != ""
    assert here.errors == there.errors == []


def test_keyboard_alone_reaches_tune_raises_a_rank_measures_pins_and_exports(visit: Visit) -> None:
    here = visit("?cfg=")
    press = here.page.keyboard.press
    for _ in range(12):
        press("Tab")
        if _focused(here) == "Tune":
            break
    assert _focused(here) == "Tune" and _outlined(here)
    press("Enter")
    here.page.wait_for_function("location.pathname.endsWith('/tune')")
    here.rest()
    for _ in range(40):
        press("Tab")
        if _focused(here).startswith("Layer bars"):
            break
    assert _focused(here).startswith("Layer bars")
    for _ in range(4):
        press("ArrowRight")
    press("d")  # out of dense, at the break-even rank
    here.until(lambda: here.asks("cfg") != "", "the edit did not reach Python")
    here.rest()
    assert (here.bars("primary"), here.bars("level")) == ("layer2.0.conv2", "28")
    press("Home")
    press("Shift+ArrowUp")
    press("ArrowUp")
    here.until(lambda: int(here.bars("messages")) >= 2, "the second burst of keys sent nothing")
    assert "rank 10 of 32" in here.rest().line(), "raised by 9"
    press("p")
    here.until(lambda: here.asks("pin") != "", "nothing was pinned")
    press("e")
    here.sees("Accuracy after each repair step")
    press("s")
    here.page.get_by_role("dialog").get_by_role("tab", name="Link").wait_for()
    for _ in range(6):
        press("Tab")
        if _focused(here) == "Link":
            break
    press("ArrowRight")
    press("Enter")
    for _ in range(6):
        press("Tab")
        if "Export" in _focused(here):
            break
    press("Enter")
    here.sees("largest difference")
    assert here.errors == []


def test_a_letter_typed_in_a_field_is_no_shortcut(visit: Visit) -> None:
    here = visit("spectra")
    here.page.get_by_placeholder("part of a name").click()
    here.page.keyboard.type("jos")
    here.rest()
    assert here.asks("layers") == "" and here.page.get_by_role("dialog").count() == 0
    assert here.page.get_by_placeholder("part of a name").input_value() == "jos"


def test_two_visitors_keep_to_themselves(visit: Visit) -> None:
    one, two = visit("tune"), visit("tune")
    one.drag(LAYER, 1.0, 0.5)
    two.drag(LAYER - 1, 1.0, 0.25)
    assert f"rank {FULL // 2} of" in one.line() and "layer3.0.conv1: rank 16 of" in two.line()
    assert one.asks("cfg") != two.asks("cfg")
    two.button("Undo").click()
    two.until(lambda: two.total().startswith("whole model: 100.0 %"), "undo did nothing")
    one.button("Pin").click()
    one.until(lambda: one.asks("pin") != "", "nothing was pinned")
    assert f"rank {FULL // 2} of" in one.line() and two.asks("pin") == ""
    one.until(lambda: "%" in one.metric("Accuracy"), "the first visitor's measurement never came")


def _focused(here: Visitor) -> str:
    """Name of what has the focus, through shadow roots."""
    script = """() => {
      let at = document.activeElement;
      while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
      return at?.getAttribute('aria-label') || at?.innerText || '';
    }"""
    return str(here.page.evaluate(script)).strip()


def _outlined(here: Visitor) -> Any:
    """Whether what has the focus shows it by an outline or a shadow."""
    script = """() => {
      const style = getComputedStyle(document.activeElement);
      return style.outlineStyle !== 'none' || style.boxShadow !== 'none';
    }"""
    return here.page.evaluate(script)
