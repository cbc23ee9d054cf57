from __future__ import annotations

import math

import pytest

from app.figures.scales import PERCENT, Scale, log_ticks
from app.figures.theme import LIGHT


def test_axis_units_are_log10_on_logarithmic_axes_only():
    assert Scale(1, 100, log=True).to(10) == pytest.approx(1)
    assert Scale(1, 100).to(10) == 10


def test_padding_is_a_share_of_the_axis():
    assert Scale(1, 100, log=True, pad=0.1).range == pytest.approx((-0.2, 2.2))
    assert Scale(0, 100, pad=0.1).range == pytest.approx((-10, 110))


def test_short_log_axes_have_steps_and_long_ones_powers():
    assert log_ticks(1, 64)["tickvals"] == [1, 2, 5, 10, 20, 50]
    assert log_ticks(1e-4, 1)["tickvals"] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert log_ticks(1e-4, 1)["ticktext"][0] == "10⁻⁴"


def test_an_axis_has_a_title_a_unit_and_a_range():
    made = Scale(0, 100, suffix=PERCENT).axis(LIGHT, "energy kept")
    assert made["title"]["text"] == "energy kept"
    assert made["ticksuffix"] == " %"
    assert made["range"] == (-2, 102) and made["type"] == "linear"
    assert all(math.isfinite(v) for v in made["range"])
