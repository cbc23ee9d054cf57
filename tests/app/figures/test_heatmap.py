from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from app.figures.heatmap import heatmap_alt, heatmap_figure, heatmap_table


def test_one_row_per_layer_and_gaps_past_its_end(make_layer):
    survey = SimpleNamespace(layers=[make_layer("a", 8, 9), make_layer("b", 64, 576), make_layer("c", 8, 9)])
    trace = heatmap_figure(survey).data[0]
    assert list(trace.y) == ["a", "b", "c"]
    z = np.asarray(trace.z)
    assert np.isnan(z[0]).any() and not np.isnan(z[1]).any()
    assert z[1][0] == 0, "sigma_1 over itself"
    first = np.asarray(trace.x)[:-1] + 0.5
    assert np.isfinite(z[0]).tolist() == (first <= 8).tolist() and 8 in first


def test_a_cell_is_the_log_of_the_ratio_at_its_first_index(make_layer):
    trace = heatmap_figure(SimpleNamespace(layers=[make_layer("b", 64, 576, 0.5)])).data[0]
    first = np.asarray(trace.x)[:-1] + 0.5
    assert np.allclose(np.asarray(trace.z)[0], -0.5 * np.log10(first), atol=1e-5)
    assert trace.colorscale is not None and trace.zmax == 0 and trace.zmin == -1


@pytest.mark.parametrize("num", [40, 300, 800])
def test_many_layers_stay_small(make_layer, num):
    spectra = make_layer("one", 512, 600).spectra
    names = [SimpleNamespace(name=f"stage{i}.conv") for i in range(num)]
    survey = SimpleNamespace(layers=[SimpleNamespace(view=view, spectra=spectra) for view in names])
    fig = heatmap_figure(survey)
    assert len(fig.to_json()) <= 100 * 1024
    assert fig.layout.height <= 900
    assert len(fig.layout.yaxis.tickvals) * 12 <= fig.layout.height, "labels do not overlap"


def test_the_table_and_the_alt_text(make_layer):
    survey = SimpleNamespace(layers=[make_layer("flat", 8, 9, 0.1), make_layer("steep", 8, 9, 2.0)])
    table = heatmap_table(survey, at=(1, 5, 10))
    assert table["layer"] == ["flat", "steep"]
    assert table["k = 5"] == pytest.approx([5**-0.1, 5**-2.0]) and table["k = 10"] == [None, None]
    text = heatmap_alt(survey)
    assert "Flattest spectrum: flat" in text and "steepest: steep" in text
    assert heatmap_alt(SimpleNamespace(layers=[])) == "No layer has a spectrum."
    assert heatmap_figure(SimpleNamespace(layers=[])).layout.height >= 240
