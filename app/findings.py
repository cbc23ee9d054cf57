"""Sentences about a model, each with the numbers it rests on. No streamlit, no torch."""

from __future__ import annotations

from typing import Any

from core.compression.allocate import FACTORED
from core.compression.survey import LayerSurvey, Survey
from core.networks.costs import QUANTITIES
from core.networks.forms import FAMILIES, Dense
from core.numerics.ranks import energy_rank

Json = dict[str, Any]

PARTS = {0.25: "a quarter", 0.5: "half", 0.75: "three quarters"}
"""Shares of a layer's cost that the first finding may speak of."""


def percent(share: float) -> str:
    """A share in [0, 1] as text, "45 %"."""
    return f"{100 * share:.0f}\u00a0%"


def energy_level(layer: LayerSurvey, energy: float) -> int:
    """Rank that keeps `energy` (0..1) of the squared Frobenius norm of the layer's matrix; 0 without a spectrum."""
    return energy_rank(layer.spectrum.S, energy) if layer.spectrum and layer.spectrum.tail[0] > 0 else 0


def findings(survey: Survey, energy: float) -> list[str]:
    """What to notice first, most useful first."""
    usable = [layer for layer in survey.layers if not layer.obstacle and layer.spectrum]
    if not usable:
        kinds = ", ".join(sorted({layer.view.kind for layer in survey.layers})) or "none"
        return [
            f"No layer here can be factorised: the kinds found are {kinds}. Linear and one- or two-dimensional "
            "convolution layers can."
        ]
    found = [_headline(survey, usable, energy)]
    quantity = "macs" if survey.dense.macs else "params"
    biggest = max(usable, key=lambda layer: Dense().cost(layer.view).of(quantity))
    share = Dense().cost(biggest.view).of(quantity) / max(survey.dense.of(quantity), 1)
    words = "multiply-adds" if quantity == "macs" else "parameters"
    rank, even = energy_level(biggest, energy), FAMILIES["lowrank"].break_even(biggest.view, quantity)
    saves = "below" if rank < even else "at" if rank == even else "above"
    found.append(
        f"{biggest.view.name} holds {percent(share)} of all {words}; {percent(energy)} of the energy of its weights "
        f"needs rank {rank}, {saves} its break-even rank {even}."
    )
    gentle = _gentlest(usable)
    if gentle:
        found.append(gentle)
    return found


def _headline(survey: Survey, usable: list[LayerSurvey], energy: float) -> str:
    """How many layers keep the energy at half of their cost: of their outputs where these are known, else of their
    weights."""
    quantity, words = ("macs", "multiply-adds") if survey.dense.macs else ("params", "parameters")
    kind = "output" if all(curve.output for layer in usable for curve in layer.curves) else "plain"
    best = {share: _count(usable, quantity, share, kind, energy) for share in PARTS}
    share = next((share for share in PARTS if 2 * best[share] > len(usable)), 0.75)
    some, all_ = best[share], len(usable)
    its = "their" if some > 1 else "its"
    whose = f"the energy of {its} {'outputs' if kind == 'output' else 'weights'}"
    kept = f"{percent(energy)} of {whose} in {PARTS[share]} of {its} {words}"
    if not some:
        return f"No layer keeps {kept}: this model is full."
    who = f"{some} of {all_} compressible layers keep{'s' if some == 1 else ''}"
    if all_ == 1:
        who = "The one compressible layer keeps"
    return f"{who} {kept}{', predicted' if kind == 'output' else ''}."


def _count(usable: list[LayerSurvey], quantity: str, share: float, kind: str, energy: float) -> int:
    """Layers that some low-rank form keeps the energy of within a share of their cost."""
    return sum(1 for layer in usable if _best_energy(layer, quantity, share, kind) >= energy)


def _best_energy(layer: LayerSurvey, quantity: str, share: float, kind: str) -> float:
    """Most energy any low-rank form keeps within a share of the layer's dense cost, predicted, in [0, 1]."""
    dense, best = Dense().cost(layer.view).of(quantity), 0.0
    for curve in layer.curves:
        if curve.family not in FACTORED:
            continue
        for level in reversed(curve.at):
            if FAMILIES[curve.family].make(level, layer.view).cost(layer.view).of(quantity) <= share * dense:
                best = max(best, 1.0 - min(curve.error(level, kind), 1.0) ** 2)
                break
    return best


def _gentlest(usable: list[LayerSurvey]) -> str:
    """Where looking at inputs changes the picture most, from the calibrated curves."""
    best: tuple[float, LayerSurvey, float, float, int] | None = None
    for layer in usable:
        curve = layer.curve("lowrank")
        if curve is None or not curve.output:
            continue
        level = max(1, FAMILIES["lowrank"].full(layer.view) // 2)
        plain, output = curve.error(level, "plain"), curve.error(level, "output")
        if plain > output and (best is None or plain - output > best[0]):
            best = (plain - output, layer, plain, output, level)
    if best is None:
        return ""
    _, layer, plain, output, level = best
    return (
        f"{layer.view.name} at rank {level} loses {percent(plain)} of its weights but only {percent(output)} of its "
        "outputs on real inputs (predicted): that gap is what label-free repair uses."
    )


def strip(survey: Survey, energy: float) -> Json:
    """The Overview strip: each layer filled to the rank that keeps `energy`, as data of the canvas component."""
    layers = []
    for layer in survey.layers:
        view = layer.view
        curve = layer.curve("lowrank") if not layer.obstacle else None
        dense = Dense().cost(view)
        three = [dense.of(q) for q in QUANTITIES]
        families = []
        if curve is not None and layer.spectrum is not None:
            family = FAMILIES["lowrank"]
            one, two = (family.make(r, view).cost(view) for r in (1, 2))
            slope = [two.of(q) - one.of(q) for q in QUANTITIES]
            families = [
                {
                    "id": "lowrank",
                    "label": FAMILIES["lowrank"].label_on(view),
                    "unit": "rank",
                    "full": layer.spectrum.k,
                    "base": [one.of(q) - s for q, s in zip(QUANTITIES, slope, strict=True)],
                    "slope": slope,
                    "even": [family.break_even(view, q) for q in QUANTITIES],
                    "at": [1, layer.spectrum.k],
                    "plain": [round(layer.spectrum.error(1), 5), 0.0],
                    "output": None,
                    "S": None,
                }
            ]
        layers.append(
            {
                "name": view.name,
                "label": view.name,
                "obstacle": layer.obstacle or ("" if families else "it has no spectrum"),
                "locked": False,
                "dense": three,
                "family": 0 if families else -1,
                "level": max(energy_level(layer, energy), 1),
                "families": families,
            }
        )
    return {
        "view": "strip",
        "mode": "rank",
        "quantity": "macs" if survey.dense.macs else "params",
        "layers": layers,
        "other": [0, 0, 0],
        "path": None,
        "dial": 1.0,
        "filename": f"{survey.model.name}-layers.png",
    }
