from __future__ import annotations

import pytest

from app.figures.curves import LABELS, RANKED, error_curves_alt, error_curves_figure, error_curves_table

SHARE = {"sparse24": [0.5], "sparse": [p / 10 for p in range(1, 11)], "filters": [0.25, 0.5, 1.0]}


def named(fig, text):
    return next(trace for trace in fig.data if trace.name == text)


def shares(layer):
    return SHARE | {family: [r / 57 for r in range(1, 65)] for family in ("lowrank", "spatial")}


def test_ranks_alone_show_the_families_whose_level_is_a_rank(make_layer):
    fig = error_curves_figure(make_layer("a"))
    assert {trace.name for trace in fig.data} == {"context", LABELS["lowrank"], LABELS["spatial"]}
    line = named(fig, LABELS["lowrank"])
    assert line.y[0] == pytest.approx(50 * make_layer("a").curves[0].plain[0], rel=1e-6), "outputs, in per cent"
    assert set(line.customdata) == {"lowrank"}


def test_the_weights_error_is_one_grey_trace(make_layer):
    grey = error_curves_figure(make_layer("a")).data[0]
    assert grey.line.dash == "dot"
    assert set(grey.customdata) == {f"{LABELS[f]}, weights" for f in ("lowrank", "spatial")}


def test_without_outputs_the_weights_error_takes_the_colour(make_layer):
    layer = make_layer("a")
    for curve in layer.curves:
        curve.output = ()
    fig = error_curves_figure(layer)
    assert all(trace.name != "context" for trace in fig.data)
    assert named(fig, LABELS["lowrank"]).y[0] == pytest.approx(100 * layer.curves[0].plain[0], rel=1e-6)


def test_with_shares_every_family_is_on_one_axis(make_layer):
    fig = error_curves_figure(make_layer("a"), share=shares(None), cuts={"lowrank": 20, "sparse": 35, "filters": 48})
    assert len(fig.data) == 5 + 1
    assert named(fig, LABELS["sparse24"]).x.tolist() == [50]
    assert named(fig, LABELS["lowrank"]).x[-1] == pytest.approx(100 * 64 / 57)
    assert {a.text for a in fig.layout.annotations} >= {"r = 20", "35 %", "48 rows"}
    at = [s.xanchor for s in fig.layout.shapes if s.type == "path"]
    assert sorted(at) == pytest.approx(sorted([100 * 20 / 57, 35, 75]))
    assert next(s for s in fig.layout.shapes if s.type == "rect").x0 == 100


def test_break_even_ranks_are_bars_with_their_number(make_layer):
    fig = error_curves_figure(make_layer("a"), even={"lowrank": 57, "spatial": 0})
    bars = [s for s in fig.layout.shapes if s.type == "path"]
    assert [s.xanchor for s in bars] == [57]
    assert bars[0].yanchor == pytest.approx(50 * make_layer("a").curves[0].plain[56])
    assert any(a.text == "57" for a in fig.layout.annotations)


def test_a_family_has_one_colour_whatever_else_is_shown(make_layer):
    layer = make_layer("a")
    full = named(error_curves_figure(layer), LABELS["spatial"]).line.color
    assert full != named(error_curves_figure(layer), LABELS["lowrank"]).line.color
    layer.curves = layer.curves[1:2]
    assert named(error_curves_figure(layer), LABELS["spatial"]).line.color == full


def test_a_layer_without_a_kernel_has_plain_low_rank(make_layer):
    assert "low rank" in {trace.name for trace in error_curves_figure(make_layer("fc", kernel=())).data}


def test_a_layer_without_curves_still_draws(make_layer):
    layer = make_layer("a")
    layer.curves = ()
    assert not error_curves_figure(layer).data


def test_the_table_has_every_level_of_every_family(make_layer):
    table = error_curves_table(make_layer("a"))
    assert len(table["level"]) == 64 + 64 + 10 + 1 + 3
    assert {u for u, f in zip(table["unit"], table["family"], strict=True) if f in map(LABELS.get, RANKED)} == {"rank"}
    assert "rows kept" in table["unit"] and table["outputs error"][-1] is None


def test_the_alt_text_names_the_best_family(make_layer):
    text = error_curves_alt(make_layer("a"), shares(None), 0.5)
    assert LABELS["spatial"] in text
    assert "No form" in error_curves_alt(make_layer("a"), {}, 0.5)
