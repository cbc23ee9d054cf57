from __future__ import annotations

import math

import pytest

from app.figures.rules import ZERO, rules_alt, rules_figure, rules_table
from core.catalogue import RankMark

RULES = [
    RankMark("energy", "energy 90 %", 40, "Eckart-Young-Mirsky"),
    RankMark("evbmf", "EVBMF", 0, "Nakajima et al."),
    RankMark("stable", "stable rank", 40, ""),
    RankMark("break", "break-even", 57, ""),
]


def rows(fig):
    return next(trace for trace in fig.data if trace.name == "rules")


def test_every_rule_has_its_own_row_at_its_rank(make_spectrum):
    marks = rows(rules_figure(make_spectrum(64, 576), RULES))
    assert sorted(marks.customdata) == ["break", "energy", "evbmf", "stable"]
    assert len(set(marks.y)) == 4, "no two labels share a height"
    height = dict(zip(marks.customdata, marks.y, strict=True))
    assert height["evbmf"] > height["energy"] > height["break"], "the smallest rank on top"
    at = dict(zip(marks.customdata, marks.x, strict=True))
    assert at == {"energy": 40, "evbmf": ZERO, "stable": 40, "break": 57}
    assert any("EVBMF: <b>0</b>" in text for text in marks.text)


def test_each_rule_has_a_line_up_through_the_spectrum(make_spectrum):
    lines = [s for s in rules_figure(make_spectrum(64, 576), RULES).layout.shapes if s.x0 == s.x1]
    assert sorted(s.x0 for s in lines) == [ZERO, 40, 40, 57]
    assert all(s.y1 == 1 and s.yref == "paper" for s in lines)


def test_rank_zero_is_on_the_axis_and_named(make_spectrum):
    axis = rules_figure(make_spectrum(64, 576), RULES).layout.xaxis
    assert axis.ticktext[0] == "0" and axis.tickvals[0] == ZERO
    assert axis.range[0] < math.log10(ZERO)
    linear = rules_figure(make_spectrum(64, 576), RULES, log_x=False)
    assert min(rows(linear).x) == 0 and linear.layout.xaxis.range[0] < 0


def test_the_noise_edge_and_the_zone_that_saves_nothing(make_spectrum):
    fig = rules_figure(make_spectrum(64, 576), RULES, edge=0.8, break_even=57)
    edge = next(s for s in fig.layout.shapes if s.y0 == 0.8)
    assert edge.y1 == 0.8 and edge.xref == "paper"
    zone = next(s for s in fig.layout.shapes if s.type == "rect")
    assert 57 < zone.x0 < 58 and zone.x1 >= 64
    words = " ".join(a.text for a in fig.layout.annotations)
    assert "noise edge 0.8" in words and "above rank 57" in words


def test_no_zone_without_a_break_even_or_when_every_rank_saves(make_spectrum):
    assert all(s.type != "rect" for s in rules_figure(make_spectrum(8, 8), [], break_even=8).layout.shapes)
    assert all(s.type != "rect" for s in rules_figure(make_spectrum(8, 8), []).layout.shapes)


def test_a_hostile_label_is_text(make_spectrum):
    marks = rows(rules_figure(make_spectrum(8, 8), [RankMark("x", "<b>x</b>", 3, "")]))
    assert "&lt;b&gt;" in marks.text[0] and marks.text[0].count("<b>") == 1


def test_the_table_has_energy_and_error_at_each_rank(make_spectrum):
    spectrum = make_spectrum(64, 576)
    table = rules_table(spectrum, RULES, 40)
    assert table["rank"] == [0, 40, 40, 57]
    assert table["energy"][1] == pytest.approx(sum(s**2 for s in spectrum.S[:40]) / sum(s**2 for s in spectrum.S))
    assert table["error"][0] == 1
    assert table["saves"] == [True, True, True, False]


def test_the_alt_text_gives_the_span_and_what_saves():
    text = rules_alt(RULES, 50)
    assert "from 0 (EVBMF) to 57 (break-even)" in text and "3 of 4" in text
    assert "no rank rule" in rules_alt([])
