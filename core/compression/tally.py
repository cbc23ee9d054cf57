"""Sums over chunks of samples, from which the sensitivity of one layer is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.compression.sensitivity import LayerSensitivity
from core.networks.views import LayerView


@dataclass(frozen=True, slots=True)
class Job:
    """One layer in one family at some levels."""

    view: LayerView
    family: str
    levels: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Tally:
    """Sums over samples, one entry a level, float64: divergence, squared distance, hits, and of the layer's own outputs
    the squared error; scalars: squared norm of the dense outputs, of the layer's, and samples."""

    lost: Tensor
    apart: Tensor
    hits: Tensor
    error: Tensor
    size: float = 0.0
    own: float = 0.0
    samples: int = 0

    @classmethod
    def empty(cls, levels: int) -> Tally:
        lost, apart, hits, error = torch.zeros(4, levels, dtype=torch.float64)
        return cls(lost, apart, hits, error)

    def __iadd__(self, other: Tally) -> Tally:
        for name in ("lost", "apart", "hits", "error"):
            getattr(self, name).add_(getattr(other, name))
        self.size, self.own, self.samples = self.size + other.size, self.own + other.own, self.samples + other.samples
        return self

    def score(self, picks: Sequence[int], found: Tensor, wanted: Tensor, y: Tensor | None, classes: bool) -> None:
        """Adds the outputs `found` (len(picks) * samples, ...) of some candidates, against the dense ones."""
        found = found.double().reshape(len(picks), -1, *found.shape[1:])
        dense = wanted.double()
        rows = slice(picks[0], picks[-1] + 1)
        self.apart[rows] += (found - dense).square().flatten(1).sum(1).cpu()
        if classes:
            p, q = dense.log_softmax(1), found.log_softmax(2)
            each = (p.exp() * (p - q)).sum(2)
            self.lost[rows] += each.flatten(1).mean(1).cpu() * len(wanted)
        if y is not None:
            right = (found.argmax(2) == y) & found.isfinite().all(2)
            self.hits[rows] += right.sum(1).cpu()

    def result(self, job: Job, fit: str, classes: bool, scored: bool, note: str) -> LayerSensitivity:
        apart = [math.sqrt(value / self.size) if self.size else 0.0 for value in self.apart.tolist()]
        lost = [value / self.samples for value in self.lost.tolist()] if classes else [value**2 for value in apart]
        return LayerSensitivity(
            layer=job.view.name,
            family=job.family,
            at=job.levels,
            damage=tuple(_finite(max(value, 0.0) if value == value else value) for value in lost),
            distance=tuple(_finite(value) for value in apart),
            accuracy=tuple(value / self.samples for value in self.hits.tolist()) if scored else (),
            output=tuple(_finite(math.sqrt(value / self.own)) if self.own else 0.0 for value in self.error.tolist()),
            samples=self.samples,
            fit=fit,
            note=note,
        )


def _finite(value: float) -> float:
    return value if value == value else math.inf
