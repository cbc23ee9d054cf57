"""Spectra of a whole checkpoint against a loop of `torch.linalg.svdvals`, and against the bare Gram product +
`eigvalsh`.

    python -m benchmarks.spectra [--repeats 7] [--threads N] [--no-save]

Aims, as ratios of times taken in turns within one run: at least 2 against the loop on square transformer shapes, at
least 5 on wide convolution shapes (o, c * 3 * 3), and at most 1.2 times the bare products. The loop is timed on the
weights as stored (float32) and on float64, which is the precision of our values.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.record import conditions, interleaved, ratios, save, summary
from core.numerics.svd import spectra, spectrum

GROUPS = {
    "square transformer": [(512, 512)] * 2 + [(768, 768)] * 2 + [(768, 3072), (1024, 1024)],
    "strictly square": [(512, 512)] * 2 + [(768, 768)] * 2 + [(1024, 1024)] * 2,
    "wide convolution": [(256, 2304)] * 2 + [(512, 4608)] * 2,
}


def bare(W: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of the smaller Gram matrix in float64 and nothing else: no checks, no record."""
    D = W.double()
    return torch.linalg.eigvalsh(D @ D.mT if D.shape[0] < D.shape[1] else D.mT @ D)


def measure(shapes: list[tuple[int, int]], repeats: int) -> dict[str, Any]:
    """Times and ratios for one list of random float32 weights, and how far the values are from the exact ones."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(*shape, generator=generator) for shape in shapes]
    contenders: dict[str, Callable[[], object]] = {
        "spectra": lambda: spectra(weights),
        "spectrum, one by one": lambda: [spectrum(W) for W in weights],
        "bare Gram + eigvalsh": lambda: [bare(W) for W in weights],
        "svdvals float32": lambda: [torch.linalg.svdvals(W) for W in weights],
        "svdvals float64": lambda: [torch.linalg.svdvals(W.double()) for W in weights],
    }
    samples = interleaved(contenders, repeats)
    worst = 0.0
    for W, got in zip(weights, spectra(weights), strict=True):
        want = torch.linalg.svdvals(W.double())
        worst = max(worst, float((torch.tensor(got.S, dtype=torch.float64) - want).abs().max() / want[0]))
    ours = samples["spectra"]
    return {
        "shapes": [list(shape) for shape in shapes],
        "seconds": {name: summary(values) for name, values in samples.items()},
        "times faster than svdvals float32": ratios(samples["svdvals float32"], ours),
        "times faster than svdvals float64": ratios(samples["svdvals float64"], ours),
        "times the bare Gram + eigvalsh": ratios(ours, samples["bare Gram + eigvalsh"]),
        "one by one, times the bare Gram + eigvalsh": ratios(
            samples["spectrum, one by one"], samples["bare Gram + eigvalsh"]
        ),
        "largest deviation from exact values over S_1": worst,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves torch's own choice")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    before = conditions()
    groups = {name: measure(shapes, options.repeats) for name, shapes in GROUPS.items()}
    for name, group in groups.items():
        print(name)
        for contender, seconds in group["seconds"].items():
            print(f"  {contender:28} {seconds['median'] * 1e3:9.1f} ms  (min {seconds['min'] * 1e3:.1f})")
        for ratio in [key for key in group if "times" in key]:
            print(f"  {ratio}: {group[ratio]['median']:.2f}  ({group[ratio]['q25']:.2f} to {group[ratio]['q75']:.2f})")
    if not options.no_save:
        print(f"written to results/{save('spectra', {'groups': groups}, before).name}")


if __name__ == "__main__":
    main()
