"""Measures a network: accuracy on labelled examples, latency against another network in one interleaved run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import DataError
from core.networks.arch import Inputs
from core.provenance import Measurement, Provenance, here
from core.training.timing import interleaved

BATCH = 250
Progress = Callable[[str, int, int], None]


def normalized(x: Tensor, takes: Inputs) -> Tensor:
    """Inputs x (N, C, H, W) in [0, 1] as the network expects them: (x - mean) / std per channel."""
    sides = (1, -1, *(1,) * (x.ndim - 2))
    return (x - torch.tensor(takes.mean).view(sides)) / torch.tensor(takes.std).view(sides)


def accuracy(
    model: nn.Module, x: Tensor, y: Tensor, seed: int, conditions: str, progress: Progress | None = None
) -> Measurement:
    """Top-1 accuracy in [0, 1] on inputs x (N, ...), already normalised, and labels y (N,).

    spread is the binomial standard error √(p (1 - p) / N). Scores that are NaN or infinite name no class, so such an
    example counts as wrong. DataError if the outputs are not one score a class."""
    hits, done = 0, 0
    with torch.no_grad():
        for start in range(0, len(x), BATCH):
            if progress:
                progress("accuracy", start, len(x))
            scores = model(x[start : start + BATCH])
            if scores.ndim != 2 or int(y.max()) >= scores.shape[1]:
                raise DataError(
                    f"The network gives outputs of shape {tuple(scores.shape[1:])}, which cannot be scored against "
                    f"{int(y.max()) + 1} classes; choose data that fit it."
                )
            right = (scores.argmax(1) == y[start : start + BATCH]) & scores.isfinite().all(1)
            hits += int(right.sum())
            done += len(scores)
    p = hits / done
    made = here(conditions, device(model), torch.get_num_threads())
    return Measurement("top-1 accuracy, binomial standard error", p, math.sqrt(p * (1 - p) / done), done, seed, made)


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one forward pass in milliseconds, (minimum, lower quartile, median, upper quartile) of `repeats` passes.

    again    the dense network timed a second time as if it were another: the A/A run.
    ratio    median compressed / median dense.
    noise    the A/A spread |median again / median dense - 1|, or if larger the quartile range of the dense times over
             their median and √repeats, or 2 % (chosen: clocks and caches differ by as much).
    verdict  "faster", "slower", or "no difference" when |ratio - 1| is within the noise.
    """

    dense: tuple[float, float, float, float]
    compressed: tuple[float, float, float, float]
    again: tuple[float, float, float, float]
    batch: int
    repeats: int
    provenance: Provenance

    @property
    def ratio(self) -> float:
        return self.compressed[2] / self.dense[2]

    @property
    def noise(self) -> float:
        spread = (self.dense[3] - self.dense[1]) / self.dense[2] / math.sqrt(self.repeats)
        return max(abs(self.again[2] / self.dense[2] - 1.0), spread, 0.02)

    @property
    def verdict(self) -> str:
        if abs(self.ratio - 1.0) <= self.noise:
            return "no difference"
        return "faster" if self.ratio < 1.0 else "slower"

    def plain(self) -> dict[str, Any]:
        """Plain values, with what follows from them."""
        return {**asdict(self), "ratio": self.ratio, "noise": self.noise, "verdict": self.verdict}


def latency(
    dense: nn.Module, compressed: nn.Module, example: Tensor, repeats: int = 60, progress: Progress | None = None
) -> Latency:
    """Times both networks on `example` (batch first), one thread, warmed up, interleaved A, B, A so that a passing load
    touches all three alike. The network timed as A the second time is the same dense one."""
    times = interleaved((dense, compressed, dense), example, repeats, "latency", progress)
    first, other, again = (_quartiles(values) for values in times)
    made = here("interleaved dense, compressed, dense again; warmed up", device(dense, compressed), 1)
    return Latency(first, other, again, len(example), repeats, made)


def device(*models: nn.Module) -> str:
    """Where the parameters and buffers of networks lie, in words; "cpu" if they have none."""
    places = {tensor.device for model in models for tensor in (*model.parameters(), *model.buffers())}
    named = {f"cuda: {torch.cuda.get_device_name(at)}" if at.type == "cuda" else at.type for at in places}
    return ", ".join(sorted(named)) or "cpu"


def _quartiles(values: list[float]) -> tuple[float, float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return min(values), low, middle, high
