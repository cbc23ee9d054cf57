"""A plan: a form for every layer that is not left dense, and the repair that goes with it. What people save."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from core.errors import PlanError
from core.networks.arch import ModelRef
from core.networks.costs import NOTHING, Cost, total
from core.networks.forms import (
    Dense,
    Filters,
    Form,
    LowRank,
    LowRankSparse,
    RandomSparse,
    SemiSparse,
    Sparse,
    SpatialLowRank,
    form_words,
)
from core.networks.views import LayerView
from core.networks.wording import shown

SCHEMA = 1

STEPS = ("whitened", "sequential", "batchnorm", "bias")
"""Repair steps in their order; `repair.py` says what each does."""


@dataclass(frozen=True, slots=True)
class Repair:
    """How a plan is repaired without labels.

    steps    of `STEPS`, in that order; () applies the plan by plain truncation.
    samples  calibration examples drawn from the training split. seed  of the draw.
    """

    steps: tuple[str, ...] = STEPS
    samples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The form of one layer, by name."""

    layer: str
    form: Form


@dataclass(frozen=True, slots=True)
class Plan:
    """Forms by layer, sorted by name however they are given; a layer that is not named stays dense.

    model  what it was made for. remove  takes the rows that `Filters` masks out for real, where that can be done; costs
    predicted from the plan are those of masks."""

    model: ModelRef
    layers: tuple[LayerPlan, ...] = ()
    repair: Repair = Repair()
    remove: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(sorted(self.layers, key=lambda entry: entry.layer)))

    def form(self, layer: str) -> Form:
        """The form of a layer, Dense() if it is not named."""
        return next((entry.form for entry in self.layers if entry.layer == layer), Dense())

    def with_form(self, layer: str, form: Form) -> Plan:
        """A new plan with this layer in this form; Dense() removes its entry."""
        kept = tuple(entry for entry in self.layers if entry.layer != layer)
        return replace(self, layers=kept if isinstance(form, Dense) else (*kept, LayerPlan(layer, form)))

    def form_json(self, layer: str) -> dict[str, Any]:
        """The form of a layer as the plan's JSON holds it."""
        return _form_to_dict(self.form(layer))

    def to_json(self) -> str:
        """Indented JSON that `from_json` reads back to an equal plan."""
        return json.dumps(
            {
                "schema": SCHEMA,
                "model": {"source": self.model.source, "name": self.model.name, "digest": self.model.digest},
                "repair": {
                    "steps": list(self.repair.steps),
                    "samples": self.repair.samples,
                    "seed": self.repair.seed,
                },
                **({"remove": True} if self.remove else {}),  # absent: plans without it keep their text and keys
                "layers": [{"layer": entry.layer, **_form_to_dict(entry.form)} for entry in self.layers],
            },
            indent=2,
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote. Raises PlanError, one sentence, for anything else."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            raise PlanError("This plan is not valid JSON; export it again from Share and export.") from None
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise PlanError(f"This plan is not of schema {SCHEMA}; export it again with this version of Rankscope.")
        try:
            model, repair = content["model"], content["repair"]
            layers = tuple(LayerPlan(str(entry["layer"]), _form_of(entry)) for entry in content["layers"])
            steps = tuple(step for step in STEPS if step in repair["steps"])
            unknown = [step for step in repair["steps"] if step not in STEPS]
            made = Repair(steps, _count(repair["samples"]), _count(repair["seed"], least=0))
            ref = ModelRef(str(model["source"]), str(model["name"]), str(model["digest"]))
            remove = _flag(content.get("remove", False))
        except (KeyError, ValueError) as error:
            raise PlanError(f"This plan lacks or misstates {shown(error)}; export it again.") from None
        except (TypeError, AttributeError, OverflowError):
            raise PlanError("This plan lacks or misstates a value; export it again.") from None
        if unknown:
            raise PlanError(f"This plan names a repair that is not known ({shown(unknown[0])}); export it again.")
        names = [entry.layer for entry in layers]
        if len(set(names)) < len(names):
            raise PlanError("This plan names a layer twice; remove one of the two entries.")
        return cls(ref, layers, made, remove)


def plan_cost(plan: Plan, views: tuple[LayerView, ...], rest: Cost = NOTHING) -> Cost:
    """Cost of the whole network under the plan: its layers (a tied weight is stored once) and `rest`."""
    forms = {entry.layer: entry.form for entry in plan.layers}
    costs = []
    for view in views:
        cost = forms.get(view.name, Dense()).cost(view)
        costs.append(Cost(0, cost.macs, 0, cost.useful_macs) if view.tied_to else cost)
    return total(costs) + rest


def check_plan(plan: Plan, ref: ModelRef, views: tuple[LayerView, ...]) -> None:
    """Raises PlanError, one sentence with the next step, unless the plan is for this model and every form fits."""
    known = {view.name: view for view in views}
    missing = [entry.layer for entry in plan.layers if entry.layer not in known]
    if missing:
        named = ", ".join(repr(name) for name in missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise PlanError(
            f"This plan was made for {plan.model.name!r}; {ref.name} has no layer {named}: open that model first."
        )
    if plan.model.digest != ref.digest:
        raise PlanError(
            f"This plan was made for other weights of {plan.model.name!r}, not for {ref.name}: open that model first, "
            "or make the plan anew."
        )
    for entry in plan.layers:
        view = known[entry.layer]
        why = entry.form.obstacle(view)
        if why:
            words = form_words(entry.form, view)
            raise PlanError(f"Layer {entry.layer!r} cannot take the form {words}: {why}; choose another form.")


def _form_to_dict(form: Form) -> dict[str, Any]:
    if isinstance(form, LowRank | SpatialLowRank):
        return {"family": form.family, "rank": form.rank}
    if isinstance(form, Sparse):
        return {"family": form.family, "nonzeros": form.nonzeros}
    if isinstance(form, RandomSparse):
        return {"family": form.family, "nonzeros": form.nonzeros, "seed": form.seed}
    if isinstance(form, LowRankSparse):
        return {"family": form.family, "rank": form.rank, "nonzeros": form.nonzeros}
    if isinstance(form, Filters):
        return {"family": form.family, "rows": form.rows}
    return {"family": form.family}


def _form_of(entry: dict[str, Any]) -> Form:
    makers: dict[str, Callable[[], Form]] = {
        "dense": lambda: Dense(),
        "lowrank": lambda: LowRank(_count(entry["rank"])),
        "lowrank_in": lambda: LowRank(_count(entry["rank"]), True),
        "spatial": lambda: SpatialLowRank(_count(entry["rank"])),
        "sparse": lambda: Sparse(_count(entry["nonzeros"])),
        "random": lambda: RandomSparse(_count(entry["nonzeros"]), _count(entry["seed"], least=0)),
        "lowrank_sparse": lambda: LowRankSparse(_count(entry["rank"]), _count(entry["nonzeros"])),
        "sparse24": lambda: SemiSparse(),
        "filters": lambda: Filters(_count(entry["rows"])),
    }
    if entry["family"] not in makers:
        raise ValueError(f"the family {entry['family']!r}")
    return makers[entry["family"]]()


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"the choice {value!r}")
    return value


def _count(value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**32:
        raise ValueError(f"the count {value!r}")
    return value
