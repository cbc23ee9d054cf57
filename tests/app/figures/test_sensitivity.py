from __future__ import annotations

import math

import pytest

from app.figures.sensitivity import MOST, kept, proxy_figure, sensitivity_alt, sensitivity_figure, sensitivity_table
from core.compression.proxies import Proxy, ProxyPoint
from core.compression.sensitivity import LayerSensitivity
from tests.surveys import linear_layer, survey

NAMES = [f"fc{i}" for i in range(8)]
NET = survey([linear_layer(name, 8, 8, (1.0,) * 8) for name in NAMES])


def entry(name: str, scale: float) -> LayerSensitivity:
    return LayerSensitivity(
        name, "lowrank", (1, 2, 3), (scale, scale / 2, 0.0), (0.3, 0.2, 0.1), (0.5, 0.6, 0.7), (0.9, 0.5, 0.1), 64
    )


FOUND = [entry(name, 0.1 * (i + 1)) for i, name in enumerate(NAMES)]


def test_the_most_sensitive_layers_are_in_colour_and_the_rest_grey():
    fig = sensitivity_figure(FOUND, NET)
    colored = [trace for trace in fig.data if trace.name != "context"]
    assert [trace.name for trace in colored] == NAMES[: -MOST - 1 : -1] and len(fig.data) == MOST + 1
    assert list(colored[0].x) == pytest.approx([25, 50, 75]), "rank r of 8 x 8 keeps 16 r of 64"
    assert list(colored[0].y) == pytest.approx([0.8, 0.4, 1e-8])
    assert len(sensitivity_figure(FOUND[:2], NET).data) == 2, "nothing is grey then"


def test_shares_table_and_words():
    assert kept(FOUND[0], NET, "macs") == [25.0, 50.0, 75.0]
    table = sensitivity_table(FOUND[:1], NET)
    assert (
        table["level"] == [1, 2, 3]
        and table["damage"] == [0.1, 0.05, 0.0]
        and table["of its MACs"] == [0.25, 0.5, 0.75]
    )
    assert sensitivity_alt(FOUND, NET).endswith("at half of its MACs fc7 loses most, fc0 least.")
    assert sensitivity_alt([], NET) == "No layer is measured yet."


def test_a_score_is_drawn_against_the_damage_with_its_correlation():
    points = tuple(
        ProxyPoint(name, "lowrank", 1, i, d)
        for i, (name, d) in enumerate(zip(NAMES, (1, 2, 3, math.inf), strict=False))
    )
    fig = proxy_figure(Proxy("plain", "error of the weights", 0.5, 4, points), NET)
    assert list(fig.data[0].x) == [0, 1, 2] and list(fig.data[0].customdata) == NAMES[:3], (
        "infinite damage has no place"
    )
    assert any("+0.50" in note.text for note in fig.layout.annotations) and fig.layout.yaxis.type == "log"
    empty = proxy_figure(Proxy("plain", "error", None, 0, ()), NET)
    assert any("not defined" in note.text for note in empty.layout.annotations)
