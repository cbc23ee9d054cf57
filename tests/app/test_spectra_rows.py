from __future__ import annotations

import itertools
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from app import spectra_rows as sr
from core import journeys
from core.numerics.svd import Spectrum


@pytest.fixture(scope="module")
def survey():
    return journeys.demo_survey("digits-convnet")


@pytest.fixture(scope="module")
def broken(survey):
    """The same with a second layer whose weights are NaN."""
    bad = survey.layers[1]
    view = replace(bad.view, finite=False)
    why = "its weight holds NaN or infinite values"
    bad = replace(bad, view=view, obstacle=why, spectra=(), whitened=None, shuffled=None, diagnostics=None, curves=())
    return replace(survey, layers=(survey.layers[0], bad, *survey.layers[2:]))


def test_nothing_here_loads_streamlit_or_torch():
    code = (
        "import sys, app.spectra_rows, app.references; print([m for m in ('streamlit', 'torch') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_layer_has_a_row_of_numbers(survey):
    table = sr.table(survey, survey.layers, 90)
    assert table["layer"] == ["conv1", "conv2", "conv3", "conv4", "fc"]
    assert {len(column) for column in table.values()} == {5}
    assert table["compressible"] == ["yes"] * 5
    conv2 = survey.layer("conv2").spectrum
    energy = sum(s * s for s in conv2.S)
    rank = table["rank"][1]
    assert sum(s * s for s in conv2.S[:rank]) >= 0.9 * energy > sum(s * s for s in conv2.S[: rank - 1])
    assert table["parameters"][4] == 64 * 10 + 10
    assert table["MACs"][1] == 32 * 24 * 9 * 64
    even = table["break-even"][1]
    assert even * (32 + 24 * 9) < 32 * 24 * 9 <= (even + 1) * (32 + 24 * 9)


def test_more_energy_needs_no_smaller_rank(survey):
    ranks = [sr.table(survey, survey.layers, energy)["rank"] for energy in (80, 90, 95, 99)]
    assert all(a <= b for low, high in itertools.pairwise(ranks) for a, b in zip(low, high, strict=True))


def test_a_layer_without_finite_weights_has_its_reason_and_nothing_else(broken):
    table = sr.table(broken, broken.layers, 90)
    row = {name: column[1] for name, column in table.items()}
    assert row["compressible"] == "no: its weight holds NaN or infinite values"
    empty = ("log σ", "rank", "break-even", "stable rank", "entropy rank", "numerical rank", "alpha", "spikes")
    assert [row[name] for name in empty] == [None] * len(empty)


def test_weights_alone_have_no_macs(survey):
    alone = replace(survey, reason="its architecture was not recognised")
    assert sr.table(alone, alone.layers, 90)["MACs"] == ["unknown"] * 5
    assert set(sr.ledger(alone)["MACs"]) == {"unknown"}


def test_sparklines_fall_from_zero_to_a_common_floor():
    line = sr.sparkline(Spectrum.from_values(300, 300, [10.0 ** (-k / 20) for k in range(300)]))
    assert line[0] == 0.0 and line[-1] == sr.SPARK_FLOOR
    assert line == sorted(line, reverse=True) and 5 < len(line) <= sr.SPARK
    assert sr.sparkline(None) is None
    assert sr.sparkline(Spectrum.from_values(3, 3, [0.0, 0.0, 0.0])) is None
    assert sr.spark_low([None, [0.0, -0.5], [0.0, -1.5]]) == -1.5


@pytest.mark.parametrize("name", ["digits-resnet", "digits-mlp", "digits-convnet", "digits-vit"])
def test_the_ledger_adds_up_to_the_whole_network(name):
    survey = journeys.demo_survey(name)
    ledger = sr.ledger(survey)
    assert ledger["what"][-2:] == ["everything else", "total"]
    assert sum(ledger["parameters"][:-1]) == ledger["parameters"][-1] == survey.dense.params
    assert sum(ledger["MACs"][:-1]) == ledger["MACs"][-1] == survey.dense.macs
    assert sum(ledger["share"][:-1]) == pytest.approx(1.0)
    assert all(line in ledger["compressible"][-2] for line in survey.rest_lines)


def test_a_tied_weight_is_counted_once(survey):
    first = survey.layers[0]
    again = replace(first, view=replace(first.view, name="again", tied_to="conv1"), obstacle="it shares its weight")
    tied = replace(survey, layers=(*survey.layers, again))
    ledger = sr.ledger(tied)
    assert ledger["parameters"][5] == 0
    assert sum(ledger["parameters"][:-1]) == tied.dense.params == survey.dense.params


def test_the_ledger_says_how_much_can_be_compressed(survey, broken):
    held = 1 - survey.rest.params / survey.dense.params
    assert sr.ledger_sentences(survey) == [f"5 of 5 layers can be compressed; they hold {held:.1%} of the parameters."]
    first, *more = sr.ledger_sentences(broken)
    assert first.startswith("4 of 5 layers")
    assert more == ["1 cannot: its weight holds NaN or infinite values."]


def test_the_matrices_offered_are_those_the_layers_have(survey):
    assert list(sr.matrices(survey)) == ["rows", "columns", "spatial", "whitened"]
    mlp = journeys.demo_survey("digits-mlp")
    assert sr.matrices(mlp) == {"rows": "the weights", "whitened": "whitened"}
    plain = replace(mlp, layers=tuple(replace(layer, whitened=None) for layer in mlp.layers))
    assert sr.matrices(plain) == {"rows": "the weights"}
    assert sr.matrices(replace(mlp, layers=())) == {"rows": "the weights"}


def test_a_layer_is_seen_as_one_of_its_matrices(survey, broken):
    conv = survey.layer("conv2")
    assert sr.seen_as(conv, "whitened").spectrum == conv.whitened
    assert sr.seen_as(conv, "columns").spectrum == dict(conv.spectra)["columns"]
    assert sr.seen_as(broken.layers[1], "rows").spectra == ()
    assert [len(layer.spectra) for layer in sr.whole_as(broken, "rows").layers] == [1, 0, 1, 1, 1]


def test_layers_are_filtered_by_kind_and_every_word(survey):
    def names(*wanted, search=""):
        return [layer.view.name for layer in sr.filtered(survey, wanted, search)]

    assert names() == ["conv1", "conv2", "conv3", "conv4", "fc"]
    assert names("linear") == ["fc"]
    assert names("conv2d", search="3 CONV") == ["conv3"]
    assert names(search="nothing like it") == []
    assert sr.kinds(survey) == ["conv2d", "linear"]


NAMES = [f"l{i}" for i in range(12)]


def test_a_tick_comes_last_and_is_in_hand():
    assert sr.ticked(("l3",), "l3", NAMES, [1, 3]) == (("l3", "l1"), "l1")


def test_an_untick_hands_over_to_the_last_that_is_left():
    assert sr.ticked(("l3", "l1"), "l1", NAMES, [3]) == (("l3",), "l3")
    assert sr.ticked(("l3", "l1"), "l3", NAMES, [3]) == (("l3",), "l3")
    assert sr.ticked(("l3",), "l3", NAMES, []) == ((), "l3")


def test_a_layer_in_hand_that_was_never_ticked_stays_in_hand():
    assert sr.ticked(("l3", "l1"), "l7", NAMES, [3]) == (("l3",), "l7")


def test_ticks_outside_the_filter_stay():
    assert sr.ticked(("x", "l0"), "x", ["l0", "l1"], [1]) == (("x", "l1"), "l1")


def test_a_ninth_tick_replaces_the_oldest():
    eight = tuple(NAMES[:8])
    assert sr.ticked(eight, "l7", NAMES, range(9)) == ((*NAMES[1:8], "l8"), "l8")
    assert sr.added(eight, "l9") == (*NAMES[1:8], "l9")
    assert sr.added(eight, "l2") == eight


def test_ticking_all_takes_the_first_eight():
    assert sr.ticked((), "l5", NAMES, range(12)) == (tuple(NAMES[:8]), "l5")
    assert sr.ticked(("l9",), "l9", NAMES, range(12))[0] == ("l9", *NAMES[:7])


def test_stepping_first_ticks_the_layer_in_hand_then_moves_round():
    assert sr.stepped((), "l2", NAMES, 1) == (("l2",), "l2")
    assert sr.stepped(("l2",), "l2", NAMES, 1) == (("l3",), "l3")
    assert sr.stepped(("l2",), "l2", NAMES, -1) == (("l1",), "l1")
    assert sr.stepped(("l11",), "l11", NAMES, 1) == (("l0",), "l0")
    assert sr.stepped(("l0",), "l0", NAMES, -1) == (("l11",), "l11")


def test_stepping_moves_among_several_ticked():
    assert sr.stepped(("l5", "l2"), "l5", NAMES, 1) == (("l5", "l2"), "l2")
    assert sr.stepped(("l5", "l2"), "l2", NAMES, 1) == (("l5", "l2"), "l5")


def test_stepping_where_the_filter_hides_the_layer_in_hand_starts_at_an_end():
    assert sr.stepped(("x",), "x", NAMES, 1) == (("l0",), "l0")
    assert sr.stepped((), "x", NAMES, -1) == (("l11",), "l11")
    assert sr.stepped(("x",), "x", [], 1) == (("x",), "x")


def test_shares_are_costs_over_the_dense_layer(survey):
    layer = survey.layer("conv3")
    shares = sr.shares(layer)
    dense = 48 * 32 * 9 + (48 if layer.view.bias else 0)
    bias = 48 if layer.view.bias else 0
    assert shares["lowrank"][0] == pytest.approx((48 + 32 * 9 + bias) / dense)
    assert shares["sparse24"] == [pytest.approx((48 * 32 * 9 / 2 + bias) / dense)]
    assert set(shares) == {curve.family for curve in layer.curves}


def test_marks_and_diagnostics_are_computed_once(survey):
    spectrum = dict(survey.layer("conv3").spectra)["columns"]
    assert sr.marks(spectrum) is sr.marks(spectrum)
    assert sr.diagnostics_of(spectrum) is sr.diagnostics_of(spectrum)
    assert math.isfinite(sr.diagnostics_of(spectrum).mp_edge)
    assert sr.diagnostics_of(survey.layer("conv3").spectrum) == survey.layer("conv3").diagnostics
