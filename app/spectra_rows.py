"""What the Spectra page computes between a survey and its widgets: rows, marks, picks. No streamlit, no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from app.figures.thinning import indices
from app.references import matrix_of
from core.catalogue import RankMark, rank_marks
from core.compression.survey import LayerSurvey, Survey
from core.networks.forms import FAMILIES, Dense
from core.networks.views import LayerView
from core.numerics.diagnostics import Diagnostics, diagnose
from core.numerics.ranks import energy_rank
from core.numerics.svd import Spectrum

MOST = 8
"""Layers drawn in colour at once. Source: a trace costs about 4 ms to paint (measured)."""

SPARK = 20
"""Points of a sparkline (chosen: 300 rows of it stay under 100 KiB)."""

SPARK_FLOOR = -3.0
"""log10(sigma_k / sigma_1) at the foot of a sparkline; smaller values lie on it (chosen)."""

MATRICES = {
    "rows": "k × k | 1 × 1",
    "columns": "1 × 1 | k × k",
    "spatial": "k × 1 | 1 × k",
    "whitened": "whitened",
}
"""The matrices of a layer by how its factors would split a kernel; the last is the first, whitened."""

FAMILY_OF = {"rows": "lowrank", "columns": "lowrank_in", "spatial": "spatial", "whitened": "lowrank"}
"""The form whose rank the spectrum of a matrix speaks of."""


def matrices(survey: Survey) -> dict[str, str]:
    """The matrices that some layer of the survey has, with what to call them."""
    known = {name for layer in survey.layers for name, _ in layer.spectra}
    known |= {"whitened"} if any(layer.whitened for layer in survey.layers) else set()
    words = MATRICES if known - {"rows", "whitened"} else MATRICES | {"rows": "the weights"}
    return {name: text for name, text in words.items() if name in known} or {"rows": "the weights"}


def seen_as(layer: LayerSurvey, matrix: str) -> LayerSurvey:
    """The layer with the spectrum of that matrix alone, as the figures take it."""
    spectrum = matrix_of(layer, matrix)
    return replace(layer, spectra=((matrix, spectrum),) if spectrum else ())


def kinds(survey: Survey) -> list[str]:
    """Kinds of layer, in order of first use."""
    return list(dict.fromkeys(view.kind for view in survey.views))


def filtered(survey: Survey, wanted: Iterable[str] = (), search: str = "") -> list[LayerSurvey]:
    """Layers of the wanted kinds (all if none is named) whose name contains every word of `search`."""
    chosen, words = set(wanted), search.casefold().split()
    return [
        layer
        for layer in survey.layers
        if (not chosen or layer.view.kind in chosen) and all(word in layer.view.name.casefold() for word in words)
    ]


def energy_level(spectrum: Spectrum | None, energy: int) -> int | None:
    """Rank that keeps `energy` per cent; None without a spectrum."""
    return energy_rank(spectrum.S, energy / 100) if spectrum else None


def table(survey: Survey, layers: Sequence[LayerSurvey], energy: int) -> dict[str, list[Any]]:
    """One row a layer; None where a number does not exist. A layer without finite weights has its reason and nothing
    else."""
    columns: dict[str, list[Any]] = {}
    for layer in layers:
        view, found = layer.view, layer.diagnostics
        dense = Dense().cost(view)
        offered = layer.curve("lowrank") is not None and not layer.obstacle
        row = {
            "layer": view.name,
            "log σ": sparkline(layer.spectrum),
            "rank": energy_level(layer.spectrum, energy),
            "break-even": FAMILIES["lowrank"].break_even(view, "params") if offered else None,
            "kind": view.kind,
            "parameters": dense.params,
            "shape": view.shape_text,
            "MACs": dense.macs if view.positions else None,
            "stable rank": found.stable_rank if found else None,
            "entropy rank": found.entropy_rank if found else None,
            "numerical rank": found.numerical_rank if found else None,
            "alpha": found.alpha if found else None,
            "alpha distance": found.alpha_distance if found else None,
            "spikes": found.spikes if found else None,
            "compressible": f"no: {layer.obstacle}" if layer.obstacle else "yes",
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    if not survey.runnable:
        columns["MACs"] = ["unknown"] * len(layers)
    return columns


def sparkline(spectrum: Spectrum | None) -> list[float] | None:
    """log10(sigma_k / sigma_1) at log-spaced k, floored; None without a spectrum or for a zero matrix."""
    if spectrum is None or not spectrum.S[0]:
        return None
    S = np.asarray(spectrum.S)[indices(spectrum.k, SPARK) - 1] / spectrum.S[0]
    return [round(max(math.log10(s), SPARK_FLOOR), 2) if s > 0 else SPARK_FLOOR for s in S.tolist()]


def spark_low(lines: Iterable[list[float] | None]) -> float:
    """The foot that all sparklines share, so that they can be compared."""
    return min((min(line) for line in lines if line), default=SPARK_FLOOR)


def ledger(survey: Survey) -> dict[str, list[Any]]:
    """What the whole network consists of: every layer, everything else, and the total, which is `survey.dense`. A tied
    layer's weight is counted once, where it is first used."""
    lines: list[tuple[str, str, int, int, str]] = []
    for layer in survey.layers:
        view, dense = layer.view, Dense().cost(layer.view)
        says = f"no: {layer.obstacle}" if layer.obstacle else "yes"
        lines.append((view.name, view.kind, 0 if view.tied_to else dense.params, dense.macs, says))
    rest = "; ".join(survey.rest_lines) or "nothing"
    lines.append(("everything else", "other", survey.rest.params, survey.rest.macs, f"no plan changes it: {rest}"))
    lines.append(("total", "", survey.dense.params, survey.dense.macs, ""))
    names = ("what", "kind", "parameters", "MACs", "compressible")
    made: dict[str, list[Any]] = {name: [line[i] for line in lines] for i, name in enumerate(names)}
    made["share"] = [params / survey.dense.params if survey.dense.params else None for params in made["parameters"]]
    if not survey.runnable:
        made["MACs"] = ["unknown"] * len(lines)
    return {name: made[name] for name in ("what", "kind", "parameters", "share", "MACs", "compressible")}


def ledger_sentences(survey: Survey) -> list[str]:
    """How much of the network can be compressed, and what keeps the rest from it, most layers first."""
    usable = [layer.view for layer in survey.layers if not layer.obstacle]
    held = sum(Dense().cost(view).params for view in usable if not view.tied_to)
    whole = max(survey.dense.params, 1)
    counted = f"{len(usable)} of {len(survey.layers)} layers can be compressed"
    first = f"{counted}; they hold {held / whole:.1%} of the parameters."
    reasons = Counter(layer.obstacle for layer in survey.layers if layer.obstacle)
    return [first, *(f"{count} cannot: {reason}." for reason, count in reasons.most_common())]


def ticked(
    selected: Sequence[str], primary: str, names: Sequence[str], rows: Iterable[int]
) -> tuple[tuple[str, ...], str]:
    """Selection and primary layer after ticking `rows` of a table that shows `names`.

    Ticked layers the table does not show stay. A newly ticked layer comes last and is the primary one; beyond MOST the
    oldest gives way, or, if several were ticked at once, the last of them stay out. Without its tick the primary layer
    hands over to the last that is left."""
    chosen = [names[i] for i in rows if 0 <= i < len(names)]
    kept = [name for name in selected if name not in names or name in chosen]
    new = [name for name in chosen if name not in selected]
    now = [*kept, *new]
    now = now[-MOST:] if len(new) == 1 else now[:MOST]
    if len(new) == 1:
        return tuple(now), new[0]
    lost = primary in selected and primary not in now
    return tuple(now), now[-1] if lost and now else primary


def added(selected: Sequence[str], name: str) -> tuple[str, ...]:
    """The selection with a layer that was clicked; beyond MOST the oldest gives way."""
    return tuple(selected) if name in selected else (*selected, name)[-MOST:]


def stepped(selected: Sequence[str], primary: str, names: Sequence[str], by: int) -> tuple[tuple[str, ...], str]:
    """Selection and primary layer one step on (by 1) or back (-1).

    Nothing ticked: the layer in hand is. One: the tick moves through the table, round its ends. Several: they stay, and
    the one in hand moves among them."""
    if len(selected) > 1:
        ring = list(selected)
    elif not selected and primary in names:
        return (primary,), primary
    else:
        ring = list(names)
    if not ring:
        return tuple(selected), primary
    start = ring.index(primary) if primary in ring else (-1 if by > 0 else 0)
    name = ring[(start + by) % len(ring)]
    return (tuple(selected) if len(selected) > 1 else (name,)), name


def shares(layer: LayerSurvey) -> dict[str, list[float]]:
    """Parameters of every level of every family over those of the dense layer."""
    whole = Dense().cost(layer.view).params
    return {
        curve.family: [FAMILIES[curve.family].make(r, layer.view).cost(layer.view).params / whole for r in curve.at]
        for curve in layer.curves
    }


@lru_cache(maxsize=128)
def marks(spectrum: Spectrum) -> tuple[RankMark, ...]:
    """What every rank rule says of a spectrum."""
    return tuple(rank_marks(spectrum))


@lru_cache(maxsize=128)
def diagnostics_of(spectrum: Spectrum) -> Diagnostics:
    """Diagnostics of a matrix that the survey has none of."""
    return diagnose(spectrum)


def stand_in(label: str, spectrum: Spectrum) -> LayerSurvey:
    """A reference as a layer of its own, so that it has a column in the table beside the figure."""
    return LayerSurvey(
        LayerView(label, "other", spectrum.m, spectrum.n), "", (("rows", spectrum),), None, None, None, ()
    )


def whole_as(survey: Survey, matrix: str) -> Survey:
    """The survey with the spectra of that matrix alone."""
    return replace(survey, layers=tuple(seen_as(layer, matrix) for layer in survey.layers))
