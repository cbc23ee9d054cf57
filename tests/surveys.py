"""Surveys made by hand from chosen singular values, for tests of what is computed from a survey. No torch, and no
product code but the records themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from core.compression.survey import Curve, LayerSurvey, Survey
from core.networks.arch import ModelRef
from core.networks.costs import Cost
from core.networks.views import LayerView
from core.numerics.svd import Spectrum

REF = ModelRef("file", "made by hand", "0" * 64)


def tails(S: Sequence[float]) -> list[float]:
    """Relative error at ranks 1..k, term by term."""
    whole = math.fsum(s * s for s in S)
    return [math.sqrt(math.fsum(s * s for s in S[r:]) / whole) if whole else 0.0 for r in range(1, len(S) + 1)]


def linear_layer(name: str, m: int, n: int, S: Sequence[float], positions: int = 1, **more: object) -> LayerSurvey:
    """A linear layer with the low-rank curve of the singular values S (min(m, n),)."""
    view = LayerView(name, "linear", m, n, positions, **more)  # type: ignore[arg-type]
    curve = Curve("lowrank", tuple(range(1, len(S) + 1)), tuple(tails(S)))
    spectrum = Spectrum.from_values(m, n, S)
    return LayerSurvey(view, "", (("rows", spectrum),), None, None, None, (curve,))


def random_layer(rng: np.random.Generator, name: str, low: int = 3, high: int = 7) -> LayerSurvey:
    """A small linear layer with decaying random singular values."""
    m, n = (int(v) for v in rng.integers(low, high, 2))
    S = np.sort(rng.exponential(1.0, min(m, n)) ** rng.uniform(0.5, 2.0))[::-1]
    return linear_layer(name, m, n, S.tolist(), positions=int(rng.integers(1, 5)))


def survey(layers: Sequence[LayerSurvey], rest: Cost = Cost(5, 7, 20, 7), **more: object) -> Survey:  # noqa: B008
    """A survey of these layers."""
    return Survey(REF, "by hand", "", (), tuple(layers), rest, (), **more)  # type: ignore[arg-type]


def random_survey(seed: int, num_layers: int = 4) -> Survey:
    rng = np.random.default_rng(seed)
    return survey([random_layer(rng, f"fc{i}") for i in range(num_layers)])
