"""How much the network loses when one layer alone takes another form: measured, layer by layer and level by level.

Importing this file imports no torch; `sensitivity` does. Units of damage are those of `survey.Curve`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from core.compression.survey import Curve, LayerSurvey, Survey, interpolated
from core.networks.forms import FAMILIES
from core.networks.views import LayerView

if TYPE_CHECKING:
    from torch import Tensor, nn

    from core.compression.moments import Progress

FITS = ("plain", "whitened")
"""plain: the truncation of the weights. whitened: fitted to the layer's outputs on x, as the repair step so called."""

LEAST = 1e-12
"""Damage below which a curve does not go: the logarithm is taken of it (chosen, as in the survey)."""


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """One layer in one family, alone in the otherwise dense network; one entry a level in every tuple.

    at        levels of the family, increasing.
    damage    mean Kullback-Leibler divergence from the dense network's class probabilities, nats; without classes the
              relative squared error of the outputs. Infinite where outputs are not finite.
    distance  relative distance of the network's outputs from the dense ones, ‖found - dense‖ / ‖dense‖.
    accuracy  top-1 on the labels, in [0, 1]; () without labels.
    output    relative root mean square error of the layer's own outputs (bias taken off) for the inputs it has in the
              dense network.
    samples   of the batch. fit  one of `FITS`. note  what was not done as usual, in words; "" if nothing.
    """

    layer: str
    family: str
    at: tuple[int, ...]
    damage: tuple[float, ...]
    distance: tuple[float, ...]
    accuracy: tuple[float, ...]
    output: tuple[float, ...]
    samples: int = 0
    fit: str = "plain"
    note: str = ""


def candidate_levels(family: str, view: LayerView, count: int) -> tuple[int, ...]:
    """At most `count` levels of a family for a layer, distinct and increasing, near a geometric series from 1 to the
    largest that saves parameters or MACs; () if none does. Sparse levels are per cent of the weights, 2:4 has one.

    ValueError unless count >= 1."""
    if count < 1:
        raise ValueError(f"need at least one level, got {count}")
    kind = FAMILIES[family]
    if kind.obstacle(view):
        return ()
    if family == "sparse24":
        return (kind.full(view),)
    top = max(kind.break_even(view, "params"), kind.break_even(view, "macs"))
    if top <= count:
        return tuple(range(1, top + 1))
    levels: list[int] = []
    for wanted in np.rint(np.geomspace(1, top, count)) if count > 1 else (top,):
        levels.append(max(int(wanted), levels[-1] + 1 if levels else 1))
    return tuple(levels)


def sensitivity(
    model: nn.Module,
    x: Tensor,
    layers: tuple[LayerView, ...],
    families: tuple[str, ...] = ("lowrank",),
    candidates: int = 10,
    y: Tensor | None = None,
    fit: str = "plain",
    num_classes: int = 0,
    progress: Progress | None = None,
    only: tuple[str, ...] | None = None,
) -> tuple[LayerSensitivity, ...]:
    """The measured damage of every layer in every family at up to `candidates` levels, on inputs x (samples, ...),
    already normalised, and labels y (samples,) where given.

    num_classes  0: the outputs are compared as they are. only  names of the layers to measure; None: all.
    In order of `layers`, then of `families`; layers that cannot be exchanged, that never run or that have no level are
    left out. Equal to applying each plan and running the whole network, to float32 rounding: 1e-4 of the damage or
    1e-9. The model is not touched. ValueError if x is empty, or y has another length, or for an unknown name;
    InputError if the network's outputs are not finite."""
    from core.compression.measuring import measured
    from core.compression.tally import Job

    if fit not in FITS:
        raise ValueError(f"fit is one of {FITS}, got {fit!r}")
    if not len(x) or (y is not None and len(y) != len(x)):
        raise ValueError(f"need samples, and a label each: got {len(x)} and {len(y) if y is not None else 'none'}")
    unknown = [name for name in only or () if name not in {view.name for view in layers}]
    if unknown or set(families) - set(FAMILIES):
        raise ValueError(f"unknown layers {unknown} or families {sorted(set(families) - set(FAMILIES))}")
    wanted = [view for view in layers if only is None or view.name in only]
    pairs = [(view, family, candidate_levels(family, view, candidates)) for view in wanted for family in families]
    jobs = [Job(view, family, levels) for view, family, levels in pairs if levels]
    return measured(model, x, y, jobs, fit, bool(num_classes), progress) if jobs else ()


def informed(survey: Survey, found: tuple[LayerSensitivity, ...]) -> Survey:
    """The survey with measured damage curves in the layers of `found`; the others keep theirs.

    A measured family goes through its measured levels (made rising towards lower ones), between them as a power of the
    curve's own output error, or of the weights' without calibration, and as its square beyond. Other families of the
    layer take the measured damage at equal output error of the layer, where they have a curve of it."""
    by_layer: dict[str, list[LayerSensitivity]] = {}
    for entry in found:
        by_layer.setdefault(entry.layer, []).append(entry)
    layers = tuple(_informed(layer, by_layer.get(layer.view.name, [])) for layer in survey.layers)
    return replace(survey, layers=layers)


def _informed(layer: LayerSurvey, entries: list[LayerSensitivity]) -> LayerSurvey:
    if not entries:
        return layer
    known = _rising([pair for entry in entries for pair in zip(entry.output, entry.damage, strict=True)])
    measured = {entry.family: entry for entry in entries}
    curves = []
    for curve in layer.curves:
        if curve.family in measured:
            entry, error = measured[curve.family], curve.output or curve.plain
            at = np.interp(entry.at, curve.at, error)
            own = _rising(list(zip(map(float, at), entry.damage, strict=True)))
            curves.append(_with_damage(curve, own, error))
        else:
            curves.append(_with_damage(curve, known, curve.output) if curve.output else replace(curve, damage=()))
    return replace(layer, curves=tuple(curves))


def _with_damage(curve: Curve, known: tuple[tuple[float, float], ...], error: tuple[float, ...]) -> Curve:
    return replace(curve, damage=tuple(interpolated(known, e) for e in error))


def _rising(pairs: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """(error, damage) pairs by error, damage never falling and at least LEAST; infinite ones left out, and of equal
    errors only the largest damage is kept."""
    highest = LEAST
    rising: dict[float, float] = {}
    for error, lost in sorted(pairs):
        if np.isfinite(lost):
            highest = max(highest, lost)
            rising[error] = highest
    return tuple(rising.items())
