from __future__ import annotations

import pytest

from app.figures.text import count, plain, safe


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (272474, "272 k"),
        (999_600, "1.00 M"),
        (40.8e6, "40.8 M"),
        (5e9, "5.00 G"),
    ],
)
def test_counts_have_three_significant_digits(number, text):
    assert count(number) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (0.005, "0.005"), (20, "20"), (1e-5, "10⁻⁵"), (2e-7, "2·10⁻⁷"), (1e6, "10⁶")]
)
def test_numbers_are_written_as_people_do(value, text):
    assert plain(value) == text


def test_names_are_literal_text():
    assert safe("a<b>&c") == "a&lt;b&gt;&amp;c"
    assert safe('it\'s "x"') == 'it\'s "x"', "quotes need no escape in text"


def test_long_names_lose_their_middle_not_their_ends():
    short = safe("transformer.encoder.layers.11.self_attn.in_proj", 20)
    assert len(short) == 20
    assert short.startswith("transform") and short.endswith(".in_proj") and "…" in short
