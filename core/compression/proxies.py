"""Do spectra predict what a layer's compression costs? Rank correlation of every spectral score with measured damage.
Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.compression.sensitivity import LayerSensitivity
from core.compression.survey import LayerSurvey, Survey
from core.networks.forms import FAMILIES
from core.numerics.svd import Spectrum


@dataclass(frozen=True, slots=True)
class ProxyPoint:
    """One layer at one level: what the score says, and what was measured."""

    layer: str
    family: str
    level: int
    score: float
    damage: float


@dataclass(frozen=True, slots=True)
class Proxy:
    """One spectral score against measured damage.

    rho  Spearman's rank correlation over layers and candidates, in [-1, 1]; None where fewer than three points or only
         one value is there. n  points. points  what it was taken of, for a scatter."""

    name: str
    label: str
    rho: float | None
    n: int
    points: tuple[ProxyPoint, ...]


Score = Callable[[LayerSurvey, LayerSensitivity, int], float | None]
"""(layer, what was measured of it, index of the level) -> what a spectrum says of that level."""


def proxies(survey: Survey, found: tuple[LayerSensitivity, ...]) -> tuple[Proxy, ...]:
    """Every score of `SCORES` against the measured damage, over all layers and levels of `found` that have it."""
    made = []
    for name, (label, score) in SCORES.items():
        points = []
        for entry in found:
            layer = survey.layer(entry.layer)
            for i, (level, damage) in enumerate(zip(entry.at, entry.damage, strict=True)):
                value = score(layer, entry, i)
                if value is not None:
                    points.append(ProxyPoint(entry.layer, entry.family, level, value, damage))
        rho = spearman([point.score for point in points], [point.damage for point in points])
        made.append(Proxy(name, label, rho, len(points), tuple(points)))
    return tuple(made)


def spearman(a: list[float], b: list[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank (scipy.stats); None for fewer than three pairs or where one
    side has a single value."""
    from scipy.stats import spearmanr

    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(spearmanr(a, b).statistic)


def _spectrum(layer: LayerSurvey, family: str) -> Spectrum | None:
    """The spectrum that governs a family, None for masks."""
    return dict(layer.spectra).get(FAMILIES[family].unfolding)


def _from_spectrum(score: Callable[[Spectrum, int], float]) -> Score:
    def made(layer: LayerSurvey, entry: LayerSensitivity, i: int) -> float | None:
        spectrum = _spectrum(layer, entry.family)
        return score(spectrum, entry.at[i]) if spectrum is not None else None

    return made


def _curve(kind: str) -> Score:
    def made(layer: LayerSurvey, entry: LayerSensitivity, i: int) -> float | None:
        curve = layer.curve(entry.family)
        return curve.error(entry.at[i], kind) if curve is not None and getattr(curve, kind) else None

    return made


def _alpha(layer: LayerSurvey, entry: LayerSensitivity, i: int) -> float | None:
    return layer.diagnostics.alpha if layer.diagnostics is not None else None


def _log_norm(layer: LayerSurvey, entry: LayerSensitivity, i: int) -> float | None:
    return layer.diagnostics.log_norm if layer.diagnostics is not None else None


SCORES: dict[str, tuple[str, Score]] = {
    "plain": ("relative error of the weights", _curve("plain")),
    "output": ("predicted relative error of the layer's outputs, fitted", _curve("output")),
    "layer_output": ("measured relative error of the layer's outputs", lambda _, entry, i: entry.output[i]),
    "energy": ("energy kept (mirror of the error of the weights)", _from_spectrum(lambda s, r: s.energy(r))),
    "tail": ("norm of what is cut off", _from_spectrum(lambda s, r: s.tail[r])),
    "stable_rank": ("stable rank over rank", _from_spectrum(lambda s, r: s.stable_rank / r)),
    "entropy_rank": ("entropy rank over rank", _from_spectrum(lambda s, r: s.entropy_rank / r)),
    "log_norm": ("log10 of the squared norm, one value a layer", _log_norm),
    "alpha": ("power-law exponent, one value a layer", _alpha),
}
"""Name -> (label, score). All but the last two differ from level to level."""
