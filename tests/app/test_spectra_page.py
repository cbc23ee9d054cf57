"""The Spectra page without a browser: what is placed, what a click or key changes, what a damaged layer shows."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import services, spectra_panels, spectra_rows
from app.glossary import GLOSSARY, help_text
from core import journeys
from core.compression.plans import Plan
from core.networks.forms import LowRank, SpatialLowRank

SCRIPT = str(Path(__file__).resolve().parents[2] / "streamlit_app.py")
MOST_BYTES = 100 * 1024


@pytest.fixture(scope="module")
def convnet():
    return journeys.demo_survey("digits-convnet")


@pytest.fixture
def open_page(monkeypatch):
    """open_page(survey, **query) -> the page on that survey."""

    def make(survey, **query):
        monkeypatch.setattr(services, "survey", lambda *args, **kwargs: survey)
        page = AppTest.from_file(SCRIPT, default_timeout=60)
        page.query_params.update({"model": "digits-convnet"} | query)
        page.switch_page("app/pages/spectra.py")
        return _run(page)

    return make


def _run(page):
    page.run()
    assert not page.exception, [error.message for error in page.exception]
    return page


def _figure(page, key="spectra-figure"):
    found = [chart.proto for chart in page.get("plotly_chart") if key in chart.proto.id]
    return json.loads(found[0].spec), found[0]


def _lines(page):
    return [trace["name"] for trace in _figure(page)[0]["data"]]


def _notes(page, key="spectra-figure"):
    return [note.get("text", "") for note in _figure(page, key)[0]["layout"]["annotations"]]


def _table(page):
    return next(frame for frame in page.dataframe if "log σ" in frame.value.columns)


def _now(page):
    return page.session_state["selection"]


def _words(page):
    return " ".join(element.value for kind in (page.markdown, page.info, page.warning) for element in kind)


def test_nothing_ticked_shows_grey_and_what_to_do(open_page, convnet):
    page = open_page(convnet)
    assert _lines(page) == ["context"]
    assert any("tick a row, press j" in info.value for info in page.info)
    assert _table(page).value["layer"].tolist() == [view.name for view in convnet.views]


def test_the_page_needs_no_torch(open_page, convnet):
    before = "torch" in sys.modules
    open_page(convnet, layers="conv2")
    assert ("torch" in sys.modules) == before


def test_a_link_ticks_its_layers_in_their_order(open_page, convnet):
    page = open_page(convnet, layers="conv4,conv2", layer="conv4")
    assert _lines(page) == ["context", "conv4", "conv2"]
    key = spectra_panels.table_key(convnet, [view.name for view in convnet.views])
    assert page.session_state[key]["selection"]["rows"] == [1, 3]


def test_j_ticks_the_layer_in_hand_then_the_next_and_k_goes_back(open_page, convnet):
    page = open_page(convnet)
    for key, wanted in (("j", "conv1"), ("j", "conv2"), ("j", "conv3"), ("k", "conv2")):
        page.button(key=f"spectra-{key}").click().run()
        _run(page)
        assert (_now(page).selected, _now(page).primary) == ((wanted,), wanted)
        assert _lines(page) == ["context", wanted]
    assert page.query_params["layers"] == "conv2"


def test_j_and_k_have_their_keys(open_page, convnet):
    page = open_page(convnet)
    assert [page.button(key=f"spectra-{key}").proto.shortcut for key in "jk"] == ["j", "k"]


def test_j_walks_through_what_the_filter_shows(open_page, convnet):
    page = open_page(convnet)
    page.text_input(key="spectra-search").set_value("conv").run()
    page.button_group(key="spectra-kinds").set_value(["linear"]).run()
    assert any("No layer has that name" in info.value for info in page.info)
    page.text_input(key="spectra-search").set_value("").run()
    _run(page)
    assert _table(page).value["layer"].tolist() == ["fc"]
    page.button(key="spectra-j").click().run()
    assert _now(page).primary == "fc"


def _ticked_by_hand(monkeypatch, selected, primary, names, rows):
    """Runs the table's callback on a session of its own; what it stores and which fragments it runs again."""
    kept, parts = {}, []
    state = spectra_panels.state
    monkeypatch.setattr(state, "get", lambda: state.Selection(selected=selected, primary=primary))
    monkeypatch.setattr(state, "put", lambda **changes: kept.update(changes))
    monkeypatch.setattr(state, "value", lambda key, otherwise=None: {"selection": {"rows": rows}})
    monkeypatch.setattr(spectra_panels, "redraw", lambda *keys: parts.extend(keys))
    spectra_panels._ticked(names, "table")
    return kept, parts


def test_a_tick_is_stored_and_leaves_the_table_alone(monkeypatch):
    kept, parts = _ticked_by_hand(monkeypatch, ("a",), "a", ["a", "b", "c"], [0, 2])
    assert kept == {"selected": ("a", "c"), "primary": "c"}
    assert parts == ["spectra-plot", "spectra-below"]


def test_an_untick_that_leaves_the_layer_in_hand_runs_the_plot_only(monkeypatch):
    kept, parts = _ticked_by_hand(monkeypatch, ("a", "c"), "c", ["a", "b", "c"], [2])
    assert kept == {"selected": ("c",), "primary": "c"}
    assert parts == ["spectra-plot"]


def test_a_tick_too_many_is_taken_back_in_the_table(monkeypatch):
    names = [f"l{i}" for i in range(10)]
    kept, parts = _ticked_by_hand(monkeypatch, tuple(names[:8]), "l7", names, list(range(9)))
    assert kept["selected"] == tuple(names[1:9])
    assert "spectra-table" in parts


@pytest.mark.parametrize("customdata", ["conv3", ["conv3"]])
def test_a_click_on_a_line_ticks_its_layer(monkeypatch, customdata):
    kept, parts = {}, []
    state = spectra_panels.state
    monkeypatch.setattr(state, "get", lambda: state.Selection(selected=("conv1",), primary="conv1"))
    monkeypatch.setattr(state, "put", lambda **changes: kept.update(changes))
    points = [{"customdata": customdata, "point_index": 3}]
    monkeypatch.setattr(state, "value", lambda key, otherwise=None: {"selection": {"points": points}})
    monkeypatch.setattr(spectra_panels, "redraw", lambda *keys: parts.extend(keys))
    spectra_panels._clicked()
    assert kept == {"selected": ("conv1", "conv3"), "primary": "conv3"}
    assert parts == ["spectra-plot", "spectra-table", "spectra-below"]
    points.clear()
    kept.clear()
    spectra_panels._clicked()
    assert not kept, "a second click on the same point empties the figure's selection, not ours"


def test_energy_marks_lines_and_table_and_is_kept(open_page, convnet):
    page = open_page(convnet, layers="conv3")
    assert "rank" in _table(page).value.columns
    before = _table(page).value["rank"].tolist()
    page.button_group(key="spectra-energy").set_value(99).run()
    _run(page)
    assert _now(page).energy == 99 and page.query_params["energy"] == "99"
    after = _table(page).value["rank"].tolist()
    assert all(a >= b for a, b in zip(after, before, strict=True)) and after != before
    texts = [note.get("text") for note in _figure(page)[0]["layout"]["annotations"]]
    assert f"r = {after[2]}" in texts


def test_of_many_lines_only_the_one_in_hand_is_marked(open_page, convnet):
    def marked(layers):
        page = open_page(convnet, layers=layers, layer="conv3")
        return [note["text"] for note in _figure(page)[0]["layout"]["annotations"] if note["text"].startswith("r = ")]

    assert len(marked("conv1,conv2,conv3,conv4")) == 4
    assert marked("conv1,conv2,conv3,conv4,fc") == [
        f"r = {spectra_rows.energy_level(convnet.layer('conv3').spectrum, 90)}"
    ]


@pytest.mark.parametrize(("quantity", "title"), [("energy", "energy kept"), ("error", "relative error")])
def test_other_quantities(open_page, convnet, quantity, title):
    page = open_page(convnet, layers="conv3")
    page.button_group(key="spectra-quantity").set_value(quantity).run()
    assert title in _figure(_run(page))[0]["layout"]["yaxis"]["title"]["text"]


def test_an_error_of_outputs_is_not_called_one_of_weights(open_page, convnet):
    page = open_page(convnet, layers="conv3", layer="conv3", show="error", tab="ledger")
    assert _figure(page)[0]["layout"]["yaxis"]["title"]["text"] == "relative error of the weights"
    page.session_state["spectra-figure-twin"] = True
    page.selectbox(key="spectra-matrix").set_value("whitened").run()
    layout, proto = _figure(_run(page))
    assert layout["layout"]["yaxis"]["title"]["text"] == "relative error of the outputs"
    assert proto.alt.startswith("Relative error of the outputs.") and "weights" not in proto.alt
    twin = next(frame.value for frame in page.dataframe if "rank" in frame.value and "layer" not in frame.value)
    assert list(twin) == ["rank", "conv3: relative error of the outputs"]
    S = [float(s) ** 2 for s in convnet.layer("conv3").whitened.S]
    assert twin.iloc[0, 1] == pytest.approx((sum(S[1:]) / sum(S)) ** 0.5, rel=1e-5), "a tail of the whitened spectrum"


@pytest.mark.parametrize(
    ("shown", "matrix", "entry"),
    [
        ("spectrum", "spatial", "singular value"),
        ("energy", "rows", "energy"),
        ("error", "columns", "error"),
        ("spectrum", "whitened", "whitened spectrum"),
        ("energy", "whitened", "output energy"),
        ("error", "whitened", "output error"),
    ],
)
def test_what_is_shown_has_its_own_entry_in_the_glossary(open_page, convnet, shown, matrix, entry):
    page = open_page(convnet, show=shown, matrix=matrix)
    assert page.button_group(key="spectra-quantity").proto.help == help_text(entry)


HELP = {
    "spectra-energy": "energy",
    "spectra-matrix": "whitened spectrum",
    "spectra-reference": "reference spectrum",
    "spectra-against": "kept fraction",
}


FACTS = {
    "standard error": "alpha standard error",
    "fit distance": "alpha distance",
    "points in the tail": "alpha tail",
    "noise edge, λ": "marchenko-pastur edge",
    "MP soft rank": "mp soft rank",
    "alpha-hat": "alpha weighted",
}
"""Entries of the metrics that are not called like theirs."""


def test_every_question_mark_opens_its_own_entry(open_page, convnet):
    page = open_page(convnet, layers="conv3", layer="conv3", tab="errors")
    inputs = {one.key: one.proto.help for one in (*page.button_group, *page.selectbox) if one.proto.help}
    assert {key: inputs[key] for key in HELP} == {key: help_text(entry) for key, entry in HELP.items()}
    columns = json.loads(_table(page).proto.columns)
    same = {name: name for name in _table(page).value.columns if name in GLOSSARY} | {"break-even": "break-even rank"}
    for name, entry in (same | {"rank": "energy rank", "log σ": "singular value", "compressible": "obstacle"}).items():
        assert columns[name]["help"] == help_text(entry), name
    assert {"MACs", "parameters", "spikes", "alpha", "alpha distance", "stable rank", "entropy rank"} <= set(same)
    headed = {"Rank rules": "rank", "Error curves": "output error", "Eigenvalues": "eigenvalue histogram"}
    for tab, entry in headed.items():
        page.session_state["spectra-tab"] = tab
        said = [m.proto.help for m in _run(page).markdown if m.value.startswith("**conv3**")]
        assert said == [help_text(entry)], tab
    assert page.metric
    for metric in page.metric:
        assert metric.proto.help.startswith(help_text(FACTS.get(metric.label, metric.label))), metric.label


def test_every_rule_has_its_own_entry_and_one_button(open_page, convnet):
    page = open_page(convnet, layer="conv3")
    for mark in spectra_rows.marks(convnet.layer("conv3").spectrum):
        words = next(m for m in page.markdown if m.value.startswith(f"{mark.label}: "))
        assert words.proto.help == help_text(mark.name)
        assert page.button(key=f"use-{mark.name}").label == f"Use {mark.rank}"


def test_axes_are_drawn_as_asked(open_page, convnet):
    page = open_page(convnet, layers="conv3")
    assert _figure(page)[0]["layout"]["xaxis"]["type"] == "log"
    page.toggle(key="spectra-normalise").set_value(False)
    page.button_group(key="spectra-x").set_value("linear")
    page.slider(key="spectra-range-64").set_value((3, 20)).run()
    layout = _figure(_run(page))[0]["layout"]
    assert layout["xaxis"]["type"] == "linear"
    low, high = layout["xaxis"]["range"]
    assert 2 < low <= 3 and 20 <= high < 21
    assert "units of the weights" in layout["yaxis"]["title"]["text"]


@pytest.mark.parametrize(("kind", "label"), [("random", "conv3, random"), ("shuffled", "conv3, shuffled")])
def test_references_are_dotted(open_page, convnet, kind, label):
    page = open_page(convnet, layers="conv3")
    page.selectbox(key="spectra-reference").set_value(kind).run()
    assert _lines(_run(page)) == ["context", "conv3", label]


def test_another_checkpoint_is_offered_where_names_and_shapes_agree(open_page, convnet, monkeypatch):
    other = replace(convnet, model=replace(convnet.model, name="trained-twin", digest="0" * 16))
    page = open_page(convnet, layers="conv3")
    page.selectbox(key="spectra-reference").set_value("twin").run()
    assert "No other open model has layers of these names" in _words(_run(page))
    monkeypatch.setattr("app.spectra_controls.state.opened", lambda: (convnet, other))
    _run(page)
    assert _lines(page) == ["context", "conv3", "conv3, other checkpoint"]


def test_lines_stay_within_eight_and_context_also_with_references(open_page, convnet):
    copies = [replace(convnet.layers[2], view=replace(convnet.layers[2].view, name=f"c{i}")) for i in range(12)]
    page = open_page(replace(convnet, layers=tuple(copies)), layers=",".join(f"c{i}" for i in range(7)))
    page.selectbox(key="spectra-reference").set_value("random").run()
    assert len(_lines(_run(page))) == 9
    assert "References of 1 of 7 layers are drawn" in _words(page)


def test_payloads_stay_small(open_page):
    layer = journeys.demo_survey("digits-mlp").layer("fc2")
    survey = journeys.demo_survey("digits-mlp")
    many = tuple(replace(layer, view=replace(layer.view, name=f"blocks.{i}.mlp.fc2")) for i in range(60))
    page = open_page(replace(survey, layers=many), layers=",".join(v.view.name for v in many[:8]))
    assert len(_lines(page)) == 9
    for chart in page.get("plotly_chart"):
        assert len(chart.proto.spec) < MOST_BYTES
    assert len(_table(page).proto.arrow_data.data) < MOST_BYTES
    label = page.toggle(key="spectra-all").label
    assert label.startswith("Thinned to 1") and label.endswith(" of 192 points: show all")
    thinned = len(_figure(page)[0]["data"][1]["x"]["bdata"])
    page.toggle(key="spectra-all").set_value(True).run()
    assert len(_figure(_run(page))[0]["data"][1]["x"]["bdata"]) > 1.4 * thinned
    page.toggle(key="spectra-all").set_value(False).run()
    assert len(_figure(_run(page))[0]["data"][1]["x"]["bdata"]) == thinned


def test_the_matrix_is_chosen_for_plot_and_rules_alike(open_page, convnet):
    page = open_page(convnet, layers="conv3", layer="conv3")
    page.selectbox(key="spectra-matrix").set_value("spatial").run()
    _run(page)
    assert len(_figure(page)[0]["data"][1]["x"]) > 0
    assert "matrix: k × 1 | 1 × k" in _words(page)
    page.button(key="use-energy-90").click().run()
    _run(page)
    rank = next(
        m.rank for m in spectra_rows.marks(dict(convnet.layer("conv3").spectra)["spatial"]) if m.name == "energy-90"
    )
    assert _now(page).plan.form("conv3") == SpatialLowRank(rank)


def test_a_rule_hands_its_rank_to_tune_and_can_be_undone(open_page, convnet):
    page = open_page(convnet, layer="conv4")
    rank = next(m.rank for m in spectra_rows.marks(convnet.layer("conv4").spectrum) if m.name == "stable")
    page.button(key="use-stable").click().run()
    _run(page)
    assert _now(page).plan == Plan(convnet.model).with_form("conv4", LowRank(rank))
    assert f"In Tune this layer is **low-rank (k × k, then 1 × 1), {rank}**" in _words(page)
    assert page.session_state["tab"].past, "the plan before can be had back"


def test_a_rule_that_finds_nothing_has_no_rank_to_hand_over(open_page, convnet):
    page = open_page(convnet, layer="conv1")
    zero = [m for m in spectra_rows.marks(convnet.layer("conv1").spectrum) if m.rank == 0]
    assert zero, "this layer is noise to some rule"
    assert all(page.button(key=f"use-{mark.name}").disabled for mark in zero)


@pytest.mark.parametrize(
    ("tab", "key", "says"),
    [
        ("Error curves", "spectra-errors", "error of every form"),
        ("Eigenvalues", "spectra-eigenvalues", "eigenvalues"),
        ("All layers", "spectra-heatmap", "Every layer at once"),
    ],
)
def test_a_tab_draws_its_figure_and_no_other(open_page, convnet, tab, key, says):
    page = open_page(convnet, layers="conv3", layer="conv3")
    assert len(page.get("plotly_chart")) == 2, "spectra and rank rules"
    page.session_state["spectra-tab"] = tab
    _run(page)
    assert len(page.get("plotly_chart")) == 2
    spec, proto = _figure(page, key)
    assert spec["data"] and proto.alt and says in _words(page)


def test_error_curves_hold_every_family_plain_and_of_outputs(open_page, convnet):
    page = open_page(convnet, layer="conv3")
    page.session_state["spectra-tab"] = "Error curves"
    spec, _ = _figure(_run(page), "spectra-errors")
    assert len(spec["data"]) == 1 + len(convnet.layer("conv3").curves)
    assert convnet.calibration in _words(page).replace("\\", "")


def test_every_diagnostic_is_explained(open_page, convnet):
    page = open_page(convnet, layer="conv3")
    page.session_state["spectra-tab"] = "Eigenvalues"
    _run(page)
    found = {metric.label: metric.value for metric in page.metric}
    assert found["spikes"] == str(convnet.layer("conv3").diagnostics.spikes)
    assert len(found) == 15
    assert all(metric.proto.help for metric in page.metric)


def test_the_noise_edge_is_told_in_the_units_of_the_axis_it_stands_on(open_page, convnet):
    page = open_page(convnet, layer="conv3")
    edge = convnet.layer("conv3").diagnostics.mp_edge
    assert any(f"noise edge {edge:.3g}" in text for text in _notes(page, "spectra-rules")), "σ beside an axis of σ"
    page.session_state["spectra-tab"] = "Eigenvalues"
    _run(page)
    metric = next(metric for metric in page.metric if metric.label == "noise edge, λ")
    assert metric.value == f"{edge**2:.3g}" and f"σ = {edge:.3g}" in metric.proto.help
    assert any(f"noise edge λ = {edge**2:.3g}" in text for text in _notes(page, "spectra-eigenvalues"))
    line = next(shape["x0"] for shape in _figure(page, "spectra-eigenvalues")[0]["layout"]["shapes"])
    assert line == pytest.approx(float(metric.value), rel=0.01)


def test_the_ledger_holds_the_whole_network(open_page, convnet):
    page = open_page(convnet)
    page.session_state["spectra-tab"] = "Ledger"
    ledger = next(frame.value for frame in _run(page).dataframe if "what" in frame.value.columns)
    assert ledger["what"].tolist() == [*(view.name for view in convnet.views), "everything else", "total"]
    assert ledger["parameters"].tolist()[-1] == convnet.dense.params == sum(ledger["parameters"].tolist()[:-1])


def test_every_figure_has_words_and_a_twin_and_every_column_its_meaning(open_page, convnet):
    page = open_page(convnet, layers="conv3,fc", layer="conv3")
    assert all(chart.proto.alt for chart in page.get("plotly_chart"))
    assert "conv3" in _figure(page)[1].alt or "fc" in _figure(page)[1].alt
    assert [box.label for box in page.expander] == ["Show as table"] * 2
    columns = json.loads(_table(page).proto.columns)
    assert set(columns) >= set(_table(page).value.columns)
    assert all(columns[name]["help"] for name in _table(page).value.columns)


def test_the_table_twin_has_the_drawn_numbers(open_page, convnet):
    page = open_page(convnet, layers="conv3")
    page.session_state["spectra-figure-twin"] = True
    page.selectbox(key="spectra-reference").set_value("shuffled").run()
    twin = next(frame.value for frame in _run(page).dataframe if "rank" in frame.value and "conv3" in frame.value)
    assert list(twin) == ["rank", "conv3", "conv3, shuffled"]
    S = convnet.layer("conv3").spectrum.S
    assert twin["conv3"].tolist() == pytest.approx([s / S[0] for s in S], rel=1e-6)


def _damaged(survey, name):
    bad = survey.layer(name)
    why = "its weight holds NaN or infinite values"
    bad = replace(
        bad, view=replace(bad.view, finite=False), obstacle=why, spectra=(), whitened=None, shuffled=None,
        diagnostics=None, curves=(),
    )  # fmt: skip
    return replace(survey, layers=tuple(bad if layer.view.name == name else layer for layer in survey.layers))


@pytest.mark.parametrize("tab", ["Rank rules", "Error curves", "Eigenvalues", "All layers", "Ledger"])
def test_a_layer_of_nan_says_why_everywhere(open_page, convnet, tab):
    page = open_page(_damaged(convnet, "conv2"), layers="conv2,conv3", layer="conv2")
    page.session_state["spectra-tab"] = tab
    _run(page)
    assert _lines(page) == ["context", "conv3"]
    row = _table(page).value.set_index("layer").loc["conv2"]
    assert row["compressible"] == "no: its weight holds NaN or infinite values"
    assert any("its weight holds NaN" in warning.value for warning in page.warning)


@pytest.mark.parametrize("tab", ["Rank rules", "Error curves", "Eigenvalues", "All layers", "Ledger"])
def test_a_layer_of_zeros_is_no_accident(open_page, convnet, tab):
    layer = convnet.layer("fc")
    zeros = type(layer.spectrum).from_values(10, 64, [0.0] * 10)
    from core.numerics.diagnostics import diagnose

    flat = tuple(replace(c, plain=(0.0,) * len(c.at), output=()) for c in layer.curves)
    dead = replace(
        layer, spectra=(("rows", zeros),), whitened=None, shuffled=zeros, diagnostics=diagnose(zeros), curves=flat
    )
    page = open_page(replace(convnet, layers=(*convnet.layers[:-1], dead)), layers="fc,conv3", layer="fc")
    page.session_state["spectra-tab"] = tab
    _run(page)
    assert any("all zeros" in warning.value for warning in page.warning)


def test_weights_alone_say_why_macs_are_unknown(open_page, convnet):
    alone = replace(convnet, reason="its architecture was not recognised", calibration="")
    alone = replace(
        alone, layers=tuple(replace(v, view=replace(v.view, positions=0), whitened=None) for v in alone.layers)
    )
    page = open_page(alone, layers="conv3")
    assert _table(page).value["MACs"].tolist() == ["unknown"] * 5
    assert "MACs are unknown: its architecture was not recognised" in _words(page)
    assert "whitened" not in [str(option) for option in page.selectbox(key="spectra-matrix").options]


def test_what_was_chosen_for_another_model_does_not_hide_layers(open_page, convnet, monkeypatch):
    page = open_page(convnet)
    page.selectbox(key="spectra-matrix").set_value("spatial")
    page.button_group(key="spectra-kinds").set_value(["conv2d"]).run()
    assert len(_table(_run(page)).value) == 4
    mlp = journeys.demo_survey("digits-mlp")
    monkeypatch.setattr(services, "survey", lambda *args, **kwargs: mlp)
    assert _table(_run(page)).value["layer"].tolist() == ["fc1", "fc2", "fc3"]
    assert page.selectbox(key="spectra-matrix").value == "rows"


def test_a_model_without_layers_says_so(open_page, convnet):
    page = open_page(replace(convnet, layers=()))
    assert any("no layer with a weight matrix" in info.value for info in page.info)


def test_names_from_a_file_stay_text(open_page, convnet):
    name = "<img src=x onerror=alert(1)> **b** $x$, [a](b)"
    layer = convnet.layers[0]
    hostile = replace(convnet, layers=(replace(layer, view=replace(layer.view, name=name)), *convnet.layers[1:]))
    page = open_page(hostile)
    page.button(key="spectra-j").click().run()
    _run(page)
    assert _now(page).selected == (name,)
    assert "&lt;img" in _figure(page)[0]["data"][1]["name"] and "<img" not in _figure(page)[0]["data"][1]["name"]
    assert all(name not in m.value for m in page.markdown if "rank rules" in m.value)
