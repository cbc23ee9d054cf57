"""What one layer loses in each family of forms: error of its outputs in colour, of its weights alone in grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from app.figures.labels import End, end_labels, margin
from app.figures.lines import SHARE, grey, line, note, ring, tick
from app.figures.scales import PERCENT, Scale
from app.figures.theme import LIGHT, Theme, dress

if TYPE_CHECKING:
    from core.compression.survey import Curve, LayerSurvey

LABELS = {
    "lowrank": "k × k, then 1 × 1",
    "lowrank_in": "1 × 1, then k × k",
    "spatial": "k × 1, then 1 × k",
    "sparse": "sparse",
    "sparse24": "2:4 sparse",
    "filters": "whole filters",
    "random": "random weights",
}
RANKED = ("lowrank", "lowrank_in", "spatial")  # families whose level is a rank
UNITS = {"sparse": "% kept", "sparse24": "% kept", "filters": "rows kept", "random": "% kept"}
"""The unit of the level of the others."""
HINT = "colour: error of the outputs; grey: of the weights alone"


def error_curves_figure(
    layer: LayerSurvey, *, cuts: Mapping[str, int] | None = None, even: Mapping[str, int] | None = None,
    share: Mapping[str, Sequence[float]] | None = None, quantity: str = "cost", look: Theme = LIGHT, height: int = 380,
) -> go.Figure:  # fmt: skip
    """Predicted relative error against rank, for the families whose level is a rank; or, with `share` (family -> cost
    of each of its levels over the dense layer's), for all families against what they keep.

    `quantity` is what the shares are of, in words. `cuts` maps family -> level ringed, `even` family -> largest level
    that saves (a bar; not with `share`, where it is always 100 %). A family has the same colour for every layer.
    Without outputs the weights' error takes the colour.
    """
    fig, ends, cuts, even = go.Figure(), [], cuts or {}, {} if share else even or {}
    curves = _shown(layer, share)
    xs = {c.family: 100 * np.asarray(share[c.family]) if share else np.asarray(c.at) for c in curves}
    far = max((at[-1] for at in xs.values()), default=2)
    x = Scale(0, min(max(far, 100), 125), suffix=PERCENT) if share else Scale(1, max(far, 2), log=True)
    y = Scale(0, 100, pad=0.04, suffix=PERCENT)
    unit, both = "kept" if share else "r", [c for c in curves if c.output]
    if both:
        plain = [(f"{label(layer, c.family)}, weights", xs[c.family], 100 * np.asarray(c.plain)) for c in both]
        grey(fig, plain, look, unit=unit, form=SHARE, dash="dot")
    for curve in curves:
        family, name, at = curve.family, label(layer, curve.family), xs[curve.family]
        i, error = list(LABELS).index(family), 100 * np.asarray(curve.output or curve.plain)
        line(fig, i, name, at, error, look, unit=unit, form=SHARE, key=family)
        last = int(np.count_nonzero(at <= x.high)) - 1
        ends += [End(name, float(at[last]), float(error[last]), look.color(i), look.glyph(i))] * (last >= 0)
        if family in even and curve.at[0] <= even[family] <= curve.at[-1]:
            tick(fig, x, y, *point(curve, even[family], at, error), str(even[family]), look.color(i), look)
        if family in cuts and curve.at[0] <= cuts[family] <= curve.at[-1]:
            text = said(family, cuts[family])
            ring(fig, x, y, *point(curve, cuts[family], at, error), text, look.color(i), look)
    end_labels(fig, ends, x, y, look, height)
    note(fig, "; ".join([HINT] * bool(both) + ["bar: break-even rank"] * bool(even)), look)
    if share:
        zone = {"x0": 100, "x1": x.range[1], "y0": 0, "y1": 1, "yref": "paper", "layer": "below", "line": {"width": 0}}
        fig.add_shape(type="rect", fillcolor=look.muted, opacity=0.13, **zone)
    title = f"{quantity} kept, of the dense layer" if share else "rank r"
    axes = {"xaxis": x.axis(look, title), "yaxis": y.axis(look, "predicted relative error")}
    return dress(fig, look, "curves", height, margin([end.name for end in ends], look), **axes)


def error_curves_table(layer: LayerSurvey) -> dict[str, list[Any]]:
    """One row per family and level: family, level, its unit, error of weights and of outputs (shares in [0, 1])."""
    rows = [(curve, j) for curve in layer.curves for j in range(len(curve.at))]
    return {
        "family": [label(layer, curve.family) for curve, _ in rows],
        "level": [curve.at[j] for curve, j in rows],
        "unit": [UNITS.get(curve.family, "rank") for curve, _ in rows],
        "weights error": [curve.plain[j] for curve, j in rows],
        "outputs error": [curve.output[j] if curve.output else None for curve, j in rows],
    }


def error_curves_alt(layer: LayerSurvey, share: Mapping[str, Sequence[float]], keep: float = 0.5) -> str:
    """Which family predicts the least error where it keeps the share `keep` of the layer's cost."""
    found = {}
    for curve in _shown(layer, share):
        kept = share[curve.family]
        if kept[0] <= keep <= kept[-1]:
            found[curve.family] = float(np.interp(keep, kept, curve.output or curve.plain))
    if not found:
        return f"No form of {layer.view.name} keeps {keep:.0%} of its cost."
    best = min(found, key=found.__getitem__)
    return f"{layer.view.name} at {keep:.0%} of its cost: {label(layer, best)} loses least, {found[best]:.1%}."


def label(layer: LayerSurvey, family: str) -> str:
    """What a family is called for this layer: a layer without a kernel has one low-rank form only."""
    return "low rank" if family == "lowrank" and not layer.view.kernel else LABELS[family]


def said(family: str, level: int) -> str:
    """A level in words: "r = 12", "30 %", "7 rows"."""
    return f"r = {level}" if family in RANKED else f"{level} {UNITS[family].removesuffix(' kept')}"


def _shown(layer: LayerSurvey, share: Mapping[str, Sequence[float]] | None) -> list[Curve]:
    return [c for c in layer.curves if len(c.at) and c.family in (RANKED if share is None else share)]


def point(curve: Curve, level: int, at: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """The drawn point of a level that may lie between two of the curve's."""
    return float(np.interp(level, curve.at, at)), float(np.interp(level, curve.at, error))
