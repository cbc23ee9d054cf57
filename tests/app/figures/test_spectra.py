from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from app.figures.spectra import spectra_alt, spectra_figure, spectra_note, spectra_table
from app.figures.spectra_view import SpectraView
from app.figures.theme import theme


def test_every_other_layer_is_in_one_grey_trace_joined_by_gaps(forty):
    fig = spectra_figure(forty[:2], forty)
    assert len(fig.data) == 3
    grey = fig.data[0]
    assert np.isnan(grey.y).sum() == 38
    assert set(grey.customdata) == {layer.view.name for layer in forty[2:]}


def test_every_point_of_a_chosen_layer_names_it_and_can_be_clicked(forty):
    line = spectra_figure(forty[:1], forty).data[1]
    assert line.mode == "lines+markers"
    assert set(line.customdata) == {forty[0].view.name} and len(line.customdata) == len(line.x)


def test_the_line_is_the_spectrum(make_layer):
    line = spectra_figure([make_layer("a", 8, 9)], view=SpectraView(normalise=False)).data[0]
    assert np.allclose(line.y, 3.0 * np.arange(1, 9) ** -0.5)
    assert line.x.tolist() == list(range(1, 9))


def test_energy_is_drawn_in_per_cent(make_layer):
    fig = spectra_figure([make_layer("a", 8, 9)], view=SpectraView("energy"))
    assert fig.data[0].y[-1] == pytest.approx(100)
    assert fig.layout.yaxis.ticksuffix == " %"


def test_eight_lines_never_share_colour_and_dash(forty):
    lines = spectra_figure(forty[:8], forty).data[1:]
    assert len({(line.line.color, line.line.dash) for line in lines}) == 8
    assert len({line.marker.symbol for line in lines}) == 8


@pytest.mark.parametrize("num", [0, 1, 8])
@pytest.mark.parametrize("quantity", ["S", "energy", "error"])
def test_forty_layers_stay_under_the_payload_and_trace_budgets(forty, num, quantity):
    fig = spectra_figure(forty[:num], forty, SpectraView(quantity), cuts={layer.view.name: 20 for layer in forty})
    assert len(fig.to_json()) <= 100 * 1024
    assert len(fig.data) <= 8 + 1


def test_three_hundred_layers_stay_under_the_hard_limit(make_layer):
    layers = [make_layer(f"transformer.h.{i}.mlp.c_fc", 256, 256) for i in range(300)]
    assert len(spectra_figure(layers[:8], layers).to_json()) <= 250 * 1024


def test_too_many_lines_are_refused(forty, make_spectrum):
    with pytest.raises(ValueError, match="at most 8 layers"):
        spectra_figure(forty[:9], forty)
    with pytest.raises(ValueError, match="3 references"):
        spectra_figure([], forty, reference=[("x", make_spectrum(4, 4))] * 4)


def test_a_cut_is_ringed_on_the_line_at_its_rank(make_layer):
    fig = spectra_figure([make_layer("a", 64, 576)], cuts={"a": 16})
    shape = fig.layout.shapes[0]
    assert (shape.xanchor, shape.yanchor) == pytest.approx((16, 16**-0.5))
    word = next(a for a in fig.layout.annotations if a.text == "r = 16")
    assert word.x == pytest.approx(math.log10(16))


def test_a_cut_outside_the_range_is_not_drawn(make_layer):
    view = SpectraView(index_range=(20, 40))
    assert not spectra_figure([make_layer("a")], view=view, cuts={"a": 10}).layout.shapes


def test_the_index_range_sets_the_axis(make_layer):
    axis = spectra_figure([make_layer("a")], view=SpectraView(index_range=(10, 40), log_x=False)).layout.xaxis
    assert axis.range[0] == pytest.approx(10, abs=1) and axis.range[1] == pytest.approx(40, abs=1)


def test_references_are_dotted_and_labelled(make_layer, make_spectrum):
    fig = spectra_figure([make_layer("a")], reference=[("shuffled", make_spectrum(64, 576, 0.1))])
    assert fig.data[-1].line.dash == "dot" and fig.data[-1].name == "shuffled"
    assert any("shuffled" in a.text for a in fig.layout.annotations)


def test_each_chosen_layer_has_a_label_at_its_end(forty):
    words = " ".join(a.text for a in spectra_figure(forty[:3], forty).layout.annotations)
    assert all(layer.view.name[-12:] in words for layer in forty[:3])


def test_hostile_names_are_text_but_stay_exact_in_customdata(make_layer):
    name = "<img src=x onerror=alert(1)>"
    fig = spectra_figure([make_layer(name)], [make_layer(name + "2")])
    assert "<img" not in fig.data[1].name and fig.data[1].customdata[0] == name
    assert "<img" not in fig.data[0].text[0] and fig.data[0].customdata[0] == name + "2"
    assert all("<img" not in a.text for a in fig.layout.annotations)


def test_axes_have_titles_with_units_and_the_zoom_is_kept(make_layer):
    layout = spectra_figure([make_layer("a")], view=SpectraView(normalise=False)).layout
    assert layout.xaxis.title.text and "units" in layout.yaxis.title.text
    assert layout.uirevision == "spectra"


def test_a_layer_without_a_spectrum_and_an_empty_selection_still_draw(make_layer):
    broken = SimpleNamespace(view=SimpleNamespace(name="nan"), spectra=())
    assert len(spectra_figure([broken], [broken, make_layer("a")]).data) == 1
    assert "tick a row" in spectra_figure([], []).layout.annotations[0].text


def test_a_layer_of_zeros_draws_no_point_but_its_name_is_known():
    from core.numerics.svd import Spectrum

    zero = SimpleNamespace(
        view=SimpleNamespace(name="zero"), spectra=(("rows", Spectrum.from_values(3, 3, [0.0] * 3)),)
    )
    fig = spectra_figure([zero])
    assert np.isnan(fig.data[0].y).all() and fig.data[0].name == "zero"


def test_the_table_holds_what_is_drawn(make_layer):
    table = spectra_table([make_layer("a", 4, 9), make_layer("b", 2, 9)], SpectraView("error"))
    a, b = "a: relative error of the weights", "b: relative error of the weights"
    assert list(table) == ["rank", a, b]
    assert table["rank"] == [1, 2, 3, 4]
    assert table[b][1:] == [0.0, None, None]
    assert table[a][0] == pytest.approx(make_layer("a", 4, 9).spectra[0][1].error(1))


def test_the_alt_text_names_the_slowest_decay(make_layer):
    text = spectra_alt([make_layer("quick", decay=2.0), make_layer("slow", decay=0.1)])
    assert "Slowest decay: slow" in text and "fastest: quick" in text
    assert "none is selected" in spectra_alt([])


@pytest.mark.parametrize("matrix", ["rows", "columns", "spatial", "whitened"])
@pytest.mark.parametrize("quantity", ["S", "energy", "error"])
def test_axis_table_and_alt_text_say_of_which_matrix(make_layer, quantity, matrix):
    layers, view = [make_layer("a"), make_layer("b")], SpectraView(quantity, normalise=False, unfolding=matrix)
    axis = spectra_figure(layers, view=view).layout.yaxis.title.text
    words = " ".join([axis, *spectra_table(layers, view), spectra_alt(layers, view)])
    assert ("output" in words) == (matrix == "whitened") and ("weights" in words) == (matrix != "whitened")
    said = {"S": "singular value", "energy": "energy kept", "error": "relative error of the"}[quantity]
    assert said in axis
    if quantity != "S":
        assert all(axis in text for text in list(spectra_table(layers, view))[1:])
        assert axis.capitalize() in spectra_alt(layers, view)


def test_the_note_reports_thinning_and_can_be_switched_off(forty):
    shown = spectra_figure(forty[:8]).data[0].x
    assert 100 <= len(shown) <= 120
    assert spectra_note(forty[:8]) == f"Thinned to {len(shown)} of 512 points"
    assert spectra_note(forty[:8], SpectraView(points=None)) == ""
    full = spectra_figure(forty[:1], view=SpectraView(points=None)).data[0]
    assert len(full.x) == 512


def test_teaching_and_dark_change_the_look(make_layer):
    fig = spectra_figure([make_layer("a")], look=theme(dark=True, teaching=True))
    assert fig.layout.font.size == 16 and fig.data[0].line.color == "#56B4E9"
