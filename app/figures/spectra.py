"""The chosen layers' spectra in colour over all other layers in one grey trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from app.figures.labels import end_labels, margin
from app.figures.lines import NUMBER, SHARE, dotted, grey, line, note, ring
from app.figures.spectra_view import SpectraView
from app.figures.theme import LIGHT, Theme, dress
from app.figures.thinning import indices, thinned, values

if TYPE_CHECKING:
    from core.compression.survey import LayerSurvey
    from core.numerics.svd import Spectrum

MOST, MOST_REFERENCES = 8, 3  # lines. Source: a trace costs about 4 ms to paint (measured)
CONTEXT_POINTS = 640  # shared by all grey lines, at least 6 each
DEFAULT = SpectraView()


def spectra_figure(
    selected: Sequence[LayerSurvey], context: Sequence[LayerSurvey] = (), view: SpectraView = DEFAULT, *,
    reference: Sequence[tuple[str, Spectrum]] = (), cuts: Mapping[str, int] | None = None,
    look: Theme = LIGHT, height: int = 420,
) -> go.Figure:  # fmt: skip
    """Singular values, energy or error of `selected` (at most 8) over `context` (all layers, grey).

    `reference` (at most 3 of label, spectrum) is dotted; `cuts` maps a layer's name to the rank ringed on its line.
    Every marker carries `customdata` = the layer's name. ValueError for too many lines or an unknown quantity.
    """
    if len(selected) > MOST or len(reference) > MOST_REFERENCES:
        given = f"{len(selected)} and {len(reference)}"
        raise ValueError(f"at most {MOST} layers and {MOST_REFERENCES} references, got {given}")
    fig, ends, cuts = go.Figure(), [], cuts or {}
    named = view.named(selected)
    chosen = {name for name, _ in named}
    others = [(name, s) for name, s in view.named(context) if name not in chosen]
    x, y = view.scales([s for _, s in (*named, *reference, *others)])
    words = {"unit": "k", "form": NUMBER} if view.quantity == "S" else {"unit": "r", "form": SHARE}
    limit = view.limit(len(named))
    if others:
        few = None if view.points is None else max(CONTEXT_POINTS // len(others), 6)
        at = [indices(len(s.S), few, log=view.log_x) for _, s in others]
        drawn = [view.curve(s)[i - 1] for (_, s), i in zip(others, at, strict=True)]
        grey(fig, [(name, i, v) for (name, _), i, v in zip(others, at, drawn, strict=True)], look, **words)
    for i, (name, spectrum) in enumerate(named):
        cut, curve = cuts.get(name, 0), view.curve(spectrum)
        ranks, _ = thinned(spectrum, limit, [cut], view.log_x)
        line(fig, i, name, ranks, curve[ranks - 1], look, **words)
        ends += view.end(name, curve, x, look.color(i), look.glyph(i))
        if x.low <= cut <= min(x.high, len(curve)) and np.isfinite(curve[cut - 1]):
            ring(fig, x, y, cut, float(curve[cut - 1]), f"r = {cut}", look.color(i), look)
    for label, spectrum in reference:
        ranks, _ = thinned(spectrum, limit, log=view.log_x)
        dotted(fig, label, ranks, view.curve(spectrum)[ranks - 1], look, **words)
        ends += view.end(label, view.curve(spectrum), x, look.muted, "┄")
    end_labels(fig, ends, x, y, look, height)
    hint = f"grey: the other {len(others)} layers" if named else "grey: all layers; tick a row to colour one"
    note(fig, hint if others else "" if ends else "No spectrum to show: tick a row of the table", look)
    axes = {"xaxis": x.axis(look, "index k" if y.log else "rank r"), "yaxis": y.axis(look, view.title)}
    return dress(fig, look, "spectra", height, margin([e.name for e in ends], look), **axes)


def spectra_table(selected: Sequence[LayerSurvey], view: SpectraView = DEFAULT) -> dict[str, list[float | None]]:
    """The drawn numbers, shares in [0, 1]: column "rank", thinned as `view.points` says, then a column per layer, None
    past its end. A heading says of what the numbers are, unless they are singular values of the weights."""
    curves = [(name, values(s, view.quantity, view.normalise)) for name, s in view.named(selected)]
    ranks = indices(max((len(y) for _, y in curves), default=0), view.points, log=view.log_x).tolist()
    table: dict[str, list[float | None]] = {"rank": ranks}
    for name, y in curves:
        table[name if view.plain else f"{name}: {view.words}"] = [
            float(y[r - 1]) if r <= len(y) and np.isfinite(y[r - 1]) else None for r in ranks
        ]
    return table


def spectra_alt(selected: Sequence[LayerSurvey], view: SpectraView = DEFAULT) -> str:
    """What is drawn, and which layer decays slowest and fastest, by the share of its ranks that 90 % of the energy of
    its weights, or outputs, needs."""
    shares = {name: (1 + int(np.argmax(values(s, "energy") >= 0.9))) / len(s.S) for name, s in view.named(selected)}
    if not shares:
        return "Spectra of all layers; none is selected."
    slow, fast = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
    energy = f"90 % of the energy of its {view.of}"
    drawn = "" if view.plain else f"{view.words.capitalize()}. "
    found = f"{drawn}Slowest decay: {slow}, which needs {shares[slow]:.0%} of its ranks for {energy}"
    return found + (f"; fastest: {fast} with {shares[fast]:.0%}." if len(shares) > 1 else ".")


def spectra_note(selected: Sequence[LayerSurvey], view: SpectraView = DEFAULT) -> str:
    """ "Thinned to 120 of 512 points" for the longest thinned line, "" when every point is drawn."""
    named = view.named(selected)
    notes = [(len(s.S), thinned(s, view.limit(len(named)), log=view.log_x)[1]) for _, s in named]
    return max(notes, default=(0, ""))[1]
