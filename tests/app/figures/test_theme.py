from __future__ import annotations

import tomllib
from pathlib import Path

import plotly.graph_objects as go
import pytest

from app.figures import theme as th

CONFIG = Path(__file__).resolve().parents[3] / ".streamlit" / "config.toml"
LOOKS = {"light": th.theme(), "dark": th.theme(dark=True)}


def luminance(color: str) -> float:
    """WCAG 2.2, relative luminance of #RRGGBB."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_witness_knows_the_published_values():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", LOOKS)
def test_marks_keep_three_to_one_and_words_four_and_a_half(name):
    look = LOOKS[name]
    for color in (*look.palette, look.context):
        assert contrast(color, look.background) >= 3, color
    for color in (look.text, look.muted):
        for behind in (look.background, look.surface):
            assert contrast(color, behind) >= 4.5, (color, behind)


@pytest.mark.parametrize("name", LOOKS)
def test_streamlit_is_configured_with_the_same_colours(name):
    look, config = LOOKS[name], tomllib.loads(CONFIG.read_text())["theme"][name]
    assert tuple(config["chartCategoricalColors"]) == look.palette
    assert (config["backgroundColor"], config["secondaryBackgroundColor"]) == (look.background, look.surface)
    assert config["textColor"] == look.text
    assert len(config["chartSequentialColors"]) == 10
    assert contrast(config["primaryColor"], "#FFFFFF") >= 4.5, "white text on primary buttons"
    assert contrast(config["primaryColor"], look.background) >= 3
    assert contrast(config["linkColor"], look.background) >= 4.5


def test_the_installed_streamlit_knows_every_theme_option():
    from streamlit import config

    known = set(config.get_config_options())
    for name, options in tomllib.loads(CONFIG.read_text()).items():
        for option, value in options.items():
            nested = [f"{name}.{option}.{key}" for key in value] if isinstance(value, dict) else [f"{name}.{option}"]
            assert set(nested) <= known


@pytest.mark.parametrize("name", LOOKS)
def test_eight_series_all_differ_without_colour(name):
    look = LOOKS[name]
    assert len({look.symbol(i) for i in range(8)}) == 8
    assert len({look.glyph(i) for i in range(8)}) == 8
    assert len({(look.color(i), look.dash(i)) for i in range(8)}) == 8


def test_teaching_has_large_text_and_few_decimals():
    look = th.theme(teaching=True)
    assert look.font_size == look.small == 16
    assert look.line_width > th.LIGHT.line_width
    assert (look.percent(0.4812), th.LIGHT.percent(0.4812)) == ("48 %", "48.1 %")


def test_a_small_share_is_never_shown_as_nothing():
    assert th.LIGHT.percent(0.0) == "0.0 %"
    assert th.LIGHT.percent(0.0004) == "< 0.1 %"


def test_a_figure_carries_its_own_colours_and_keeps_the_zoom():
    fig = th.dress(go.Figure(), th.theme(dark=True), "spectra", height=300)
    assert fig.layout.paper_bgcolor == "#0E1117"
    assert fig.layout.font.color == "#E8EAED"
    assert (fig.layout.uirevision, fig.layout.height) == ("spectra", 300)


def test_the_toolbar_offers_no_upload():
    config = th.toolbar("spectra-demo")
    assert "sendChartToCloud" in config["modeBarButtonsToRemove"]
    assert config["showSendToCloud"] is False
    assert config["toImageButtonOptions"]["filename"] == "spectra-demo"
