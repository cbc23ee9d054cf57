"""Eigenvalues of one layer as a histogram, with its power-law tail, the noise bulk and the shuffled layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from app.figures.eigenvalues import bulk, histogram, tail
from app.figures.labels import End, end_labels, margin
from app.figures.lines import dotted, note
from app.figures.scales import Scale
from app.figures.theme import LIGHT, Theme, dress

if TYPE_CHECKING:
    from core.numerics.diagnostics import Diagnostics
    from core.numerics.svd import Spectrum

LEAST = 0.5  # eigenvalues per bin: the foot of the logarithmic count axis. Chosen, half a count


def esd_figure(
    spectrum: Spectrum, diagnostics: Diagnostics | None = None, shuffled: Spectrum | None = None, *,
    look: Theme = LIGHT, height: int = 380,
) -> go.Figure:  # fmt: skip
    """Number of eigenvalues lam = sigma² in log-spaced bins, both axes logarithmic; a power law is a straight line.

    `diagnostics` adds the fitted tail (alpha, alpha_tail), the Marchenko-Pastur bulk and its edge (mp_edge, spikes);
    `shuffled` the same layer with its entries permuted, which has no structure left."""
    edges, heights = histogram(spectrum)
    fig, ends, lines = go.Figure(), [], []
    fig.add_bar(
        x=(edges[1:] + edges[:-1]) / 2,
        y=heights,
        width=np.diff(edges),
        name="eigenvalues",
        marker={"color": look.color(0), "opacity": 0.55, "line": {"width": 0}},
        customdata=np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float32),
        hovertemplate="λ from %{customdata[0]:.3g} to %{customdata[1]:.3g}: %{y}<extra></extra>",
    )
    if diagnostics is not None:
        if diagnostics.alpha and diagnostics.alpha_tail > 1:
            fitted = tail(spectrum, diagnostics.alpha, diagnostics.alpha_tail, edges)
            lines.append((f"tail α = {diagnostics.alpha:.2f}", *fitted, 1, "╌"))
        if heights.any():
            lines.append(("noise bulk (MP)", *bulk(spectrum, edges), 2, "┈"))
    for name, at, counts, i, glyph in lines:
        if (shown := counts >= LEAST).any():
            style = {"color": look.color(i), "dash": look.dash(i), "width": look.line_width}
            hover = f"{name}: %{{y:.2g}}<extra></extra>"
            fig.add_scatter(x=at[shown], y=counts[shown], mode="lines", name=name, line=style, hovertemplate=hover)
            ends.append(End(name, float(at[shown][-1]), float(counts[shown][-1]), look.color(i), glyph))
    if shuffled is not None and (counts := histogram(shuffled, edges)[1]).any():
        steps = np.where(counts > 0, counts, np.nan)
        dotted(fig, "shuffled", np.repeat(edges, 2)[1:-1], np.repeat(steps, 2), look, unit="λ")
        last = int(np.flatnonzero(counts)[-1])
        ends.append(End("shuffled", float(edges[last + 1]), float(counts[last]), look.muted, "┄"))
    x, top = Scale(float(edges[0]), float(edges[-1]), log=True), [float(line[2].max()) for line in lines]
    y = Scale(LEAST, max(2.0, float(heights.max()), *top), log=True, pad=0.05)
    if diagnostics is not None and x.low < (edge := diagnostics.mp_edge**2) < x.high:
        style = {"color": look.color(2), "width": 1.5, "dash": "dash"}
        fig.add_shape(type="line", x0=edge, x1=edge, y0=0, y1=1, yref="paper", line=style)
        share = (x.to(edge) - x.range[0]) / (x.range[1] - x.range[0])
        note(fig, f"noise edge λ = {edge:.3g}; {diagnostics.spikes} above it", look, share, "center")
    end_labels(fig, ends, x, y, look, height)
    axes = {"xaxis": x.axis(look, "eigenvalue λ = σ²"), "yaxis": y.axis(look, "eigenvalues in the bin")}
    return dress(fig, look, "esd", height, margin([e.name for e in ends], look), bargap=0, **axes)


def esd_table(spectrum: Spectrum, shuffled: Spectrum | None = None) -> dict[str, list[float]]:
    """One row per bin: its ends and how many eigenvalues of the layer, and of the shuffled layer, it holds."""
    edges, heights = histogram(spectrum)
    table = {"from": edges[:-1].tolist(), "to": edges[1:].tolist(), "eigenvalues": heights.tolist()}
    return table | ({"shuffled": histogram(shuffled, edges)[1].tolist()} if shuffled is not None else {})


def esd_alt(diagnostics: Diagnostics | None) -> str:
    """How many eigenvalues stand above the noise edge, and how heavy the tail is."""
    if diagnostics is None:
        return "Histogram of the layer's eigenvalues."
    text = f"{diagnostics.spikes} eigenvalues above the noise edge λ = {diagnostics.mp_edge**2:.3g}"
    return text + (
        f"; power-law tail with exponent {diagnostics.alpha:.2f}." if diagnostics.alpha else "; no tail to fit."
    )
