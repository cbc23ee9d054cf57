from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from app import widgets
from app.figures.theme import theme
from core import __version__


def test_csv_round_trips_with_empty_cells_for_what_is_missing():
    table = {"layer": ["a,b", 'say "x"', "ünï"], "rank": [1, None, 3], "error": [0.25, 0.5, None]}
    rows = [row[:-1] for row in csv.reader(io.StringIO(widgets.csv_text(table)))]
    assert rows == [["layer", "rank", "error"], ["a,b", "1", "0.25"], ['say "x"', "", "0.5"], ["ünï", "3", ""]]


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_a_name_never_becomes_a_formula(name):
    rows = [row[:-1] for row in csv.reader(io.StringIO(widgets.csv_text({name: [name], "n": [-1.5]})))]
    assert rows == [["'" + name, "n"], ["'" + name, "-1.5"]], "numbers keep their sign"


def test_every_row_says_when_and_with_what_it_was_made():
    rows = list(csv.DictReader(io.StringIO(widgets.csv_text({"rank": [1, 2]}))))
    assert all(row["made with"].startswith("20") and f"rankscope {__version__}" in row["made with"] for row in rows)
    assert widgets.csv_text({"rank": []}) == "rank,made with\n"


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError):
        widgets.csv_text({"a": [1], "b": [1, 2]})


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("digits-resnet-spectra", "digits-resnet-spectra"),
        ("../../etc/passwd", "etc-passwd"),
        ("a/b\\c:d", "a-b-c-d"),
        ("модель 1", "модель-1"),
        ("...", "rankscope"),
        ("x" * 300, "x" * 80),
    ],
)
def test_file_names_hold_no_path(name, file):
    assert widgets.file_name(name) == file


def _figure_page():
    import plotly.graph_objects as go

    from app import widgets

    fig = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))
    widgets.figure(fig, "It rises.", {"x": [1, 2], "y": [3, None]}, "a/b-rise", key="rise")


def test_a_figure_is_placed_with_its_words_and_an_offline_toolbar():
    page = AppTest.from_function(_figure_page).run()
    assert not page.exception
    chart = page.get("plotly_chart")[0].proto
    assert chart.alt == "It rises."
    assert chart.theme == ""
    config = json.loads(chart.config)
    assert config["toImageButtonOptions"]["filename"] == "a-b-rise"
    assert config["displaylogo"] is False


def test_the_table_twin_is_sent_only_when_it_is_open():
    page = AppTest.from_function(_figure_page).run()
    assert len(page.dataframe) == 0 and len(page.get("download_button")) == 0
    page.session_state["rise-twin"] = True
    page.run()
    assert not page.exception
    assert page.dataframe[0].value["x"].tolist() == [1, 2]
    assert page.get("download_button")[0].proto.label == "Save as CSV"
    assert page.get("download_button")[0].proto.ignore_rerun


def _choice_page():
    import streamlit as st

    from app import state, widgets

    shown = {"a": "Alpha", "b": "Beta"}
    found = widgets.choice("Pick", shown, "pick", term="rank", then=lambda value: state.keep("heard", value))
    st.markdown(f"{found} {state.value('heard')}")
    truth = widgets.choice("Truth", {80: "80 %", 90: "90 %"}, "truth", value=state.value("kept", 90))
    st.markdown(str(truth))


def test_a_choice_is_always_set_and_tells_of_a_change():
    page = AppTest.from_function(_choice_page).run()
    assert [m.value for m in page.markdown] == ["a None", "90"]
    assert page.button_group[0].proto.help
    page.button_group[0].set_value("b").run()
    assert page.markdown[0].value == "b b"


def test_a_choice_follows_a_truth_kept_elsewhere():
    page = AppTest.from_function(_choice_page).run()
    page.session_state["kept"] = 80
    page.run()
    assert page.markdown[1].value == "80"
    page.session_state["kept"] = 75
    page.run()
    assert page.markdown[1].value == "80", "not one of the options"


def _why_page():
    from app import widgets

    widgets.why("energy")


def test_why_opens_the_glossary():
    page = AppTest.from_function(_why_page).run()
    assert not page.exception
    assert page.markdown[0].value.startswith("**Energy.**")
    assert "Unit:" in page.markdown[0].value and "Source:" in page.markdown[0].value


def _look_page():
    import streamlit as st

    from app import widgets

    st.markdown(f"{widgets.look().background} {widgets.look().teaching}")


def test_the_look_is_light_until_the_browser_says_otherwise_and_follows_teaching():
    page = AppTest.from_function(_look_page).run()
    assert page.markdown[0].value == "#FFFFFF False"
    page = AppTest.from_function(_look_page)
    page.query_params["teach"] = "true"
    page.run()
    assert page.markdown[0].value == "#FFFFFF True"


def test_figures_are_dark_in_a_dark_browser(monkeypatch):
    monkeypatch.setattr(widgets.st, "context", SimpleNamespace(theme=SimpleNamespace(type="dark")))
    monkeypatch.setattr(widgets.state, "teaching", lambda: False)
    assert widgets.look() == theme(dark=True)
