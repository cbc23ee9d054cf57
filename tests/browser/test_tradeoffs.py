"""Trade-offs in a real browser: a sweep that outlives its page, and the way from a point to its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.jobs.store import Store
from tests.browser import chromium
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[chromium.Server, str]]:
    """A server with a database of its own whose engine is gone soon after the last run; the database's address."""
    home = tmp_path_factory.mktemp("home")
    url = f"sqlite:///{home / 'runs.db'}"
    with chromium.streamlit(chromium.APP, home, {"RANKSCOPE_DATABASE_URL": url, "RANKSCOPE_IDLE": "5"}) as running:
        yield running, url


def points(here: Visitor) -> Any:
    return here.page.locator(".stPlotlyChart .scatterlayer .points path")


def test_a_sweep_goes_on_without_its_page_and_a_point_leads_to_its_plan(
    server: tuple[chromium.Server, str], profile: Callable[..., Any]
) -> None:
    running, url = server
    here = Visitor(profile(height=1000), running.address).open("tradeoffs?model=digits-mlp")
    here.sees("No configuration of this model is measured")
    here.page.get_by_role("button", name="Explore").last.click()
    here.until(lambda: here.page.get_by_role("progressbar").count() > 0, "no run is shown")
    here.page.close()  # the tab goes away
    store = Store.open(url)
    (run,) = store.runs()
    assert not run.over

    there = Visitor(profile(height=1000), running.address).open("tradeoffs?model=digits-mlp")
    there.until(lambda: (found := store.run(run.id)) is not None and found.done == found.total > 4, "it did not end")
    there.until(lambda: there.page.get_by_role("progressbar").count() == 0, "the page does not know that it ended")
    found = store.run(run.id)
    assert found is not None and (found.state, found.failed) == ("done", 0)
    there.until(lambda: points(there).count() == found.total, "not every point is drawn")
    there.rest()
    for name, said in (("latency", "latency"), ("MACs", "")):
        there.page.get_by_role("radio", name=name).click()
        there.until(lambda said=said: there.asks("axis") == said, "the axis is not in the address")
    there.rest()
    box = points(there).nth(1).bounding_box()
    there.page.mouse.move(box["x"] + 2, box["y"] + 2)
    there.page.wait_for_timeout(200)
    there.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    there.sees("Load into Tune")
    kept = there.metric("Parameters kept"), there.metric("MACs kept"), there.metric("Accuracy, measured")
    there.button("Load into Tune").click()
    there.page.wait_for_url("**/tune?**")
    there.rest()
    assert (there.metric("Parameters kept"), there.metric("MACs kept")) == kept[:2]
    there.until(lambda: there.metric("Accuracy") == kept[2], "the plan does not measure the same in Tune")
    assert there.errors == []
    store.close()


def test_a_sweep_can_be_cancelled_and_taken_up_again(
    server: tuple[chromium.Server, str], profile: Callable[..., Any]
) -> None:
    running, url = server
    here = Visitor(profile(height=1000), running.address).open("tradeoffs?model=digits-vit")
    here.page.get_by_role("button", name="Explore").last.click()
    here.until(lambda: here.page.get_by_role("button", name="Cancel").count() > 0, "no Cancel")
    here.page.get_by_role("button", name="Cancel").first.click()
    store = Store.open(url)
    (run,) = [run for run in store.runs() if run.model == "digits-vit"]
    here.until(lambda: (found := store.run(run.id)) is not None and found.state == "cancelled", "it went on")
    here.until(lambda: here.page.get_by_role("progressbar").count() == 0, "the page does not know")
    here.go("Runs")
    box = here.page.locator("[data-testid=stDataFrame]").last.bounding_box()
    here.page.mouse.move(box["x"] + 20, box["y"] + 50)
    here.page.mouse.click(box["x"] + 16, box["y"] + 35 * 1.5)
    here.sees("Go on")
    here.button("Go on").click()
    here.until(lambda: (found := store.run(run.id)) is not None and found.state in ("queued", "running"), "not resumed")
    store.cancel(run.id)
    here.until(lambda: (found := store.run(run.id)) is not None and found.over, "it could not be cancelled")
    assert here.errors == []
    store.close()
