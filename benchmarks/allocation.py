"""Time to choose forms and levels for a network of 300 layers.

    python -m benchmarks.allocation [--repeats 15] [--no-save]

Aim: under 100 ms for the greedy allocator and for the whole path of a dial (48 stops). The layers are convolutions and
linear layers of the shapes of large networks with power-law spectra; every one offers all its factorised forms. The
other allocators are timed too, the exact one fewer times, because it is an integer program.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.record import conditions, interleaved, save, summary
from core.compression.allocate import Budget, allocate, path
from core.compression.survey import Curve, LayerSurvey, Survey
from core.networks.arch import ModelRef
from core.networks.costs import Cost
from core.networks.forms import FAMILIES, layer_obstacle, unfolded_shape
from core.networks.views import LayerView

NUM_LAYERS = 300
STOPS = tuple(round(0.05 + 0.02 * i, 2) for i in range(48))
AIM_SECONDS = 0.1
SIDES = ((64, 56), (128, 28), (256, 14), (512, 7))
WIDTHS = (384, 768, 1024)
STORED = 97


def synthetic_survey(num_layers: int = NUM_LAYERS, seed: int = 0) -> Survey:
    """Layers of known shapes whose singular values fall as a random power, each at its own pace."""
    rng = np.random.default_rng(seed)
    return Survey(
        model=ModelRef("file", f"{num_layers} synthetic layers", "0" * 64),
        arch="",
        reason="",
        notes=(),
        layers=tuple(_layer(i, rng) for i in range(num_layers)),
        rest=Cost(10_000, 10_000, 40_000, 10_000),
        rest_lines=(),
        num_classes=1000,
    )


def _layer(i: int, rng: np.random.Generator) -> LayerSurvey:
    if i % 3:
        channels, side = SIDES[i % len(SIDES)]
        sizes: dict[str, Any] = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
        sizes |= {"in_size": (side, side), "out_size": (side, side)}
        view = LayerView(f"conv{i}", "conv2d", channels, 9 * channels, side * side, **sizes)
    else:
        width = WIDTHS[i % len(WIDTHS)]
        view = LayerView(f"fc{i}", "linear", width, 4 * width, 197)
    assert not layer_obstacle(view)
    fits = [family for family in FAMILIES.values() if family.unfolding and not family.obstacle(view)]
    curves = tuple(_curve(family.id, min(unfolded_shape(view, family.unfolding)), rng) for family in fits)
    return LayerSurvey(view, "", (), None, None, None, curves)


def _curve(family: str, k: int, rng: np.random.Generator) -> Curve:
    energy = np.arange(1, k + 1, dtype=float) ** -rng.uniform(0.5, 2.0)
    tail = np.sqrt(np.append(energy[::-1].cumsum()[::-1][1:], 0.0) / energy.sum())
    at = np.unique(np.rint(np.geomspace(1, k, min(k, STORED))).astype(int))
    return Curve(family, tuple(at.tolist()), tuple(tail[at - 1].tolist()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    before = conditions()
    survey = synthetic_survey()
    budget = Budget.keep(survey, 0.5, "macs")
    quick: dict[str, Callable[[], object]] = {
        "greedy": lambda: allocate(survey, budget, "greedy"),
        f"path of {len(STOPS)} stops": lambda: path(survey, "macs", STOPS),
        "uniform": lambda: allocate(survey, budget, "uniform"),
        "equal-error": lambda: allocate(survey, budget, "equal-error"),
    }
    samples = interleaved(quick, options.repeats)
    samples |= interleaved({"exact": lambda: allocate(survey, budget, "exact")}, 3)
    seconds = {name: summary(values) for name, values in samples.items()}
    errors = {name: allocate(survey, budget, name).error for name in ("greedy", "exact", "equal-error", "uniform")}
    for name, row in seconds.items():
        print(f"{name:20} {row['median'] * 1e3:9.1f} ms  (min {row['min'] * 1e3:.1f}, q75 {row['q75'] * 1e3:.1f})")
    for name, error in errors.items():
        print(f"{name:20} predicted error {error:.6g}, {error / errors['exact']:.4f} of the exact one")
    if not options.no_save:
        result = {"layers": NUM_LAYERS, "aim_seconds": AIM_SECONDS, "seconds": seconds, "predicted_error": errors}
        print(f"written to results/{save('allocation', result, before).name}")


if __name__ == "__main__":
    main()
