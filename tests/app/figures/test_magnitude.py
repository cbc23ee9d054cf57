from __future__ import annotations

import numpy as np
import pytest

from app.figures.curves import LABELS
from app.figures.magnitude import REFERENCE, gaussian_error, magnitude_alt, magnitude_figure, magnitude_table


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.5, 0.9])
def test_gaussian_error_is_what_pruning_normal_weights_gives(keep):
    w = np.sort(np.square(np.random.default_rng(0).normal(size=400_000)))
    dropped = w[: round((1 - keep) * len(w))].sum()
    assert gaussian_error(keep) == pytest.approx(np.sqrt(dropped / w.sum()), rel=5e-3)


def test_gaussian_error_at_the_ends():
    assert gaussian_error(0.0) == 1 and gaussian_error(1.0) == 0


def test_rows_are_shown_as_per_cent_of_the_weights(make_layer):
    fig = magnitude_figure(make_layer("a").curves[2:])
    rows = next(trace for trace in fig.data if trace.name == LABELS["filters"])
    assert rows.x.tolist() == [25, 50, 100]
    assert rows.y.tolist() == pytest.approx([90, 70, 0])


def test_a_family_with_one_level_is_a_marker_that_is_drawn(make_layer):
    fig = magnitude_figure(make_layer("a").curves[2:])
    single = next(trace for trace in fig.data if trace.name == LABELS["sparse24"])
    assert len(single.x) == 1 and single.marker.maxdisplayed == 0


def test_the_reference_and_the_cut(make_layer):
    fig = magnitude_figure(make_layer("a").curves[2:], {"sparse": 35, "filters": 48})
    assert fig.data[-1].name == REFERENCE and fig.data[-1].line.dash == "dot"
    rings = {(s.xanchor, round(s.yanchor, 6)) for s in fig.layout.shapes}
    assert rings == {(35.0, 65.0), (75.0, 35.0)}
    assert {"35 %", "48 rows"} <= {a.text for a in fig.layout.annotations}


def test_the_table_compares_with_gaussian_weights(make_layer):
    table = magnitude_table(make_layer("a").curves[2:])
    assert table["% kept"][-3:] == [25, 50, 100]
    assert table["Gaussian weights"][-1] == 0


def test_the_alt_text_compares_at_half(make_layer):
    curves = make_layer("a").curves
    assert "more than Gaussian" in magnitude_alt(curves)
    curves[2].plain = tuple(0.5 * e for e in curves[2].plain)
    assert "less than Gaussian" in magnitude_alt(curves)
    assert "No unstructured" in magnitude_alt([])
