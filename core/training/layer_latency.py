"""Time of one layer against the level of a form: a staircase, with the level at which it really starts to save here.

Counted multiply-adds fall in straight lines; kernels are chosen by size, so time does not. Everything is timed in one
interleaved run with the dense layer, one thread, on the input the layer has in its network.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.networks.forms import FAMILIES
from core.networks.views import LayerView
from core.provenance import Provenance, here
from core.training.evaluate import device
from core.training.timing import interleaved

REPEATS = 40
LEAST_NOISE = 0.02
"""Share of the dense time below which two medians are never told apart (chosen, as in `evaluate.Latency`)."""

Progress = Callable[[str, int, int], None]
Quartiles = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class LayerLatency:
    """Milliseconds of one pass through one layer, (lower quartile, median, upper quartile) of `repeats` passes.

    layer, family   what was timed. at  levels, rising. times  of each.
    dense, again    the dense layer, timed as if it were two: the A/A run.
    counted         the largest level that costs fewer MACs than dense, 0 if none does. batch  samples a pass.
    """

    layer: str
    family: str
    at: tuple[int, ...]
    times: tuple[Quartiles, ...]
    dense: Quartiles
    again: Quartiles
    counted: int
    batch: int
    repeats: int
    provenance: Provenance

    @property
    def noise(self) -> float:
        """Milliseconds by which two medians may differ for no reason: how far the dense layer is from itself, at least
        `LEAST_NOISE` of it."""
        return max(abs(self.again[1] - self.dense[1]), LEAST_NOISE * self.dense[1])

    @property
    def measured(self) -> int:
        """The largest level up to which all timed ones beat dense beyond the noise; 0 if the first does not."""
        best = 0
        for level, (_, median, _) in zip(self.at, self.times, strict=True):
            if self.dense[1] - median <= self.noise:
                break
            best = level
        return best


def layer_input(model: nn.Module, name: str, x: Tensor) -> Tensor:
    """What the layer `name` is given when the network runs on x. ValueError if it does not run."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0].detach())

    handle = model.get_submodule(name).register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            model(x)
    finally:
        handle.remove()
    if not seen:
        raise ValueError(f"the network does not run {name!r}")
    return seen[0]


def layer_latency(
    model: nn.Module,
    view: LayerView,
    family: str,
    levels: Sequence[int],
    x: Tensor,
    repeats: int = REPEATS,
    progress: Progress | None = None,
) -> LayerLatency:
    """Times a layer of `model` in one family at `levels`, on what the network gives it for x (batch first).

    ValueError without a level, or for a form that does not fit."""
    if not levels:
        raise ValueError("a latency needs at least one level")
    layer, kind = model.get_submodule(view.name), FAMILIES[family]
    given = layer_input(model, view.name, x)
    at = tuple(sorted(set(levels)))
    built = [kind.make(level, view).build(layer, view).eval() for level in at]
    times = interleaved((layer, layer, *built), given, repeats, f"timing {view.name}", progress)
    found = [_quartiles(values) for values in times]
    return LayerLatency(
        layer=view.name,
        family=family,
        at=at,
        times=tuple(found[2:]),
        dense=found[0],
        again=found[1],
        counted=kind.break_even(view, "macs"),
        batch=len(x),
        repeats=repeats,
        provenance=here("one layer, interleaved with the dense one twice; warmed up", device(layer), 1),
    )


def _quartiles(values: list[float]) -> Quartiles:
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high
