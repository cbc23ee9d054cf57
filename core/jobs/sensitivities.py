"""Sensitivity as a run: one point a layer, whose measured damages stand beside what spectra say of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.compression.sensitivity import FITS, LayerSensitivity
from core.errors import InputError
from core.jobs.records import Point, Run
from core.networks.forms import FAMILIES

Json = dict[str, Any]

KIND = "sensitivity"


@dataclass(frozen=True, slots=True)
class SensitivitySpec:
    """What to measure. model, arch, data  sources; name and digest of the model's weights. layers  by name.

    families  forms tried, each at up to `candidates` levels. samples, seed  of the training split. fit  of `FITS`."""

    model: str
    name: str
    digest: str
    data: str
    layers: tuple[str, ...]
    families: tuple[str, ...] = ("lowrank",)
    candidates: int = 10
    samples: int = 256
    seed: int = 0
    fit: str = "whitened"
    arch: str = ""


def sensitivity_run(spec: SensitivitySpec) -> tuple[Run, tuple[tuple[str, Json], ...]]:
    """The run and its points, one a layer. InputError for one that cannot be run."""
    if not spec.layers or not spec.families or set(spec.families) - set(FAMILIES) or spec.fit not in FITS:
        raise InputError("Sensitivity needs layers, known forms and a known fit; choose at least one of each.")
    if spec.candidates < 1 or spec.samples < 1:
        raise InputError("Sensitivity needs at least one level a layer and one sample; choose more.")
    content: Json = json.loads(json.dumps(asdict(spec)))
    title = f"damage of {len(spec.layers)} layers alone, {spec.candidates} levels each, {spec.samples} samples"
    names = ("model", "arch", "data", "families", "candidates", "samples", "seed", "fit")
    shared = {"do": "sensitivity", **{name: content[name] for name in names}}
    return Run.new(KIND, title, spec.name, spec.digest, content), tuple(
        (f"layer-{i}", {**shared, "layer": layer}) for i, layer in enumerate(spec.layers)
    )


def found_in(points: Sequence[Point]) -> tuple[LayerSensitivity, ...]:
    """What was measured, in the order of the points; layers that are still to come are left out."""
    made = []
    for point in points:
        for entry in (point.result or {}).get("found", ()):
            lists = {name: tuple(value) for name, value in entry.items() if isinstance(value, list)}
            made.append(LayerSensitivity(**{**entry, **lists}))
    return tuple(made)
