"""How Trade-offs and Runs look where there are runs already: axe, names of plots, narrow windows, two people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core import journeys
from core.jobs.store import Store
from tests.browser import chromium
from tests.browser.test_accessibility import plots, violations
from tests.browser.visitor import Visitor
from tests.sweeps import filled, joined, sensed

pytestmark = pytest.mark.browser

MODEL = "digits-convnet"


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[chromium.Server, list[str]]]:
    """A server whose database holds a measured sweep with its sensitivity and joint damages; keys of its points."""
    home = tmp_path_factory.mktemp("home")
    url = f"sqlite:///{home / 'runs.db'}"
    store, survey = Store.open(url), journeys.demo_survey(MODEL)
    sweep = filled(store, survey)
    joined(store, survey, sweep, sensed(store, survey), (0.3, 4.0, 0.2))
    keys = [point.key for point in store.points(sweep)]
    store.close()
    with chromium.streamlit(chromium.APP, home, {"RANKSCOPE_DATABASE_URL": url}) as running:
        yield running, keys


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_and_every_plot_has_a_name_and_a_table(
    server: tuple[chromium.Server, list[str]], profile: Callable[..., Any], dark: bool
) -> None:
    running, keys = server
    found, unnamed = {}, {}
    here = Visitor(profile(height=1000, dark=dark), running.address)
    for more in ("closed", "sensitivity") if dark else ("parallel", "predicted", "sensitivity"):
        here.open(
            f"tradeoffs?model={MODEL}&hand={keys[1]}{f',{keys[0]}' * (more in ('closed', 'predicted'))}&more={more}"
        )
        here.page.wait_for_selector(".stPlotlyChart .main-svg")
        here.rest(600)
        found[more], unnamed[more] = violations(here), plots(here)
    here.go("Runs")
    here.sees("Tick a row")
    found["Runs"] = violations(here)
    box = here.page.locator("[data-testid=stDataFrame]").last.bounding_box()
    here.page.mouse.move(box["x"] + 20, box["y"] + 50)
    here.page.mouse.click(box["x"] + 16, box["y"] + 35 * 3.5)
    here.sees("Forget this run")
    found["Run"], unnamed["Run"] = violations(here), plots(here)
    assert {where: one for where, one in found.items() if one} == {}
    assert {where: one for where, one in unnamed.items() if one} == {}
    assert here.errors == []


@pytest.mark.parametrize("where", ["tradeoffs?more=sensitivity&hand=", "tradeoffs?more=parallel&hand=", "runs?hand="])
def test_a_narrow_window_never_scrolls_sideways(
    server: tuple[chromium.Server, list[str]], profile: Callable[..., Any], where: str
) -> None:
    running, keys = server
    here = Visitor(profile(width=390, height=844), running.address).open(f"{where}{keys[0]}&model={MODEL}")
    here.rest(600)
    assert here.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
    assert here.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_two_people_hold_points_of_their_own(
    server: tuple[chromium.Server, list[str]], profile: Callable[..., Any]
) -> None:
    running, keys = server
    one, two = (
        Visitor(profile(height=1000), running.address).open(f"tradeoffs?model={MODEL}&hand={key}") for key in keys[:2]
    )
    kept = one.metric("MACs kept"), two.metric("MACs kept")
    assert kept[0] != kept[1]
    one.button("Put down").click()
    one.until(lambda: one.asks("hand") == "", "it is still in hand")
    two.page.get_by_role("radio", name="latency").click()
    two.until(lambda: two.asks("axis") == "latency", "the axis is not in the address")
    assert two.metric("MACs kept") == kept[1] and two.asks("hand") == keys[1] and one.asks("axis") == ""
    assert one.errors == two.errors == []
