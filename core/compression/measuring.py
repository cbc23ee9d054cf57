"""Measures candidates of one layer at a time on a batch: by replaying what depends on the layer, or, where a network
cannot be traced, by exchanging the layer and running all of it.

Samples go in chunks; on a CPU each of torch's threads takes chunks of its own, which is faster than several threads on
one, most of all on a machine that others use too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import torch
from torch import Tensor, fx, nn

from core.compression import moments as mo
from core.compression.apply import exchange
from core.compression.candidates import Built, Candidates, built, candidates
from core.compression.replay import Replay, Values
from core.compression.sensitivity import LayerSensitivity
from core.compression.tally import Job, Tally
from core.compression.tracing import Untraceable
from core.errors import DataError
from core.networks.inspection import layer_order
from core.networks.modules import matrix
from core.numerics.regression import Target, target

IN_FULL = "every candidate was run through the whole network, because {why}"
ONE_BY_ONE = "candidates were run one by one, because the network does not keep samples apart along one axis"


def measured(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None,
    jobs: list[Job],
    fit: str,
    classes: bool,
    progress: mo.Progress | None = None,
) -> tuple[LayerSensitivity, ...]:
    """What `sensitivity.sensitivity` promises, for the jobs given; jobs whose layer never runs are left out."""
    with torch.inference_mode():
        model = copy.deepcopy(model).eval()
        calls = layer_order(model, x[:1])
        jobs = [job for job in jobs if job.view.name in calls]
        if not jobs:
            return ()
        chosen = {job.view.name: job.view for job in jobs}
        goals: dict[str, Target] = {}
        if fit == "whitened":
            moments = mo.input_moments(model, tuple(chosen.values()), x, 0, progress)
            for name, moment in moments.items():
                goals[name] = target(matrix(model.get_submodule(name), chosen[name]), moment.G)
        why = ""
        try:
            with _one_thread(x):
                replay = Replay(model, chosen, x[:3])
            if set(replay.after) != set(chosen):
                why = f"it uses {min(set(chosen) - set(replay.after))!r} in a way that a trace does not show"
        except Untraceable as error:
            why = str(error)
        if why:
            return _in_full(model, x, y, jobs, goals, calls, fit, classes, why, progress)
        made = [
            candidates(
                replay.net.layers[job.view.name],
                job.view,
                job.family,
                job.levels,
                goals.get(job.view.name),
                replay.net.affine.get(job.view.name),
                replay.net.format,
            )
            for job in jobs
        ]
        tallies = _replayed(replay, jobs, made, x, y, classes, progress)
    notes = {name: "" if name in replay.stackable else ONE_BY_ONE for name in chosen}
    return tuple(
        tally.result(job, fit, classes, y is not None, notes[job.view.name])
        for job, tally in zip(jobs, tallies, strict=True)
    )


def _replayed(
    replay: Replay,
    jobs: list[Job],
    made: list[Candidates],
    x: Tensor,
    y: Tensor | None,
    classes: bool,
    progress: mo.Progress | None,
) -> list[Tally]:
    def chunk(start: int, stop: Event) -> list[Tally]:
        with torch.inference_mode():
            wanted, kept = replay.dense(x[start : start + most])
            labels = y[start : start + most] if y is not None else None
            _check(wanted, labels)
            tallies = []
            for job, candidate in zip(jobs, made, strict=True):
                if stop.is_set():
                    break
                tallies.append(_measured_chunk(replay, job, candidate, kept, wanted, labels, classes))
            return tallies

    most = replay.samples()
    starts = range(0, len(x), most)
    totals = [Tally.empty(len(job.levels)) for job in jobs]

    def take(i: int, tallies: list[Tally]) -> None:
        for total, tally in zip(totals, tallies, strict=True):
            total += tally
        if progress:
            progress("sensitivity of every layer", min(starts[i] + most, len(x)), len(x))

    _spread(chunk, starts, take, x)
    return totals


def _measured_chunk(
    replay: Replay,
    job: Job,
    candidate: Candidates,
    kept: Values,
    wanted: Tensor,
    labels: Tensor | None,
    classes: bool,
) -> Tally:
    """All candidates of one job on the samples whose dense values are `kept`."""
    name, count = job.view.name, len(job.levels)
    tally = Tally.empty(count)
    tally.size, tally.samples = float(wanted.double().square().sum()), len(wanted)
    reads = {}
    for node in replay.net.calls(name):
        reads[node] = candidate.read(kept[node.args[0]])  # type: ignore[index]
        tally.error += candidate.errors(reads[node], range(count)).cpu()
        tally.own += float(reads[node].squares.sum())
    group = min(count, replay.slots(name, len(wanted)))
    for first in range(0, count, group):
        picks = range(first, min(first + group, count))

        def layer(node: fx.Node, given: Tensor, stacked: bool, picks: Sequence[int] = picks) -> Tensor:
            axis = replay.axis(node)
            if not stacked:
                return candidate.outputs(reads[node], picks, axis)
            parts = zip(given.chunk(len(picks), axis), picks, strict=True)
            return torch.cat([candidate.outputs(candidate.read(part), [pick], axis) for part, pick in parts], axis)

        tally.score(picks, replay.suffix(name, kept, layer, len(picks)), wanted, labels, classes)
    return tally


def _spread(
    work: Callable[[int, Event], list[Tally]], items: Sequence[int], take: Callable[[int, list[Tally]], None], x: Tensor
) -> None:
    """take(i, work(item i)) in order; on a CPU the items are shared among as many threads as torch has, one each. What
    `take` raises ends the work."""
    workers, stop = torch.get_num_threads() if x.device.type == "cpu" else 1, Event()
    if workers == 1 or len(items) == 1:
        for i, item in enumerate(items):
            take(i, work(item, stop))
        return
    with (
        _one_thread(x),
        ThreadPoolExecutor(min(workers, len(items)), initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        waiting = [pool.submit(work, item, stop) for item in items]
        try:
            for i, future in enumerate(waiting):
                take(i, future.result())
        finally:
            stop.set()
            for future in waiting:
                future.cancel()


@contextmanager
def _one_thread(x: Tensor) -> Iterator[None]:
    """torch uses one thread meanwhile, where x lies on a CPU: several lose on small tensors."""
    threads = torch.get_num_threads()
    try:
        if x.device.type == "cpu":
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def _in_full(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None,
    jobs: list[Job],
    goals: dict[str, Target],
    calls: dict[str, int],
    fit: str,
    classes: bool,
    why: str,
    progress: mo.Progress | None,
) -> tuple[LayerSensitivity, ...]:
    """Without a graph: each candidate in the layer's place, and the whole network."""
    wanted = mo.logits(model, x)
    _check(wanted, y)
    made = []
    for i, job in enumerate(jobs):
        if progress:
            progress("sensitivity of every layer", i, len(jobs))
        name = job.view.name
        layer = model.get_submodule(name)
        modules = list(built(layer, job.view, job.family, job.levels, goals.get(name)))
        own = Built(layer, job.view, modules, None)
        tally = Tally.empty(len(job.levels))
        for batch in mo.batches(x):
            for given in mo.captured(model, job.view, batch, calls[name])[0]:
                read = own.read(given)
                tally.error += own.errors(read, range(len(modules))).cpu()
                tally.own += float(read.squares.sum())
        tally.size, tally.samples = float(wanted.double().square().sum()), len(x)
        for pick, module in enumerate(modules):
            exchange(model, name, module)
            outputs = mo.logits(model, x)
            exchange(model, name, layer)
            tally.score([pick], outputs, wanted, y, classes)
        made.append(tally.result(job, fit, classes, y is not None, IN_FULL.format(why=why)))
    return tuple(made)


def _check(wanted: Tensor, y: Tensor | None) -> None:
    """InputError if the dense outputs are not finite, DataError if they are not one score a class for the labels."""
    mo.checked(wanted)
    if y is not None and (wanted.ndim != 2 or int(y.max()) >= wanted.shape[1]):
        raise DataError(
            f"The network gives outputs of shape {tuple(wanted.shape[1:])}, which cannot be scored against "
            f"{int(y.max()) + 1} classes; choose data that fit it."
        )
