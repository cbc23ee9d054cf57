"""Do damages of single layers add up to that of a plan? Importing this file imports no torch; measuring does."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.compression.sensitivity import FITS
from core.compression.survey import Survey
from core.networks.forms import Dense

if TYPE_CHECKING:
    from torch import Tensor, nn

    from core.compression.moments import Progress
    from core.compression.plans import Plan
    from core.networks.views import LayerView

PART = 2.0
"""Factor by which predicted and joint damage may part before a warning (chosen)."""

SMALLEST = 1e-6
"""Damages below this, in nats, count as equal: nothing hangs on them (chosen)."""


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
        return self.joint / self.predicted if self.predicted > 0.0 else math.inf

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


def predicted_damage(survey: Survey, plan: Plan) -> float | None:
    """The damages of the plan's layers alone, summed from the survey's damage curves (`sensitivity.informed` gives
    measured ones); None where a layer has no damage curve in its form."""
    curves = [survey.layer(entry.layer).curve(entry.form.family) for entry in plan.layers]
    if any(curve is None or not curve.damage for curve in curves):
        return None
    return sum(survey.layer(entry.layer).predicted(entry.form, "damage") for entry in plan.layers)


def joint_damage(
    model: nn.Module,
    plans: Mapping[str, Plan],
    x: Tensor,
    layers: tuple[LayerView, ...],
    classes: bool,
    fit: str = "plain",
    progress: Progress | None = None,
) -> dict[str, float]:
    """For each plan by its key: the damage of all its layers at once, measured on inputs x (samples, ...), applied
    plainly or with each layer fitted to its own dense outputs. layers  views of the model. classes  whether its outputs
    are scores of classes. Infinite where outputs are not finite. ValueError for a fit that is unknown."""
    from core.compression import moments as mo
    from core.compression.apply import apply
    from core.compression.fitting import fitted
    from core.networks.modules import matrix
    from core.numerics.regression import target

    if fit not in FITS:
        raise ValueError(f"fit is one of {FITS}, got {fit!r}")
    views = {view.name: view for view in layers}
    entries = {entry.layer for plan in plans.values() for entry in plan.layers if not isinstance(entry.form, Dense)}
    model = copy.deepcopy(model).eval()
    wanted = mo.checked(mo.logits(model, x))
    moments = {}
    if fit == "whitened" and entries:
        moments = mo.input_moments(model, tuple(views[name] for name in sorted(entries)), x)
    made = {}
    for i, (key, plan) in enumerate(plans.items()):
        if progress:
            progress("joint damage of plans", i, len(plans))
        factors = {}
        for entry in plan.layers:
            if entry.layer in moments and not isinstance(entry.form, Dense):
                layer, view = model.get_submodule(entry.layer), views[entry.layer]
                goal = target(matrix(layer, view), moments[entry.layer].G)
                factors[entry.layer] = fitted(entry.form, layer, view, goal)
        outputs = mo.logits(apply(plan, model, layers, factors), x)
        joint = mo.divergence(outputs, wanted) if classes else mo.relative_distance(outputs, wanted) ** 2
        made[key] = joint if joint == joint else math.inf
    return made
