"""How pages are looked at as part of the address: each row of the table, the pages that read it, and nonsense."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import references, spectra_controls, spectra_rows, state, tradeoff_panels, tradeoffs
from app.views import LONGEST, SEARCH, VIEWS
from core import journeys
from core.compression.survey import Survey
from tests.app import pages

Open = Callable[..., AppTest]
Tabs = Callable[..., Any]

BY = {view.key: view for view in VIEWS}
NONSENSE = (
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE runs; --",
    "٣-٢٠",
    "🐍" * 40,
    "%00%",
    "\x00",
    "\udcff",
    "../../etc/passwd",
    "1e9-2e9",
    "20-3",
    "0-5",
    "Spectrum",
    "Rows,columns",
    "spectrum ",
    "9" * 4000,
    "a" * 2_000_000,
)
SENT = tuple(text for text in NONSENSE if text != "\udcff")
"""Those that a browser can send: half a character it cannot."""

OFFERED = {
    "spectra-quantity": spectra_controls.QUANTITIES,
    "spectra-matrix": spectra_rows.MATRICES,
    "spectra-reference": references.KINDS,
    "spectra-x": spectra_controls.AXES,
    "spectra-normalise": (True, False),
    "spectra-all": (False, True),
    "tradeoff-axis": tradeoffs.AXES,
    "tradeoff-by": tradeoff_panels.BY,
    "tradeoff-all": tradeoff_panels.MORE,
}
"""What the controls offer, the first at first."""

CHOSEN: dict[str, tuple[str, Any]] = {
    "show": ("error", "error"),
    "matrix": ("spatial", "spatial"),
    "versus": ("shuffled", "shuffled"),
    "find": ("conv 3", "conv 3"),
    "kinds": ("conv2d", ["conv2d"]),
    "x": ("linear", "linear"),
    "k": ("3-20", (3, 20)),
    "over": ("nothing", False),
    "points": ("all", True),
    "tab": ("errors", "Error curves"),
    "against": ("rank", "rank"),
    "below": ("layer", "Layer in hand"),
    "axis": ("latency", "latency"),
    "colour": ("method", "method"),
    "lost": ("2.5", 2.5),
    "hand": ("0123456789abcdef,0123456789ab-rec", ["0123456789abcdef", "0123456789ab-rec"]),
    "more": ("sensitivity", "Sensitivity of layers"),
    "beside": ("params", "params"),
}
"""What an address says of each view and what that is, none of them a default; a checkpoint needs one (see below)."""


@pytest.fixture(scope="module")
def convnet() -> Survey:
    return journeys.demo_survey("digits-convnet")


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    """open_page(name, survey, **query) -> the page on that survey."""
    return partial(pages.opened, monkeypatch)


def address(page: AppTest) -> dict[str, str]:
    """What the address says of views."""
    found = {name: text if isinstance(text, str) else text[-1] for name, text in page.query_params.items()}
    return {view.parameter: found[view.parameter] for view in VIEWS if view.parameter in found}


def indices(page: AppTest) -> Any:
    return next(slider for slider in page.slider if slider.label == "Indices shown")


def test_every_view_has_a_word_of_its_own_in_the_address(tab: Tabs, survey: Survey) -> None:
    assert {view.parameter for view in VIEWS} == {*CHOSEN, "twin"}
    assert len({view.parameter for view in VIEWS}) == len({view.key for view in VIEWS}) == len(VIEWS)
    others = {"s", "teach", "model", "arch", "data", "layers", "layer", "mode", "by", "energy", "cfg", "pin", "lock"}
    assert not others & {view.parameter for view in VIEWS}
    one = tab()
    one.do(lambda: (state.fit(survey), state.put(energy=80), state.mirror()))
    assert set(one.address) <= others, "defaults stay out"


@pytest.mark.parametrize("key", OFFERED)
def test_every_option_of_a_control_can_be_told_and_the_first_need_not_be(key: str) -> None:
    view, options = BY[key], list(OFFERED[key])
    assert view.default == options[0] and view.text(options[0]) == ""
    assert [view.value(view.text(option)) for option in options] == options
    assert all(view.text(option) for option in options[1:])


@pytest.mark.parametrize("view", VIEWS, ids=[view.parameter for view in VIEWS])
@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_no_view(view: Any, text: str) -> None:
    if view.parameter == "find" and text.isprintable() and len(text) <= SEARCH:
        assert view.value(text) == text, "any words can be searched for"
    else:
        assert view.value(text) == view.default


@pytest.mark.parametrize("text", ["", "x" * SEARCH, "é ü 🐍", "a&b=c#d", "100%,+"])
def test_any_words_searched_for_come_back(text: str) -> None:
    view = BY["spectra-search"]
    assert view.value(view.text(text)) == text
    assert view.text("x" * (SEARCH + 1)) == "" == view.text("a\nb") and SEARCH < LONGEST


def test_a_link_opens_spectra_as_it_was_seen(open_page: Open, convnet: Survey) -> None:
    query = {name: text for name, (text, _) in CHOSEN.items()}
    page = open_page("spectra", convnet, layers="conv3", layer="conv3", **query)
    assert {view.parameter: page.session_state[view.key] for view in VIEWS if view.parameter in CHOSEN} == {
        name: value for name, (_, value) in CHOSEN.items()
    }
    assert address(page) == query
    figure = next(json.loads(chart.proto.spec) for chart in page.get("plotly_chart"))
    names = [trace["name"] for trace in figure["data"]]
    assert names == ["context", "conv3"], "shuffled is stored for the rows only"
    assert figure["layout"]["xaxis"]["type"] == "linear" and 2 < figure["layout"]["xaxis"]["range"][0] <= 3
    assert figure["layout"]["yaxis"]["title"]["text"] == "relative error of the weights"
    rows = next(frame for frame in page.dataframe if "log σ" in frame.value.columns).value
    assert rows["layer"].tolist() == ["conv3"]
    assert page.button_group(key="spectra-against").value == "rank" and not page.toggle(key="spectra-normalise").value
    assert indices(page).value == (3, 20)


def test_what_is_changed_on_spectra_is_in_the_address(open_page: Open, convnet: Survey) -> None:
    page = open_page("spectra", convnet, layers="conv3")
    assert address(page) == {}
    page.button_group(key="spectra-quantity").set_value("energy")
    page.selectbox(key="spectra-matrix").set_value("columns")
    page.selectbox(key="spectra-reference").set_value("random")
    page.text_input(key="spectra-search").set_value("conv")
    page.button_group(key="spectra-kinds").set_value(["conv2d"])
    page.button_group(key="spectra-x").set_value("linear")
    page.toggle(key="spectra-normalise").set_value(False)
    indices(page).set_value((2, 9)).run()
    said = {"show": "energy", "matrix": "columns", "versus": "random", "find": "conv", "kinds": "conv2d"}
    said |= {"x": "linear", "over": "nothing", "k": "2-9"}
    assert address(pages.sound(page)) == said
    page.session_state["spectra-tab"] = "Ledger"
    assert address(pages.run(page)) == said | {"tab": "ledger"}
    offered = [tab.label for tab in page.tabs]
    assert [BY["spectra-tab"].value(BY["spectra-tab"].text(title)) for title in offered] == offered
    indices(page).set_value((1, 64))
    page.toggle(key="spectra-normalise").set_value(True)
    page.text_input(key="spectra-search").set_value("").run()
    assert not {"k", "over", "find"} & set(address(pages.sound(page)))


def test_a_range_is_kept_where_the_spectra_are_shorter(open_page: Open, convnet: Survey) -> None:
    page = open_page("spectra", convnet, k="40-50")
    short = next(layer.spectrum.k for layer in convnet.layers if layer.view.name == "conv1")
    only = [layer for layer in convnet.layers if layer.view.name == "conv1"]
    assert indices(page).value == (40, 50) and short < 40
    small = open_page("spectra", replace(convnet, layers=tuple(only)), k="40-50")
    assert indices(small).value == (short - 1, short)
    assert address(small) == {"k": "40-50"}


@pytest.mark.parametrize("ends", [(1, 1), (64, 64), (7, 7)])
def test_a_range_of_one_index_is_widened(open_page: Open, convnet: Survey, ends: tuple[int, int]) -> None:
    page = open_page("spectra", convnet)
    indices(page).set_value(ends).run()
    first, last = indices(page).value
    assert last == first + 1 and first <= ends[0] <= last
    assert address(pages.sound(page)) == {"k": f"{first}-{last}"}


@pytest.mark.parametrize("text", SENT, ids=range(len(SENT)))
def test_an_address_of_nonsense_opens_every_page_as_ever(open_page: Open, convnet: Survey, text: str) -> None:
    query = {view.parameter: text for view in VIEWS if view.parameter != "find"}
    for name in ("spectra", "tune"):
        page = open_page(name, convnet, **query)
        assert address(page) == {}
        assert all(page.session_state[view.key] == view.default for view in VIEWS if view.parameter != "twin")
        assert text not in pages.words(page)


def test_a_search_from_the_address_is_text(open_page: Open, convnet: Survey) -> None:
    page = open_page("spectra", convnet, find="<img src=x onerror=alert(1)>")
    assert page.text_input(key="spectra-search").value == "<img src=x onerror=alert(1)>"
    assert "No layer has that name and kind" in pages.words(page) and "<img" not in pages.words(page)


def test_what_this_model_does_not_offer_leaves_the_address(open_page: Open) -> None:
    mlp = journeys.demo_survey("digits-mlp")
    page = open_page("spectra", mlp, matrix="spatial", kinds="conv2d,linear", versus="twin", twin="0" * 12)
    assert address(page) == {"versus": "twin"}


def test_the_other_checkpoint_is_part_of_the_link(
    open_page: Open, convnet: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [replace(convnet, model=replace(convnet.model, name=f"twin-{i}", digest=f"{i}" * 64)) for i in range(2)]
    monkeypatch.setattr("app.spectra_controls.state.opened", lambda: (convnet, *others))
    page = open_page("spectra", convnet, layers="conv3", versus="twin", twin="1" * 12)
    assert page.selectbox(key="spectra-twin").value == "1" * 12
    assert address(page) == {"versus": "twin", "twin": "1" * 12}
    page.selectbox(key="spectra-reference").set_value("random").run()
    assert address(pages.sound(page)) == {"versus": "random"}


def test_views_of_every_page_survive_a_page_switch(tab: Tabs, survey: Survey) -> None:
    """A page switch drops hand-written parameters, and widgets of the page that is left lose their values."""
    query = {name: text for name, (text, _) in CHOSEN.items()}
    one = tab(**query)
    one.do(lambda: (state.fit(survey), state.mirror()))
    one.app.query_params.clear()
    for view in VIEWS:
        del one.app.session_state[view.key]
    kept = one.do(lambda: (state.mirror(), {name: state.value(BY_NAME[name]) for name in CHOSEN}))[1]
    assert kept == {name: value for name, (_, value) in CHOSEN.items()}
    assert {name: one.address[name] for name in query} == query


BY_NAME = {view.parameter: view.key for view in VIEWS}


def test_a_choice_made_on_one_page_survives_the_others(open_page: Open, convnet: Survey) -> None:
    page = open_page("spectra", convnet)
    for name, key, value in (("tune", "tune-below", "Edit as a table"), ("spectra", "spectra-quantity", "error")):
        page.switch_page(f"app/pages/{name}.py")
        pages.run(page).button_group(key=key).set_value(value).run()
    for name in ("overview", "tune", "overview", "spectra"):
        page.switch_page(f"app/pages/{name}.py")
        pages.run(pages.run(page))
        assert address(page) == {"show": "error", "below": "table"}, name


def test_a_link_of_another_version_has_the_defaults(tab: Tabs, survey: Survey) -> None:
    one = tab(s="7", show="error", k="3-20", below="layer")
    one.do(lambda: (state.fit(survey), state.mirror()))
    assert not {"show", "k", "below"} & set(one.address)


def test_tune_opens_what_the_link_says_and_says_what_is_open(open_page: Open) -> None:
    page = open_page("tune", journeys.demo_survey("digits-mlp"), below="layer", layer="fc2")
    assert page.button_group(key="tune-below").value == "Layer in hand" and "error of every form" in pages.words(page)
    page.button_group(key="tune-below").set_value("Edit as a table").run()
    assert address(pages.sound(page)) == {"below": "table"}
    offered = page.button_group(key="tune-below").options
    assert [BY["tune-below"].value(BY["tune-below"].text(title)) for title in offered] == offered
    page.button_group(key="tune-below").set_value("Before and after").run()
    assert address(pages.sound(page)) == {}
