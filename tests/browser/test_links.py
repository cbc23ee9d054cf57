"""An address is a state: it opens elsewhere as it was, and a damaged one costs nothing but a notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]


def test_an_address_opens_in_another_profile_as_it_was(visit: Visit) -> None:
    here = visit("?energy=80&layers=conv1,linear,layer2.0.conv1&layer=linear&model=digits-resnet")
    assert here.line().startswith("linear:") and "80 % of" in here.body()
    here.go("Tune").drag(6, 1.0, 0.5)
    here.page.keyboard.press("p")
    here.until(lambda: here.asks("pin") != "", "nothing was pinned")
    here.drag(3, 1.0, 0.5)
    there = visit(here.link())
    there.shows(here)
    assert there.conditions("MACs kept") == here.conditions("MACs kept") != ""
    there.go("Spectra")
    for name in ("model", "layers", "layer", "energy", "cfg", "pin"):
        assert there.asks(name) == here.asks(name) != ("" if name != "data" else None)
    assert here.errors == there.errors == []


def test_one_changed_character_gives_the_defaults_and_a_notice(visit: Visit) -> None:
    here = visit("tune")
    here.drag(6, 1.0, 0.5)
    link, plan = here.link(), here.asks("cfg")
    for i in (0, 3, len(plan) // 2, len(plan) - 1):
        damaged = plan[:i] + ("A" if plan[i] != "A" else "B") + plan[i + 1 :]
        here.open(link.replace(plan, damaged))
        here.sees("configuration in this link is damaged or of another model")
        assert here.total().startswith("whole model: 100.0 % of MACs") and here.asks("cfg") == ""
        assert not here.page.locator("[data-testid=stException]").count()
    here.button("Dismiss").click()
    here.until(lambda: "damaged" not in here.body(), "the notice stayed")
    assert here.errors == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("layers=conv1,nowhere,elsewhere&layer=conv1", "does not have: nowhere, elsewhere"),
        ("s=99&energy=80", "made by another version"),
        ("model=no-such-model", "no model or data set called 'no-such-model'"),
        ("model=folder:../../../../etc/passwd", "'passwd' is not there any more"),
        ("model=upload:0/../../secret.pt", "'secret.pt' is not there any more"),
        ("energy=7&mode=&by=%3Cscript%3E&lock=%25&teach=maybe&lesson=%F0%9F%90%8D", "Where can this model shrink?"),
    ],
)
def test_an_address_with_nonsense_opens_the_demo_and_says_so(visit: Visit, query: str, says: str) -> None:
    here = visit(f"?{query}")
    here.sees(says)
    assert here.metric("Parameters") == "75,002"
    assert not here.page.locator("[data-testid=stException]").count()
    assert "Traceback" not in here.body() and "/app/" not in here.body()
    assert here.errors == []


def test_an_unknown_page_says_so(visit: Visit) -> None:
    here = visit("no-such-page")
    here.sees("Page not found")
