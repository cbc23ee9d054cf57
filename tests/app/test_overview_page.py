"""The Overview page without a browser: what it says of a model, what a click changes, what a link may name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import sources
from app.worker import ROOT
from core.compression.survey import Survey
from core.networks.costs import Cost
from core.provenance import Measurement, Provenance
from tests.app import pages
from tests.surveys import linear_layer
from tests.surveys import survey as made_of

NBSP = "\u00a0"
Open = Callable[..., AppTest]


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    """open_page(survey, **query) -> the page on that survey."""
    return lambda survey, **query: pages.opened(monkeypatch, "overview", survey, **query)


def planted(*ranks: int) -> Survey:
    """Layers of 12 × 12 of these ranks exactly, all singular values 1."""
    layers = [linear_layer(f"fc{i}", 12, 12, [1.0] * rank + [0.0] * (12 - rank)) for i, rank in enumerate(ranks)]
    return made_of(layers, Cost())


def measured(value: float, spread: float, n: int) -> Measurement:
    return Measurement("accuracy", value, spread, n, 0, Provenance("2026-01-02T03:04Z", (), "cpu", 1))


def test_the_first_sentence_is_a_finding_about_this_model(open_page: Open) -> None:
    page = open_page(planted(1, 1, 12))
    title, first = (heading.value.replace("\\", "") for heading in page.subheader)
    assert title == "Where can this model shrink?"
    assert (
        first == f"2 of 3 compressible layers keep 90{NBSP}% of the energy of their weights in a quarter of their "
        "multiply-adds."
    )
    assert f"fc0 holds 33{NBSP}% of all multiply-adds" in pages.words(page)


def test_the_numbers_of_the_dense_model_are_those_of_its_shape(open_page: Open, mlp: Survey) -> None:
    page = open_page(replace(mlp, accuracy=measured(0.5, 0.021, 1234)))
    weights = 64 * 192 + 192 * 192 + 192 * 10
    params = weights + 192 + 192 + 10
    assert pages.metrics(page) == {
        "Parameters": (f"{params:,}", ""),
        "MACs per sample": (f"{weights:,}", ""),
        "Size on disk": (f"{round(4 * params / 1000)} kB", ""),
        "Accuracy, dense": (f"50.0{NBSP}%", f"± 2.1{NBSP}%, n = 1,234"),
    }


def test_what_was_not_measured_or_is_unknown_says_so(open_page: Open) -> None:
    layer = linear_layer("fc", 12, 12, [1.0] * 12, positions=0)
    page = open_page(replace(made_of([layer], Cost()), reason="its network is not known"))
    assert pages.metrics(page)["MACs per sample"] == ("unknown", "")
    assert pages.metrics(page)["Accuracy, dense"] == ("not measured", "")
    words = pages.words(page)
    assert "weights only" in words and "- its network is not known" in words
    assert pages.data(page, "strip")["quantity"] == "params"


def test_another_energy_changes_sentences_bars_and_address(open_page: Open) -> None:
    page = open_page(planted(10, 10, 10))
    assert [bar["level"] for bar in pages.data(page, "strip")["layers"]] == [9, 9, 9]
    revision = pages.data(page, "strip")["revision"]
    page.button_group(key="overview-energy").set_value(80).run()
    data = pages.data(pages.sound(page), "strip")
    assert [bar["level"] for bar in data["layers"]] == [8, 8, 8] and data["revision"] != revision
    assert f"80{NBSP}% of the energy of its weights needs rank 8, above its break-even rank 5." in pages.words(page)
    assert pages.now(page).energy == 80 and page.query_params["energy"] == "80"


def test_a_link_brings_its_energy(open_page: Open) -> None:
    page = open_page(planted(10, 10), energy="99")
    assert page.button_group(key="overview-energy").value == 99
    assert [bar["level"] for bar in pages.data(page, "strip")["layers"]] == [10, 10]


def test_a_click_on_a_bar_takes_its_layer_in_hand_once(open_page: Open, mlp: Survey) -> None:
    page = open_page(mlp)
    pages.send(page, "strip", kind="select", layer="fc3", seq=4)
    assert (pages.now(page).primary, pages.now(page).selected) == ("fc3", ("fc3",))
    assert page.query_params["layer"] == "fc3" and pages.data(page, "strip")["primary"] == "fc3"
    pages.send(page, "strip", kind="select", layer="fc1", seq=5)
    assert (pages.now(page).primary, pages.now(page).selected) == ("fc1", ("fc3", "fc1"))
    pages.send(page, "strip", kind="select", layer="fc2", seq=5)
    assert pages.now(page).primary == "fc1", "a message that was acted on is not acted on again"


def test_of_many_clicks_the_last_eight_stay_selected(open_page: Open) -> None:
    page = open_page(planted(*[1] * 10))
    clicks = [{"kind": "select", "layer": f"fc{i}", "seq": i + 1} for i in range(10)]
    pages.send(page, "strip", **clicks[-1], earlier=clicks[:-1])
    assert pages.now(page).selected == tuple(f"fc{i}" for i in range(2, 10))


def test_three_cards_lead_on(open_page: Open, mlp: Survey) -> None:
    page = open_page(mlp)
    assert [link.proto.page for link in page.get("page_link")] == ["tune", "spectra"]
    assert "open-file" not in {button.key for button in page.button}
    page.button(key="card-open").click().run()
    assert "open-file" in {button.key for button in pages.sound(page).button}


def test_what_opening_it_said_is_kept_and_a_silent_model_has_no_such_panel(open_page: Open, mlp: Survey) -> None:
    page = open_page(replace(mlp, notes=("unwrapped <b>it</b>",), calibration="1,000 digits"))
    (panel,) = page.expander
    assert panel.label == "What opening it said"
    said = [line.value for line in panel.markdown]
    assert said == [r"- unwrapped \<b\>it\</b\>", r"- Output errors were predicted from 1,000 digits\."]
    assert not open_page(replace(mlp, notes=(), calibration="")).expander


def test_a_model_that_cannot_shrink_names_its_kinds_and_still_shows_its_layers(open_page: Open) -> None:
    whole = planted(1, 1)
    stuck = [
        replace(layer, obstacle="an embedding is looked up", view=replace(layer.view, kind="embedding"))
        for layer in whole.layers
    ]
    page = open_page(replace(whole, layers=tuple(stuck)))
    assert "No layer here can be factorised: the kinds found are embedding." in pages.words(page)
    assert {bar["obstacle"] for bar in pages.data(page, "strip")["layers"]} == {"an embedding is looked up"}
    assert "0 of 2 layers compressible" in pages.words(page)


def test_who_teaches_sees_the_strip_first_and_larger(open_page: Open, mlp: Survey) -> None:
    plain, taught = open_page(mlp), open_page(mlp, teach="true")

    def order(page: AppTest) -> list[str]:
        return [kind for kind in pages.kinds(page) if kind in ("bidi_component", "button_group", "metric")]

    assert order(plain) == ["button_group", *["metric"] * 4, "bidi_component"]
    assert order(taught) == ["bidi_component", "button_group", *["metric"] * 4]
    small, large = pages.data(plain, "strip"), pages.data(taught, "strip")
    assert large["scale"] > small["scale"] == 1.0 and large["height"] < small["height"]
    assert taught.query_params["teach"] == "true"


def test_a_link_with_unknown_layers_keeps_the_known_and_lists_the_others(open_page: Open, mlp: Survey) -> None:
    page = open_page(mlp, layers="fc2,gone.a,fc3", layer="gone.b", lock="fc1,<b>gone</b>")
    now = pages.now(page)
    assert (now.selected, now.locked) == (("fc2", "fc3"), ("fc1",)) and now.primary == "fc2"
    (notice,) = page.warning
    assert notice.value.replace("\\", "").endswith("digits-mlp does not have: gone.a, <b>gone</b>, gone.b.")
    assert r"\<b\>gone" in notice.value
    assert page.query_params["layers"] == "fc2,fc3" and page.query_params["lock"] == "fc1"
    pages.press(page, "Dismiss")
    assert not page.warning and not pages.run(page).warning


def test_names_from_a_file_stay_text(open_page: Open) -> None:
    name = "<img src=x onerror=alert(1)> **b** $x$"
    page = open_page(made_of([linear_layer(name, 12, 12, [1.0] * 12)], Cost()))
    texts = [element.value for kind in (page.markdown, page.subheader) for element in kind]
    assert any("img" in text for text in texts)
    unescaped = [re.sub(r"\\.", "", text) for text in texts]
    assert not any(mark in text for text in unescaped for mark in ("<img", "**b", "$x"))


def test_a_model_not_yet_surveyed_is_opened_by_a_job(monkeypatch: pytest.MonkeyPatch, bench: Any, mlp: Survey) -> None:
    source = sources.store_upload("mine.pth", b"weights")
    page = AppTest.from_file(pages.SCRIPT, default_timeout=60)
    page.query_params.update({"model": source})
    pages.run(page)
    (job,) = bench.asked
    assert job.request["do"] == "survey" and not page.metric and not page.get("bidi_component")
    assert "Opening" in page.get("progress")[0].proto.text
    bench.end({"survey": replace(mlp, model=replace(mlp.model, name="mine.pth")).to_json()})
    assert "mine.pth" in pages.words(pages.run(page)) and len(page.metric) == 4
    assert len(bench.asked) == 1


def test_the_first_page_opens_where_torch_and_plotly_cannot_be_imported() -> None:
    code = (
        "import json, sys\nfrom streamlit.testing.v1 import AppTest\n"
        "for name in [name for name in sys.modules if name.split('.')[0] == 'plotly']:\n    del sys.modules[name]\n"
        "sys.modules |= {'torch': None, 'plotly': None}\n"
        f"page = AppTest.from_file({pages.SCRIPT!r}, default_timeout=60).run()\n"
        "print(json.dumps([len(page.metric), len(page.get('bidi_component')), len(page.exception)]))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(made.stdout.splitlines()[-1]) == [4, 1, 0]
