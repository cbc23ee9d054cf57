"""A survey: everything a page needs to know of a network, as plain numbers. Importable without torch.

`surveying.survey_model` makes one; it is kept on disk under the digest of the weights, so a second opening is instant.
"""

from __future__ import annotations

import json
import math
import types
import typing
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from core.networks.arch import ModelRef
from core.networks.costs import Cost, total
from core.networks.forms import Dense, Form, LowRankSparse, family_of
from core.networks.views import LayerView
from core.numerics.diagnostics import Diagnostics
from core.numerics.svd import Spectrum
from core.provenance import Measurement

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Curve:
    """Predicted error of one layer in one family of forms.

    at      levels of the family, increasing; the last is its full level.
    plain   relative Frobenius error of the weights at each, in [0, 1] (masks and truncations; fitted forms may exceed);
            of a random mask the root of the mean of its square over seeds.
    output  relative root mean square error of the layer's outputs on the calibration batch, after the factors were
            fitted to it; () without one.
    damage  what the network's output loses when only this layer takes the form: mean Kullback-Leibler divergence from
            the dense network's class probabilities in nats (relative squared error where there are no classes), on the
            calibration batch, measured at a few levels and interpolated in log-log against `output`; () without one.
    """

    family: str
    at: tuple[int, ...]
    plain: tuple[float, ...]
    output: tuple[float, ...] = ()
    damage: tuple[float, ...] = ()

    def error(self, level: int, kind: str = "output") -> float:
        """The curve `kind` ("plain", "output", "damage") at a level, linear between the stored ones; "output" and
        "damage" fall back to nothing: ValueError if they were not made."""
        values = getattr(self, kind)
        if not values:
            raise ValueError(f"no {kind} curve: this survey was made without a calibration batch")
        return float(np.interp(level, self.at, values))


@dataclass(frozen=True, slots=True)
class LayerSurvey:
    """One layer: what it is, why it cannot be compressed ("" if it can), its spectra and its curves.

    spectra   (unfolding, Spectrum) pairs, "rows" first; empty if the weight is not finite.
    whitened  spectrum of the "rows" matrix seen through the layer's inputs, None without calibration.
    shuffled  of the same entries in random order. diagnostics  of the "rows" spectrum.
    """

    view: LayerView
    obstacle: str
    spectra: tuple[tuple[str, Spectrum], ...]
    whitened: Spectrum | None
    shuffled: Spectrum | None
    diagnostics: Diagnostics | None
    curves: tuple[Curve, ...]

    @property
    def spectrum(self) -> Spectrum | None:
        """The spectrum of the layer's matrix, None if its weight is not finite."""
        return self.spectra[0][1] if self.spectra else None

    def curve(self, family: str) -> Curve | None:
        """The curve of a family, None if the layer cannot take it."""
        return next((curve for curve in self.curves if curve.family == family), None)

    def curve_of(self, form: Form) -> Curve | None:
        """The curve on which a form lies. Of low rank + sparse, whose error the weights alone tell, at every rank an
        upper bound: what low rank loses, less the share of it that as many entries hold at least; or what the entries
        lose, less the share that the rank holds at least; whichever is smaller (`numerics.lowrank_sparse` is never
        worse)."""
        lowrank, sparse = self.curve("lowrank"), self.curve("sparse")
        if not isinstance(form, LowRankSparse) or lowrank is None or sparse is None:
            return self.curve(form.family)
        kept, full = form.nonzeros / self.view.size, min(self.view.m, self.view.n)
        alone = sparse.error(math.floor(100 * kept), "plain") if kept >= 0.01 else 1.0
        bounds = (
            min(error * math.sqrt(1.0 - kept), alone * math.sqrt(1.0 - r / full))
            for r, error in zip(lowrank.at, lowrank.plain, strict=True)
        )
        return Curve(form.family, lowrank.at, tuple(bounds))

    def predicted(self, form: Form, kind: str = "plain") -> float:
        """Predicted error of a form, 0 for Dense; of low rank + sparse an upper bound. ValueError if this layer has no
        such curve."""
        if isinstance(form, Dense):
            return 0.0
        curve = self.curve_of(form)
        if curve is None:
            raise ValueError(f"{self.view.name} has no {form.family} curve")
        return curve.error(family_of(form).level(form, self.view), kind)


@dataclass(frozen=True, slots=True)
class Survey:
    """A network surveyed.

    arch         its label, "" if not recognised. reason  why it cannot be run, "" if it can.
    notes        what opening it said. layers  in order of use. rest  what no layer holds; rest_lines  that in words.
    calibration  in words, what the output curves were made from; "" without. num_classes  0 if unknown.
    accuracy     of the dense network if it was measured, None otherwise.
    """

    model: ModelRef
    arch: str
    reason: str
    notes: tuple[str, ...]
    layers: tuple[LayerSurvey, ...]
    rest: Cost
    rest_lines: tuple[str, ...]
    input_shape: tuple[int, ...] = ()
    num_classes: int = 0
    calibration: str = ""
    accuracy: Measurement | None = None

    @property
    def views(self) -> tuple[LayerView, ...]:
        return tuple(layer.view for layer in self.layers)

    @property
    def runnable(self) -> bool:
        return not self.reason

    @property
    def dense(self) -> Cost:
        """Cost of the network as it is."""
        costs = []
        for view in self.views:
            cost = Dense().cost(view)
            costs.append(Cost(0, cost.macs, 0, cost.useful_macs) if view.tied_to else cost)
        return total(costs) + self.rest

    def layer(self, name: str) -> LayerSurvey:
        """The layer of that name. KeyError otherwise."""
        for layer in self.layers:
            if layer.view.name == name:
                return layer
        raise KeyError(name)

    def to_json(self) -> str:
        """Compact JSON that `from_json` reads back to an equal survey."""
        return json.dumps({"schema": SCHEMA, "survey": asdict(self)}, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Survey:
        """The survey that `to_json` wrote. ValueError for another schema."""
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"this is not a survey of schema {SCHEMA}")
        return typing.cast(Survey, _restore(cls, content["survey"]))


def interpolated(known: tuple[tuple[float, float], ...], error: float) -> float:
    """Damage at an output error: linear in log-log between the measured pairs, quadratic below the first, and from the
    last one on growing as its square too."""
    pairs = [(e, d) for e, d in known if e > 0.0]
    if not pairs or error <= 0.0:
        return 0.0
    first, last = pairs[0], pairs[-1]
    if error <= first[0]:
        return first[1] * (error / first[0]) ** 2
    if error >= last[0]:
        return last[1] * (error / last[0]) ** 2
    return math.exp(float(np.interp(math.log(error), [math.log(e) for e, _ in pairs], [math.log(d) for _, d in pairs])))


def _restore(kind: Any, value: Any) -> Any:
    """A JSON value as the type an annotation names: records, tuples of them, optional ones and plain values."""
    if isinstance(kind, types.UnionType):
        options = [option for option in kind.__args__ if option is not type(None)]
        return None if value is None else _restore(options[0], value)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{f.name: _restore(hints[f.name], value[f.name]) for f in fields(kind)})
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        if len(parts) == 2 and parts[1] is Ellipsis:
            return tuple(_restore(parts[0], item) for item in value)
        return tuple(_restore(part, item) for part, item in zip(parts, value, strict=True))
    return kind(value) if kind in (float, int) and value is not None else value
