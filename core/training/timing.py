"""Times several modules on one input, fairly: one thread, warmed up, taking turns, another one first each time, so that
a passing load touches all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Progress = Callable[[str, int, int], None]

WARM_UP = 3
"""Passes of each before any is timed (chosen: kernels are picked and caches filled in the first)."""


def interleaved(
    modules: Sequence[nn.Module], x: Tensor, repeats: int, what: str = "timing", progress: Progress | None = None
) -> list[list[float]]:
    """Milliseconds of each of `repeats` passes of x through every module, without gradients. The same module may stand
    in two places: then it is timed as if it were two, which shows the noise."""
    times: list[list[float]] = [[] for _ in modules]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.no_grad():
            for module in [*modules] * WARM_UP:
                module(x)
            for i in range(repeats):
                if progress:
                    progress(what, i, repeats)
                for j in range(len(modules)):
                    which = (i + j) % len(modules)
                    start = time.perf_counter()
                    modules[which](x)
                    times[which].append(1e3 * (time.perf_counter() - start))
    finally:
        torch.set_num_threads(threads)
    return times
