"""Do spectra predict what a layer's compression costs? Rank correlation of every spectral score with measured damage;
and whether damages of single layers add up to that of a plan. Importing this file imports no torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.compression.sensitivity import FITS, LayerSensitivity
from core.compression.survey import LayerSurvey, Survey
from core.networks.forms import FAMILIES, Dense
from core.numerics.svd import Spectrum

if TYPE_CHECKING:
    from torch import Tensor, nn

    from core.compression.moments import Progress
    from core.compression.plans import Plan

PART = 2.0
"""Factor by which predicted and joint damage may part before a warning (chosen)."""

SMALLEST = 1e-6
"""Damages below this, in nats, count as equal: nothing hangs on them (chosen)."""


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


@dataclass(frozen=True, slots=True)
class Additive:
    """Damage of a whole plan: the sum of its layers' alone, and measured with all of them at once.

    Units of `survey.Curve`."""

    key: str
    predicted: float
    joint: float

    @property
    def ratio(self) -> float:
        """Joint over predicted damage; 1 where both are negligible."""
        if max(self.predicted, self.joint) <= SMALLEST:
            return 1.0
        return self.joint / self.predicted if self.predicted > 0.0 else float("inf")

    @property
    def warning(self) -> str:
        """One sentence where predicted and joint damage part by more than a factor of `PART`; else ""."""
        if 1.0 / PART <= self.ratio <= PART:
            return ""
        how = "more" if self.ratio > 1.0 else "less"
        return (
            f"Plan {self.key} loses {self.joint:.3g} where its layers alone lose {self.predicted:.3g} together, {how} "
            f"by over {PART:g} times: choose between such plans by measuring them."
        )


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


def additivity(
    model: nn.Module,
    plans: Mapping[str, Plan],
    x: Tensor,
    survey: Survey,
    fit: str = "plain",
    progress: Progress | None = None,
) -> tuple[Additive, ...]:
    """For each plan by its key: the damages of its layers alone, summed from the survey's damage curves (`informed`
    gives measured ones), and its own on the inputs x (samples, ...), applied plainly or with each layer fitted.

    ValueError for a fit that is unknown, or where a layer of a plan has no damage curve."""
    from core.compression import moments as mo
    from core.compression.apply import apply
    from core.compression.fitting import fitted
    from core.networks.modules import matrix
    from core.numerics.regression import target

    if fit not in FITS:
        raise ValueError(f"fit is one of {FITS}, got {fit!r}")
    views = {view.name: view for view in survey.views}
    entries = {entry.layer for plan in plans.values() for entry in plan.layers if not isinstance(entry.form, Dense)}
    model = copy.deepcopy(model).eval()
    wanted = mo.checked(mo.logits(model, x))
    moments = {}
    if fit == "whitened" and entries:
        moments = mo.input_moments(model, tuple(views[name] for name in sorted(entries)), x)
    made = []
    for i, (key, plan) in enumerate(plans.items()):
        if progress:
            progress("joint damage of plans", i, len(plans))
        predicted = sum(survey.layer(entry.layer).predicted(entry.form, "damage") for entry in plan.layers)
        factors = {}
        for entry in plan.layers:
            if entry.layer in moments and not isinstance(entry.form, Dense):
                layer, view = model.get_submodule(entry.layer), views[entry.layer]
                goal = target(matrix(layer, view), moments[entry.layer].G)
                factors[entry.layer] = fitted(entry.form, layer, view, goal)
        outputs = mo.logits(apply(plan, model, survey.views, factors), x)
        classes = bool(survey.num_classes)
        joint = mo.divergence(outputs, wanted) if classes else mo.relative_distance(outputs, wanted) ** 2
        made.append(Additive(key, predicted, joint if joint == joint else float("inf")))
    return tuple(made)


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
