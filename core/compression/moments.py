"""What goes into a layer and comes out of it on a calibration batch: rows of inputs and outputs, and their second
moments. Nothing is kept but (n, n) and (m, n) sums in float64.

A convolution's input is unfolded into one row a position. Where a batch gives more rows than `rows_wanted`, an equal
share of positions is drawn from every image with a fixed seed (a layer with 144 inputs needs no million samples).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import InputError
from core.networks.views import CONVOLUTIONS, LayerView
from core.numerics.whitening import SecondMoment

BATCH = 125
"""Most samples run at once (chosen: the unfolded rows of one batch of a 32 x 32 layer stay near 100 MB)."""

Progress = Callable[[str, int, int], None]
"""progress(what, done, of): called between steps; it may raise to stop the work."""


class Stop(Exception):
    """Raised by a hook to end a forward pass once the layer of interest has run."""


def rows_wanted(view: LayerView) -> int:
    """Most rows that moments of this layer are made of: 64 an input, at least 65,536 (chosen)."""
    return max(64 * view.n, 65_536)


def batches(x: Tensor) -> Iterator[Tensor]:
    """Consecutive slices of x along its first side, as equal as can be: BatchNorm averages over them, and cannot take a
    single sample."""
    yield from x.tensor_split(-(-len(x) // BATCH))


def captured(model: nn.Module, view: LayerView, x: Tensor, calls: int = 1) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs of each of the layer's `calls` calls on x; the pass ends after the last."""
    ins: list[Tensor] = []
    outs: list[Tensor] = []

    def hook(_: nn.Module, given: tuple[Any, ...], made: Tensor) -> None:
        ins.append(given[0])
        outs.append(made)
        if len(ins) == calls:
            raise Stop

    handle = model.get_submodule(view.name).register_forward_hook(hook)
    try:
        with torch.no_grad():
            model(x)
    except Stop:
        pass
    finally:
        handle.remove()
    return ins, outs


def input_rows(layer: nn.Module, view: LayerView, given: Tensor, picks: Tensor | None = None) -> Tensor:
    """The layer's input as rows (samples * positions, n), in the order of the "rows" matrix; only positions `picks`."""
    if view.kind not in CONVOLUTIONS:
        return _picked(given.reshape(given.shape[0], -1, view.n), picks).reshape(-1, view.n)
    source: Any = layer
    padded = F.pad(given, _edges(source), mode=_mode(source))
    kernel, stride, dilation = view.kernel, view.stride, view.dilation
    if view.kind == "conv1d":
        padded, kernel, stride, dilation = padded[:, :, None], (1, *kernel), (1, *stride), (1, *dilation)
    columns = F.unfold(padded, kernel, dilation=dilation, stride=stride)
    return _picked(columns.transpose(1, 2), picks).reshape(-1, view.n)


def output_rows(view: LayerView, made: Tensor, picks: Tensor | None = None) -> Tensor:
    """The layer's output as rows (samples * positions, m), matching `input_rows`."""
    if view.kind in CONVOLUTIONS:
        return _picked(made.flatten(2).transpose(1, 2), picks).reshape(-1, view.m)
    return _picked(made.reshape(made.shape[0], -1, view.m), picks).reshape(-1, view.m)


def _picked(rows: Tensor, picks: Tensor | None) -> Tensor:
    """rows (samples, positions, ...) at the positions `picks`; a layer that runs several times has fewer in each."""
    return rows if picks is None else rows[:, picks[picks < rows.shape[1]]]


def positions_drawn(view: LayerView, samples: int, seed: int) -> Tensor | None:
    """Positions used of every sample, sorted; None for all. The layer's shape, the count and the seed decide."""
    share = rows_wanted(view) / max(samples * view.positions, 1)
    if share >= 1.0:
        return None
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(view.positions, generator=generator)[: max(1, round(share * view.positions))].sort().values


def input_moments(
    model: nn.Module, layers: tuple[LayerView, ...], x: Tensor, seed: int = 0, progress: Progress | None = None
) -> dict[str, SecondMoment]:
    """Second moment of every given layer's inputs, all from one pass over x. A layer that never ran is left out."""
    moments: dict[str, SecondMoment] = {}
    handles = []
    for view in layers:
        picks = positions_drawn(view, len(x), seed)

        def hook(layer: nn.Module, given: tuple[Any, ...], made: Any, view: Any = view, picks: Any = picks) -> None:
            moment = moments.setdefault(view.name, SecondMoment(view.n))
            moment.update(input_rows(layer, view, given[0], picks))

        handles.append(model.get_submodule(view.name).register_forward_hook(hook))
    try:
        with torch.no_grad():
            for done, batch in _counted(x):
                if progress:
                    progress("second moments", done, len(x))
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return moments


def paired_moments(
    original: nn.Module, compressed: nn.Module, view: LayerView, x: Tensor, calls: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """G (n, n), mean of x' x'ᵀ over the inputs that `compressed` gives the layer, and C (m, n), mean of y x'ᵀ with y
    the outputs (bias taken off) that the layer has in `original`."""
    layer = original.get_submodule(view.name)
    bias: Any = getattr(layer, "bias", None)
    picks = positions_drawn(view, len(x), seed)
    G = C = torch.zeros((), dtype=torch.float64)
    count = 0
    for batch in batches(x):
        ins, _ = captured(compressed, view, batch, calls)
        _, outs = captured(original, view, batch, calls)
        for given, made in zip(ins, outs, strict=True):
            X = input_rows(layer, view, given, picks).double()
            Y = output_rows(view, made, picks).double()
            if bias is not None:
                Y = Y - bias.detach().double()
            G, C, count = G + X.mT @ X, C + Y.mT @ X, count + len(X)
    return G / count, C / count


def logits(model: nn.Module, x: Tensor, progress: Progress | None = None, what: str = "outputs") -> Tensor:
    """The model's outputs on x, batch by batch, float32."""
    made = []
    with torch.no_grad():
        for done, batch in _counted(x):
            if progress:
                progress(what, done, len(x))
            made.append(model(batch).float())
    return torch.cat(made)


def checked(wanted: Tensor) -> Tensor:
    """The outputs of the dense network. InputError if any is NaN or infinite: nothing can be fitted to such."""
    if not bool(wanted.isfinite().all()):
        raise InputError(
            "This network's outputs on the calibration inputs are NaN or infinite, so nothing can be fitted to them; "
            "open weights that are all finite, or plan by the weights alone."
        )
    return wanted


def _counted(x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(samples before it, batch) pairs."""
    done = 0
    for batch in batches(x):
        yield done, batch
        done += len(batch)


def relative_distance(found: Tensor, wanted: Tensor) -> float:
    """‖found - wanted‖ / ‖wanted‖ over all outputs, infinite if anything is not finite."""
    value = float((found - wanted).double().norm() / wanted.double().norm().clamp_min(1e-300))
    return value if value == value else float("inf")


def divergence(found: Tensor, wanted: Tensor) -> float:
    """Mean Kullback-Leibler divergence of softmax(found) from softmax(wanted), nats a sample; rows are class scores."""
    p = wanted.double().log_softmax(1)
    q = found.double().log_softmax(1)
    return float((p.exp() * (p - q)).sum(1).mean())


def _edges(layer: Any) -> list[int]:
    """Padding of a convolution in the order of F.pad: last side first, low end before high end."""
    return list(layer._reversed_padding_repeated_twice)


def _mode(layer: Any) -> str:
    return "constant" if layer.padding_mode == "zeros" else str(layer.padding_mode)
