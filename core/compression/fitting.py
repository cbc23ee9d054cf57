"""Repair without labels: what a calibration batch of inputs gives back to a plan.

    whitened     each layer's factors minimise the error of its own outputs for the inputs it has in the dense network.
    sequential   layers in forward order: each is fitted so that, from the inputs the *compressed* layers before it
                 give, it reproduces the outputs it had in the *dense* network. One pass a layer; only second moments
                 are kept.
    batchnorm    running means and variances re-estimated from the calibration batch.
    bias         the mean error of a compressed layer's outputs is taken off its bias, in forward order; layers that
                 have a bias and are not followed by BatchNorm.

Of low rank + sparse, a fit starts from the parts that fit the weights best (`numerics.lowrank_sparse`). The positions
of the sparse part stay those. First the factors are fitted, exactly, to what the sparse part leaves of the goal, then
the sparse part's values to what the factors leave; neither raises the error of the outputs.

Rows that a plan removes for real go between the second and the third, so the last two work on the smaller network.
A step is kept only where it brings the network's outputs on the calibration batch closer to the dense network's;
every step's distance is reported, kept or not. No labels, no gradients.
Source: SVD-LLM for whitening; the sequential fit is derived (`numerics.regression`); re-estimated BatchNorm and bias
correction are common practice in quantisation.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from core.compression import moments as mo
from core.compression.apply import apply, exchange
from core.compression.plans import LayerPlan, Plan
from core.compression.removal import Removal, Rows
from core.networks.forms import Dense, Form, LowRankSparse, RandomSparse, family_of
from core.networks.inspection import layer_order
from core.networks.modules import bias_of, magnitude_mask, matrix, random_mask, row_mask, two_of_four_mask
from core.networks.views import LayerView
from core.numerics.lowrank_sparse import decompose
from core.numerics.regression import Fitter, Target, fit_masked, taps, target

Factors = tuple[Tensor, ...]

FITS = ("whitened", "sequential")
"""Steps that come before rows are removed."""

REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class StepGain:
    """One repair step: relative distance of the outputs to the dense network's on the calibration batch after it, and
    whether it was kept (the distance fell). "plain" is truncation without repair; "removed", the masked rows taken out,
    is always kept. seconds of wall time."""

    step: str
    distance: float
    kept: bool
    seconds: float


def repair(
    plan: Plan,
    model: nn.Module,
    x: Tensor,
    layers: tuple[LayerView, ...],
    progress: mo.Progress | None = None,
    keep_stages: bool = False,
    removal: Removal | None = None,
) -> tuple[nn.Module, tuple[StepGain, ...], dict[str, nn.Module]]:
    """The plan applied to `model` and repaired on the inputs x (samples, ...), already normalised.

    Returns the network, the gain of each step of `plan.repair.steps` in order (after "plain"; a step with nothing to
    act on, such as BatchNorm where there is none, is left out), and, if keep_stages, the network after each by its
    name. removal  what is taken out for real, with its plan, which names the rows, in place of `plan`.
    `model` is not touched. x alone decides; `plan.repair.seed` draws positions. InputError if the outputs of the
    network itself are not finite."""
    plan = removal.plan if removal is not None else plan
    model = copy.deepcopy(model).eval()
    by_name = {view.name: view for view in layers}
    entries = [entry for entry in plan.layers if not isinstance(entry.form, Dense)]
    wanted = mo.checked(mo.logits(model, x, progress, "dense outputs"))
    started = time.perf_counter()
    best = apply(plan, model, layers)
    distance = mo.relative_distance(mo.logits(best, x), wanted)
    gains = [StepGain("plain", distance, True, time.perf_counter() - started)]
    stages = {"plain": best}
    kept: Mapping[str, tuple[int, ...]] = {}
    for step in _order(plan, removal) if entries else ():
        started = time.perf_counter()
        tried: nn.Module | None
        if step == "whitened":
            tried = _whitened(plan, model, entries, by_name, layers, x, progress)
        elif step == "sequential":
            tried = _sequential(model, entries, by_name, x, plan.repair.seed, progress)
        elif step == REMOVED and removal is not None:
            tried, kept = removal.taken(best, x[:1]), removal.kept
        elif step == "batchnorm":
            tried = _batchnorm(best, x, progress)
        else:
            tried = _bias(model, best, entries, by_name, x, kept, progress)
        if tried is None:
            continue
        now = mo.relative_distance(mo.logits(tried, x), wanted)
        better = now < distance or step == REMOVED
        gains.append(StepGain(step, now, better, time.perf_counter() - started))
        if better:
            best, distance = tried, now
        if keep_stages:
            stages[step] = tried
    return best, tuple(gains), stages


def _order(plan: Plan, removal: Removal | None) -> list[str]:
    """The plan's repair steps, with the removal where it belongs if anything goes."""
    steps = list(plan.repair.steps)
    if removal is not None and removal.cuts:
        steps.insert(sum(step in FITS for step in steps), REMOVED)
    return steps


def fitted(form: Form, layer: nn.Module, view: LayerView, goal: Target) -> Factors:
    """What `form.build` needs to reproduce `goal` as well as the form allows: A (rows, r) and B (r, columns) of its
    unfolding, and S (m, n) where it has a sparse part too; or for a mask its new values (m, n) twice."""
    return next(fitted_each([form], layer, view, goal))


def fitted_each(forms: Sequence[Form], layer: nn.Module, view: LayerView, goal: Target) -> Iterator[Factors]:
    """`fitted` of each of several forms of one family; what does not depend on the level is made once."""
    family = family_of(forms[0])
    if forms[0].family == "lowrank_sparse":
        yield from (_fitted_split(form, layer, view, goal) for form in forms)
        return
    if family.unfolding:
        P = taps(view.channels_in, view.kernel, family.unfolding) if view.kernel else torch.arange(view.n)[None]
        fitter = Fitter(goal, P)
    for form in forms:
        if family.unfolding:
            A, B = fitter.fit(form.level)
            yield _stacked(A, family.unfolding, view), B
        else:
            values = fit_masked(goal, mask_of(form, layer, view))
            yield values, values


def _fitted_split(form: Form, layer: nn.Module, view: LayerView, goal: Target) -> Factors:
    """A, B and S of low rank + sparse, as the head of this file says."""
    assert isinstance(form, LowRankSparse)
    start = decompose(matrix(layer, view), form.rank, form.nonzeros)
    S = start.S.to(goal.M)
    everything = torch.arange(view.n, device=S.device)[None]
    A, B = Fitter(Target(goal.M - S, goal.G), everything).fit(form.rank)
    M = goal.M - A[0] @ B
    return A[0], B, fit_masked(Target(M, goal.G), S != 0)


def mask_of(form: Form, layer: nn.Module, view: LayerView) -> Tensor:
    """(m, n) bool, the entries that a sparse form keeps. ValueError for a form that is not a mask."""
    if isinstance(form, Rows):
        return form.mask(layer, view)
    if form.family == "sparse":
        return magnitude_mask(layer, view, form.level)
    if form.family == "sparse24":
        return two_of_four_mask(layer, view)
    if form.family == "filters":
        return row_mask(layer, view, form.level)
    if isinstance(form, RandomSparse):
        return random_mask(layer, view, form.nonzeros, form.seed)
    raise ValueError(f"{form} is not a mask")


def _stacked(A: Tensor, unfolding: str, view: LayerView) -> Tensor:
    """A (taps, m, r) as the left factor of the unfolded matrix, whose rows run output by output, then tap by tap."""
    if unfolding == "rows" or not view.kernel:
        return A[0]
    return A.movedim(0, 1).reshape(-1, A.shape[2])


def _whitened(
    plan: Plan,
    model: nn.Module,
    entries: list[LayerPlan],
    by_name: dict[str, LayerView],
    layers: tuple[LayerView, ...],
    x: Tensor,
    progress: mo.Progress | None,
) -> nn.Module:
    chosen = tuple(by_name[entry.layer] for entry in entries)
    found = mo.input_moments(model, chosen, x, plan.repair.seed, progress)
    factors = {}
    for i, entry in enumerate(entries):
        if progress:
            progress("fit each layer", i, len(entries))
        if entry.layer in found:
            layer, view = model.get_submodule(entry.layer), by_name[entry.layer]
            factors[entry.layer] = fitted(entry.form, layer, view, target(matrix(layer, view), found[entry.layer].G))
    return apply(plan, model, layers, factors)


def _sequential(
    model: nn.Module,
    entries: list[LayerPlan],
    by_name: dict[str, LayerView],
    x: Tensor,
    seed: int,
    progress: mo.Progress | None,
) -> nn.Module:
    calls = layer_order(model, x[:1])
    order = {name: i for i, name in enumerate(calls)}
    new = copy.deepcopy(model)
    ran = [entry for entry in entries if entry.layer in calls]
    for i, entry in enumerate(sorted(ran, key=lambda e: order[e.layer])):
        if progress:
            progress("sequential fit", i, len(ran))
        layer, view = model.get_submodule(entry.layer), by_name[entry.layer]
        G, C = mo.paired_moments(model, new, view, x, calls[entry.layer], seed)
        goal = target(matrix(layer, view), G, C)
        exchange(new, entry.layer, entry.form.build(layer, view, fitted(entry.form, layer, view, goal)))
    for entry in entries:
        if entry.layer not in calls:
            exchange(new, entry.layer, entry.form.build(model.get_submodule(entry.layer), by_name[entry.layer]))
    return new


def _batchnorm(best: nn.Module, x: Tensor, progress: mo.Progress | None) -> nn.Module | None:
    """A copy with running statistics averaged over the calibration batches; None if there is no BatchNorm, or only one
    sample to take the statistics of."""
    new = copy.deepcopy(best)
    norms = _norms(new)
    if not norms or len(x) < 2:
        return None
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    mo.logits(new, x, progress, "BatchNorm statistics")
    for norm, old in zip(norms, _norms(best), strict=True):
        norm.momentum = old.momentum
    return new.eval()


def _norms(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) and m.track_running_stats]


def _bias(
    model: nn.Module,
    best: nn.Module,
    entries: list[LayerPlan],
    by_name: dict[str, LayerView],
    x: Tensor,
    kept: Mapping[str, tuple[int, ...]],
    progress: mo.Progress | None,
) -> nn.Module | None:
    """A copy whose compressed layers have the mean outputs of the dense ones; None if no such layer has a bias.

    kept  layer -> its rows that are left, where some were removed."""
    calls = layer_order(model, x[:1])
    ran = [entry for entry in entries if by_name[entry.layer].bias and entry.layer in calls]
    chosen = [entry for entry in ran if not _before_norm(model, entry.layer, calls)]
    if not chosen:
        return None
    new = copy.deepcopy(best)
    for i, entry in enumerate(sorted(chosen, key=lambda e: list(calls).index(e.layer))):
        if progress:
            progress("bias correction", i, len(chosen))
        view = by_name[entry.layer]
        rows = list(kept.get(entry.layer, range(view.m)))
        smaller = replace(view, m=len(rows))
        gap, count = torch.zeros(len(rows), dtype=torch.float64), 0
        for batch in mo.batches(x):
            _, have = mo.captured(new, view, batch, calls[entry.layer])
            _, want = mo.captured(model, view, batch, calls[entry.layer])
            for a, b in zip(have, want, strict=True):
                D = mo.output_rows(view, b)[:, rows].double() - mo.output_rows(smaller, a).double()
                gap, count = gap + D.sum(0), count + len(D)
        bias = bias_of(new.get_submodule(entry.layer))
        with torch.no_grad():
            bias += (gap / count).to(bias)
    return new


def _before_norm(model: nn.Module, name: str, calls: dict[str, int]) -> bool:
    """Whether the next leaf module that runs after the layer is a BatchNorm."""
    names = list(calls)
    at = names.index(name) + 1
    return at < len(names) and isinstance(model.get_submodule(names[at]), nn.BatchNorm1d | nn.BatchNorm2d)
