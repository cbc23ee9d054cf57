"""All layers at once: one row per layer, log-spaced index across, sigma / sigma_1 as brightness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from app.figures.labels import LONGEST
from app.figures.scales import Scale
from app.figures.text import plain, safe
from app.figures.theme import LIGHT, SEQUENTIAL, Theme, axis, dress
from app.figures.thinning import spectrum_of, values

if TYPE_CHECKING:
    from core.compression.survey import Survey
    from core.numerics.svd import Spectrum

MOST_DECADES = 4  # of sigma / sigma_1 that the colours span; smaller values share the darkest. Chosen
CELLS = 9000  # at most, so that 300 layers stay under 100 KiB


def heatmap_figure(survey: Survey, unfolding: str = "rows", *, look: Theme = LIGHT) -> go.Figure:
    """log10 of sigma_k / sigma_1 for every layer with a spectrum, in the model's order from the top. The colours span
    as many whole decades as 98 % of the cells need, at most MOST_DECADES."""
    named = _named(survey, unfolding)
    k = max((len(s.S) for _, s in named), default=2)
    edges = np.unique(np.rint(np.geomspace(1, k + 1, 1 + max(min(48, CELLS // max(len(named), 1)), 8))))
    z = np.full((len(named), len(edges) - 1), np.nan, dtype=np.float32)
    for i, (_, spectrum) in enumerate(named):
        ratio = np.nan_to_num(values(spectrum, "S"), nan=10.0 ** -(MOST_DECADES + 1))
        inside = edges[:-1] <= len(ratio)
        z[i, inside] = np.log10(ratio[edges[:-1][inside].astype(int) - 1])
    low = -float(np.nanquantile(z, 0.02)) if np.isfinite(z).any() else 1.0
    decades = min(max(math.ceil(low), 1), MOST_DECADES)
    shades = {"title": {"text": "σ<sub>k</sub> / σ<sub>1</sub>", "side": "top"}, "thickness": 12, "outlinewidth": 0}
    shades |= {"tickvals": list(range(-decades, 1)), "ticktext": [plain(10.0**d) for d in range(-decades, 1)]}
    names, height = [safe(name) for name, _ in named], int(min(max(110 + 1.4 * look.font_size * len(named), 240), 900))
    fig = go.Figure()
    fig.add_heatmap(
        x=edges - 0.5,
        y=names,
        z=z,
        zmin=-decades,
        zmax=0,
        colorscale=SEQUENTIAL,
        colorbar=shades,
        hoverongaps=False,
        hovertemplate="%{y}<br>k = %{x:.0f}: σ / σ₁ = 10<sup>%{z:.1f}</sup><extra></extra>",
    )
    every = max(1, math.ceil(1.3 * look.font_size * len(named) / (height - 90)))
    ticks = {"tickvals": names[::every], "ticktext": [safe(name, LONGEST) for name, _ in named[::every]]}
    x = Scale(1, k, log=True, pad=0.0).axis(
        look, "index k", range=[math.log10(0.51), math.log10(k + 0.5)], showgrid=False
    )
    y: dict[str, Any] = {"type": "category", "autorange": "reversed", "showgrid": False, **ticks}
    return dress(fig, look, "heatmap", height, xaxis=x, yaxis=axis(look, **y))


def heatmap_table(
    survey: Survey, unfolding: str = "rows", at: Sequence[int] = (1, 2, 5, 10, 20, 50, 100)
) -> dict[str, list[Any]]:
    """One row per layer: its name and sigma_k / sigma_1 at the ranks `at`, None past its end."""
    named = [(name, values(s, "S")) for name, s in _named(survey, unfolding)]
    ratio = {
        f"k = {r}": [float(y[r - 1]) if r <= len(y) and np.isfinite(y[r - 1]) else None for _, y in named] for r in at
    }
    return {"layer": [name for name, _ in named], **ratio}


def heatmap_alt(survey: Survey, unfolding: str = "rows") -> str:
    """Which layer is flattest and which steepest, by sigma at half the rank over sigma_1."""
    half = {name: float(np.nan_to_num(values(s, "S")[(len(s.S) - 1) // 2])) for name, s in _named(survey, unfolding)}
    if not half:
        return "No layer has a spectrum."
    flat, steep = max(half, key=half.__getitem__), min(half, key=half.__getitem__)
    return f"Flattest spectrum: {flat} (σ/σ₁ {half[flat]:.2g} at half its rank); steepest: {steep} ({half[steep]:.2g})."


def _named(survey: Survey, unfolding: str) -> list[tuple[str, Spectrum]]:
    return [(layer.view.name, s) for layer in survey.layers if (s := spectrum_of(layer, unfolding))]
