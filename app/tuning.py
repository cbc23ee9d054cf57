"""What the Tune page computes between a survey and the component: choices as plain numbers. No streamlit, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.compression.allocate import FACTORED, Rules, path
from core.compression.plans import LayerPlan, Plan, plan_cost
from core.compression.survey import LayerSurvey, Survey
from core.networks.costs import QUANTITIES, QUANTITY_WORDS, Cost
from core.networks.forms import FAMILIES, Dense, Family, Form, family_of
from core.networks.views import LayerView

Json = dict[str, Any]

WORDS = {quantity: QUANTITY_WORDS[quantity] for quantity in ("macs", "params", "bytes")}
"""Quantities as pages write them, in the order they offer them."""

MASKS = ("sparse", "sparse24", "filters")
MODES = {"rank": FACTORED, "sparsity": MASKS, "both": (*FACTORED, *MASKS)}
"""What the dial and the solver choose from."""

BASELINE = "random"
"""Offered beside masks to compare with; nothing chooses it by itself."""

STOPS = tuple(round(0.05 + 0.01 * i, 2) for i in range(96))
"""Kept fractions the dial can stop at."""

FEWER_STOPS = tuple(round(0.05 + 0.05 * i, 2) for i in range(20))
MANY_LAYERS = 80
"""Above this many layers the dial has `FEWER_STOPS`, which keeps a message under 100 KiB (chosen)."""

KNOTS = 33
"""Levels of a curve sent to the browser at most; between them it draws straight lines."""


def counted(survey: Survey, mode: str, quantity: str) -> list[str]:
    """Quantities a budget can be in, the wished one first if it is among them. MACs are not while masks are turned,
    which leave every MAC to execute, nor when nothing is known of the network's forward pass."""
    offered = [q for q in WORDS if survey.dense.of(q) and (q != "macs" or mode != "sparsity")]
    return sorted(offered, key=lambda q: q != quantity)


def families_of(layer: LayerSurvey, mode: str, form: Form) -> list[str]:
    """Families a layer offers in a mode, and the one it has."""
    wanted = MODES[mode] if mode == "rank" else (*MODES[mode], BASELINE)
    found = [curve.family for curve in layer.curves if curve.family in wanted]
    return found if isinstance(form, Dense) or form.family in found else [*found, form.family]


def family_in(id: str, form: Form) -> Family:
    """The family of an id, as a layer in this form turns it."""
    return family_of(form) if id == form.family else FAMILIES[id]


def bars(survey: Survey, plan: Plan, mode: str, locked: Sequence[str]) -> list[Json]:
    """Every layer as the component wants it."""
    forms = {entry.layer: entry.form for entry in plan.layers}
    made = []
    for layer in survey.layers:
        view = layer.view
        form = forms.get(view.name, Dense())
        offered = [] if layer.obstacle else families_of(layer, mode, form)
        dense = Dense().cost(view)
        index = offered.index(form.family) if form.family in offered else -1
        made.append(
            {
                "name": view.name,
                "label": view.name,
                "obstacle": layer.obstacle,
                "locked": view.name in locked,
                "dense": _three(dense),
                "family": index,
                "level": family_of(form).level(form, view) if index >= 0 else 1,
                "families": [_family(layer, family, form) for family in offered],
            }
        )
    return made


def other_cost(survey: Survey) -> list[int]:
    """What no bar shows: the rest of the network, less what tied layers count twice."""
    shown = [Dense().cost(view) for view in survey.views]
    return [survey.dense.of(q) - sum(cost.of(q) for cost in shown) for q in QUANTITIES]


def dial_path(survey: Survey, quantity: str, mode: str, plan: Plan, locked: Sequence[str]) -> Json:
    """What the greedy allocator chooses at every stop of the dial; locked layers keep their form."""
    stops = STOPS if len(survey.layers) <= MANY_LAYERS else FEWER_STOPS
    rules = Rules(pins={name: plan.form(name) for name in locked}, families=MODES[mode])
    choice = []
    for made in path(survey, quantity, stops, rules):
        forms = {entry.layer: entry.form for entry in made.plan.layers}
        row = []
        for layer in survey.layers:
            form = forms.get(layer.view.name, Dense())
            offered = [] if layer.obstacle else families_of(layer, mode, plan.form(layer.view.name))
            if form.family in offered:
                row.append([offered.index(form.family), family_of(form).level(form, layer.view)])
            else:
                row.append([-1, 1])
        choice.append(row)
    return {"keep": list(stops), "choice": choice}


def edited(survey: Survey, plan: Plan, layer: str, family: int | str, level: int, mode: str) -> Plan:
    """The plan with one layer at a level of a family: an index into what the layer offers, or an id; -1 is dense. What
    the level does not say stays as the layer has it (`family_of`).

    A name, family or level that the layer does not have leaves the plan as it was."""
    known = {entry.view.name: entry for entry in survey.layers}
    if layer not in known or known[layer].obstacle:
        return plan
    view, form = known[layer].view, plan.form(layer)
    offered = families_of(known[layer], mode, form)
    if family == -1 or family == "dense":
        return plan.with_form(layer, Dense())
    name = offered[family] if isinstance(family, int) and 0 <= family < len(offered) else family
    if not isinstance(name, str) or (name != form.family and known[layer].curve(name) is None):
        return plan
    kind = family_in(name, form)
    return plan.with_form(layer, kind.make(max(1, min(int(level), kind.full(view))), view))


def with_choice(survey: Survey, plan: Plan, row: Sequence[Sequence[int]], mode: str, locked: Sequence[str]) -> Plan:
    """The plan with every unlocked layer as one stop of the dial has it."""
    forms: dict[str, Form] = {}
    for layer, (family, level) in zip(survey.layers, row, strict=True):
        name = layer.view.name
        if layer.obstacle or name in locked:
            forms[name] = plan.form(name)
        elif family < 0:
            forms[name] = Dense()
        else:
            id = families_of(layer, mode, plan.form(name))[family]
            forms[name] = family_in(id, plan.form(name)).make(level, layer.view)
    entries = tuple(LayerPlan(n, f) for n, f in forms.items() if not isinstance(f, Dense))
    return replace(plan, layers=entries)


def alike(survey: Survey, layer: str) -> list[str]:
    """Other layers of the same kind, shape, kernel and stride that can take a form."""

    def shape(view: LayerView) -> tuple[Any, ...]:
        return view.kind, view.m, view.n, view.kernel, view.stride

    wanted = shape(survey.layer(layer).view)
    views = [other.view for other in survey.layers if not other.obstacle]
    return [view.name for view in views if view.name != layer and shape(view) == wanted]


def similar(survey: Survey, plan: Plan, layer: str) -> Plan:
    """The plan with the form of `layer` given to every layer like it."""
    for name in alike(survey, layer):
        plan = plan.with_form(name, plan.form(layer))
    return plan


def predictable(form: Form) -> bool:
    """Whether a survey predicts the error of a form; of low rank + sparse it has an upper bound."""
    return isinstance(form, Dense) or form.family in FAMILIES


def energy_kept(survey: Survey, plan: Plan) -> float:
    """Share of the squared Frobenius norm of all weights that the plan's truncations keep, in [0, 1]; predicted, and
    where a form is not `predictable` a lower bound."""
    whole = kept = 0.0
    for layer in survey.layers:
        if layer.spectrum is None:
            continue
        size = layer.spectrum.tail[0] ** 2
        form = plan.form(layer.view.name)
        lost = 0.0 if isinstance(form, Dense) else layer.predicted(form, "plain")
        whole, kept = whole + size, kept + size * (1.0 - min(lost, 1.0) ** 2)
    return kept / whole if whole else 1.0


def costs_more(survey: Survey, plan: Plan, quantity: str) -> list[str]:
    """Layers whose form costs more than leaving them dense, as the bars count them."""
    found = []
    for entry in plan.layers:
        view = survey.layer(entry.layer).view
        if entry.form.cost(view).of(quantity) > Dense().cost(view).of(quantity):
            found.append(entry.layer)
    return found


def remedy(survey: Survey, plan: Plan, more: Sequence[str], quantity: str) -> str:
    """What to do about the layers `more` that cost more than dense: where no level of a form saves any of the quantity,
    as low rank + sparse saves no MACs, it is another quantity that helps."""
    never = [n for n in more if not family_of(plan.form(n)).break_even(survey.layer(n).view, quantity)]
    if quantity == "macs" and never:
        return "Lower the bar, count in parameters or bytes where no rank saves MACs, or make it dense."
    return "Lower the bar, or make it dense."


def effective(survey: Survey, plan: Plan, quantity: str) -> Plan:
    """The plan with every layer that would cost more than dense left dense, as the bars show it."""
    for name in costs_more(survey, plan, quantity):
        plan = plan.with_form(name, Dense())
    return plan


def effective_cost(survey: Survey, plan: Plan, quantity: str) -> Cost:
    """What `effective` costs."""
    return plan_cost(effective(survey, plan, quantity), survey.views, survey.rest)


def table(survey: Survey, plan: Plan, locked: Sequence[str], quantity: str) -> dict[str, list[Any]]:
    """One row a layer for the typed editor and its CSV."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "layer",
            "shape",
            "form",
            "level",
            "of",
            "break-even",
            f"{WORDS[quantity]} kept",
            "weight error",
            "output error",
            "locked",
            "why not",
        )
    }
    for layer in survey.layers:
        view, form = layer.view, plan.form(layer.view.name)
        dense = isinstance(form, Dense)
        family = None if dense else family_of(form)
        whole = Dense().cost(view).of(quantity)
        curve = layer.curve(form.family) if not dense else None  # of low rank + sparse only a bound is known
        row = (
            view.name,
            view.shape_text,
            "dense" if family is None else family.label_on(view),
            None if family is None else family.level(form, view),
            None if family is None else family.full(view),
            None if family is None else family.break_even(view, quantity),
            form.cost(view).of(quantity) / whole if whole else None,
            0.0 if family is None else layer.predicted(form, "plain") if curve else None,
            0.0 if family is None else layer.predicted(form, "output") if curve and curve.output else None,
            view.name in locked,
            layer.obstacle,
        )
        for column, value in zip(columns, row, strict=True):
            columns[column].append(value)
    return columns


def _family(layer: LayerSurvey, id: str, form: Form) -> Json:
    family, view = family_in(id, form), layer.view
    curve = layer.curve_of(form) if id == form.family else layer.curve(id)
    assert curve is not None
    full = 100 if id == "sparse24" else family.full(view)
    fixed: Json = {"id": id, "label": family.label_on(view), "unit": family.unit, "full": full}
    fixed["bound"] = id == form.family and not predictable(form)
    fixed["even"] = [family.break_even(view, quantity) for quantity in QUANTITIES]
    if family.unfolding:
        one, two = (_three(family.make(level, view).cost(view)) for level in (1, 2))
        slope = [b - a for a, b in zip(one, two, strict=True)]
        fixed |= {"slope": slope, "base": [a - s for a, s in zip(one, slope, strict=True)]}
    else:
        fixed["cost"] = [_three(family.make(level, view).cost(view)) for level in range(1, full + 1)]
    at = list(curve.at) if id != "sparse24" else [1, 100]
    keep = (
        list(range(len(at)))
        if len(at) <= KNOTS
        else sorted({round(i * (len(at) - 1) / (KNOTS - 1)) for i in range(KNOTS)})
    )
    spectrum = dict(layer.spectra).get(family.unfolding) if family.unfolding else None
    first = spectrum.S[0] if spectrum and spectrum.S and spectrum.S[0] > 0 else 0.0
    last = len(curve.at) - 1
    return fixed | {
        "at": [at[i] for i in keep],
        "plain": [round(curve.plain[min(i, last)], 5) for i in keep],
        "output": [round(curve.output[min(i, last)], 5) for i in keep] if curve.output else None,
        "S": [float(f"{spectrum.S[at[i] - 1] / first:.4g}") for i in keep] if spectrum and first else None,
    }


def _three(cost: Cost) -> list[int]:
    return [cost.params, cost.macs, cost.bytes]


def rows_as_dicts(columns: Mapping[str, Sequence[Any]]) -> list[Json]:
    """Columns as one mapping a row."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
