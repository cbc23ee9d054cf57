"""What is lost when only the largest weights stay, beside what Gaussian weights would lose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from app.figures.curves import HINT, LABELS, point, said
from app.figures.labels import End, end_labels, margin
from app.figures.lines import SHARE, dotted, grey, line, note, ring
from app.figures.scales import PERCENT, Scale
from app.figures.theme import LIGHT, Theme, dress

if TYPE_CHECKING:
    from core.compression.survey import Curve

REFERENCE = "Gaussian weights"


def percent_kept(curve: Curve) -> np.ndarray:
    """The curve's levels as per cent of the weights; only whole rows are counted otherwise."""
    return np.asarray(curve.at) * (100 / curve.at[-1] if curve.family == "filters" else 1)


def gaussian_error(keep: float) -> float:
    """Relative Frobenius error of keeping the share `keep` in [0, 1] of the largest of many independent normal weights.

    With t the magnitude that a share `keep` exceeds, error² = 1 - 2 (t phi(t) + 1 - Phi(t)). Source: derived, from the
    second moment of a normal variable beyond t."""
    if not 0 < keep < 1:
        return 1.0 - keep
    normal = NormalDist()
    t = -normal.inv_cdf(keep / 2)
    return math.sqrt(max(1 - 2 * (t * normal.pdf(t) + normal.cdf(-t)), 0.0))


def magnitude_figure(
    curves: Sequence[Curve], cuts: Mapping[str, int] | None = None, *, look: Theme = LIGHT, height: int = 380
) -> go.Figure:
    """Relative error against per cent of weights kept for the sparse families of one layer; `cuts`: family -> level.

    Outputs in colour with weights in grey, or weights in colour where there are no outputs. A family with one level
    (2:4) is a single marker. The dotted line is `gaussian_error`, which weights without structure would follow.
    """
    fig, ends, cuts = go.Figure(), [], cuts or {}
    x, y = Scale(0, 100, suffix=PERCENT), Scale(0, 100, pad=0.04, suffix=PERCENT)
    if both := [c for c in curves if c.output]:
        plain = [(f"{LABELS[c.family]}, weights", percent_kept(c), 100 * np.asarray(c.plain)) for c in both]
        grey(fig, plain, look, unit="kept", form=SHARE, dash="dot")
    for curve in curves:
        name, kept, cut = LABELS[curve.family], percent_kept(curve), cuts.get(curve.family, 0)
        i, error = list(LABELS).index(curve.family), 100 * np.asarray(curve.output or curve.plain)
        line(fig, i, name, kept, error, look, unit="kept", form=SHARE, key=curve.family)
        ends.append(End(name, float(kept[-1]), float(error[-1]), look.color(i), look.glyph(i)))
        if curve.at[0] <= cut <= curve.at[-1]:
            ring(fig, x, y, *point(curve, cut, kept, error), said(curve.family, cut), look.color(i), look)
    grid = np.arange(0, 101, 2)
    dotted(fig, REFERENCE, grid, [100 * gaussian_error(p / 100) for p in grid], look, unit="kept", form=SHARE)
    ends.append(End(REFERENCE, 100, 0.0, look.muted, "┄"))
    end_labels(fig, ends, x, y, look, height)
    note(fig, HINT if both else "", look)
    axes = {"xaxis": x.axis(look, "weights kept"), "yaxis": y.axis(look, "predicted relative error")}
    return dress(fig, look, "magnitude", height, margin([end.name for end in ends], look), **axes)


def magnitude_table(curves: Sequence[Curve]) -> dict[str, list[Any]]:
    """One row per family and level: family, per cent kept, error of weights, of outputs, and of Gaussian weights."""
    rows = [(curve, j) for curve in curves for j in range(len(curve.at))]
    return {
        "family": [LABELS[curve.family] for curve, _ in rows],
        "% kept": [float(percent_kept(curve)[j]) for curve, j in rows],
        "weights error": [curve.plain[j] for curve, j in rows],
        "outputs error": [curve.output[j] if curve.output else None for curve, j in rows],
        "Gaussian weights": [gaussian_error(float(percent_kept(curve)[j]) / 100) for curve, j in rows],
    }


def magnitude_alt(curves: Sequence[Curve], keep: int = 50) -> str:
    """The weights' error of unstructured sparsity at `keep` per cent, against Gaussian weights."""
    sparse = [curve for curve in curves if curve.family == "sparse"]
    if not sparse:
        return "No unstructured sparsity is offered for this layer."
    error, normal = float(np.interp(keep, sparse[0].at, sparse[0].plain)), gaussian_error(keep / 100)
    than = "less than" if error < 0.98 * normal else "more than" if error > 1.02 * normal else "about as much as"
    return f"Keeping the largest {keep} % of the weights loses {error:.1%}, {than} Gaussian weights ({normal:.1%})."
