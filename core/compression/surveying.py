"""Surveys a network: spectra and diagnostics from its weights, output and damage curves from a calibration batch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from core.compression import moments as mo
from core.compression.apply import exchange
from core.compression.fitting import fitted, mask_of
from core.compression.survey import Curve, LayerSurvey, Survey, interpolated
from core.errors import InputError
from core.networks.bare_states import state_rest, state_views, state_weights
from core.networks.checkpoints import Opened
from core.networks.forms import FAMILIES, Family, layer_obstacle
from core.networks.inspection import rest_of
from core.networks.modules import matrix
from core.networks.views import LayerView, views
from core.numerics.conv import matricize
from core.numerics.diagnostics import diagnose, shuffled
from core.numerics.regression import Fitter, Target, fit_masked, taps, target
from core.numerics.svd import Spectrum, spectra
from core.numerics.whitening import whiten

FITTED_LEVELS = 7
"""Levels at which a form without a closed output error is fitted; between them the curve is linear (chosen)."""

DAMAGE_SHARES = (0.0, 0.125, 0.25, 0.5, 0.75)
"""Shares of full rank at which a layer's damage is measured; 0 stands for rank 1 (chosen)."""

DAMAGE_SAMPLES = 256

STORED_LEVELS = 97
"""Most levels a curve stores (chosen: the figures thin to as many; levels between are linear)."""


def survey_model(opened: Opened, progress: mo.Progress | None = None) -> Survey:
    """Everything that the weights alone tell. A network that can be run also gets positions and MACs; without a module
    the survey says why and counts parameters and bytes only. InputError as `layers_of`."""
    model, shape = opened.module, opened.takes.input_shape if opened.takes else ()
    layers = layers_of(opened)
    if model is not None:
        rest, lines = rest_of(model, layers, torch.zeros(1, *shape) if shape else None)
        weights = _module_matrices(model, layers)
    else:
        rest, lines = state_rest(opened.state, layers)
        stored = state_weights(opened.state, layers)
        weights = {view.name: _as_stored(stored[view.name], view) for view in layers if view.name in stored}
    return Survey(
        model=opened.ref,
        arch=opened.arch.label if opened.arch else "",
        reason=opened.reason,
        notes=opened.notes,
        layers=_surveyed(layers, weights, progress),
        rest=rest,
        rest_lines=lines,
        input_shape=tuple(shape),
        num_classes=opened.arch.num_classes if opened.arch else 0,
    )


def layers_of(opened: Opened) -> tuple[LayerView, ...]:
    """The layers of a network, with the sizes that one sample gives them where it is known what it takes; without a
    module those of its state dict. InputError if such a sample cannot be run."""
    if opened.module is None:
        return state_views(opened.state)
    if opened.takes is None:
        return views(opened.module, None)
    shape = opened.takes.input_shape
    try:
        return views(opened.module, torch.zeros(1, *shape))
    except Exception as error:  # it may be the user's own network: whatever that raises
        raise InputError(
            f"{opened.ref.name} cannot be run on a sample of shape {shape}; name its network with --arch, or say with "
            "--input what it takes."
        ) from error


def calibrate(
    survey: Survey, model: nn.Module, x: Tensor, conditions: str, seed: int = 0, progress: mo.Progress | None = None
) -> Survey:
    """The survey with output and damage curves from the inputs x (samples, ...), already normalised.

    conditions  in words, what x is: shown wherever a curve is. ValueError if x is empty, InputError if the
    network's outputs on it are not finite."""
    if not len(x):
        raise ValueError("calibration needs at least one sample")
    model = copy.deepcopy(model).eval()
    few = x[:DAMAGE_SAMPLES]
    wanted = mo.checked(mo.logits(model, few))
    chosen = tuple(layer.view for layer in survey.layers if not layer.obstacle)
    found = mo.input_moments(model, chosen, x, seed, progress)
    made = []
    for i, layer in enumerate(survey.layers):
        if progress:
            progress("output errors and damage", i, len(survey.layers))
        name = layer.view.name
        if name not in found:
            made.append(layer)
            continue
        module = model.get_submodule(name)
        goal = target(matrix(module, layer.view), found[name].G)
        known = _damage(model, layer.view, goal, few, wanted, survey.num_classes)
        curves = tuple(_with_output(curve, module, layer.view, goal, known) for curve in layer.curves)
        whitened = whiten(matrix(module, layer.view), found[name].G).spectrum
        made.append(replace(layer, whitened=whitened, curves=curves))
    return replace(survey, layers=tuple(made), calibration=conditions)


def matrix_of(opened: Opened, view: LayerView) -> Tensor:
    """W (m, n) of a layer, in the "rows" unfolding, from the network, or where there is none from its state dict."""
    if opened.module is not None:
        return matrix(opened.module.get_submodule(view.name), view)
    return _unfolded(_as_stored(state_weights(opened.state, (view,))[view.name], view), view, "rows")


def _surveyed(
    layers: tuple[LayerView, ...], weights: Mapping[str, Tensor], progress: mo.Progress | None
) -> tuple[LayerSurvey, ...]:
    usable = [view for view in layers if view.finite and view.name in weights and min(view.m, view.n) > 0]
    jobs: list[tuple[str, str]] = []
    matrices: list[Tensor] = []
    for view in usable:
        for unfolding in dict.fromkeys(["rows", *(f.unfolding for f in _families(view) if f.unfolding)]):
            jobs.append((view.name, unfolding))
            matrices.append(_unfolded(weights[view.name], view, unfolding))
    if progress:
        progress("spectra", 0, len(usable))
    by_layer: dict[str, list[tuple[str, Spectrum]]] = {}
    for (name, unfolding), spectrum in zip(jobs, _pooled(matrices), strict=True):
        by_layer.setdefault(name, []).append((unfolding, spectrum))
    made = []
    for i, view in enumerate(layers):
        if progress:
            progress("diagnostics", i, len(layers))
        pairs = tuple(by_layer.get(view.name, ()))
        W = weights.get(view.name)
        flat = W.reshape(view.groups, -1)[0].reshape(view.m, view.n) if pairs and W is not None else None
        made.append(
            LayerSurvey(
                view=view,
                obstacle=layer_obstacle(view),
                spectra=pairs,
                whitened=None,
                shuffled=shuffled(flat, seed=0) if flat is not None else None,
                diagnostics=diagnose(pairs[0][1]) if pairs else None,
                curves=tuple(_plain_curve(f, view, dict(pairs), W) for f in _families(view)) if W is not None else (),
            )
        )
    return tuple(made)


def _families(view: LayerView) -> list[Family]:
    return [family for family in FAMILIES.values() if not family.obstacle(view)]


def _unfolded(W: Tensor, view: LayerView, unfolding: str) -> Tensor:
    """(groups, rows, columns) stack for grouped layers, a plain matrix otherwise."""
    if view.groups > 1:
        return W.reshape(view.groups, view.m, view.n)
    return matricize(W, unfolding) if view.kernel else W


def _pooled(matrices: list[Tensor]) -> list[Spectrum]:
    """Spectra in order; of a stack of groups the values of all groups together, those of the block-diagonal matrix."""
    flat = [part for M in matrices for part in (M if M.ndim == 3 else (M,))]
    found = iter(spectra(flat))
    made = []
    for M in matrices:
        if M.ndim == 2:
            made.append(next(found))
            continue
        parts = [next(found) for _ in range(M.shape[0])]
        values = sorted((s for part in parts for s in part.S), reverse=True)
        rows, columns = M.shape[0] * M.shape[1], M.shape[0] * M.shape[2]
        values += [0.0] * (min(rows, columns) - len(values))
        made.append(Spectrum.from_values(rows, columns, values))
    return made


def _levels(full: int) -> tuple[int, ...]:
    if full <= STORED_LEVELS:
        return tuple(range(1, full + 1))
    return tuple(int(v) for v in np.unique(np.rint(np.geomspace(1, full, STORED_LEVELS))))


def _plain_curve(family: Family, view: LayerView, pairs: Mapping[str, Spectrum], W: Tensor) -> Curve:
    if family.unfolding:
        spectrum = pairs[family.unfolding]
        at = _levels(spectrum.k)
        return Curve(family.id, at, tuple(spectrum.error(r) for r in at))
    M = W.reshape(view.m, view.n) if view.kind != "hf_conv1d" else W
    squares = M.double().square()
    whole = float(squares.sum()) or 1.0
    if family.id == "sparse24":
        lost = float(squares.reshape(view.m, -1, 4).sort(-1).values[..., :2].sum())
        return Curve(family.id, (50,), (math.sqrt(lost / whole),))
    if family.id == "filters":
        entries, at = squares.sum(1), _levels(view.m)
        counts = list(at)
    else:
        entries, at = squares.flatten(), tuple(range(1, 101))
        counts = [max(1, round(percent * view.size / 100)) for percent in at]
    if family.id == "random":  # on average over seeds
        share = float(squares.sum()) / whole
        return Curve(family.id, at, tuple(math.sqrt(share * (1.0 - count / view.size)) for count in counts))
    kept = entries.sort(descending=True).values
    tail = torch.cat([kept.flip(0).cumsum(0).flip(0), kept.new_zeros(1)])
    return Curve(family.id, at, tuple(math.sqrt(max(float(tail[c]), 0.0) / whole) for c in counts))


def _with_output(
    curve: Curve, module: nn.Module, view: LayerView, goal: Target, known: tuple[tuple[float, float], ...]
) -> Curve:
    """The curve with its output errors (after fitting) and the damage that `known` (error, damage) pairs predict."""
    family = FAMILIES[curve.family]
    picked = curve.at
    if curve.family != "lowrank" and len(curve.at) > FITTED_LEVELS:
        where = np.unique(np.rint(np.linspace(0, 1, FITTED_LEVELS) ** 1.5 * (len(curve.at) - 1)).astype(int))
        picked = tuple(curve.at[i] for i in where)
    if curve.family == "lowrank":
        S = whiten(goal.M, goal.G).spectrum
        errors = [S.error(r) for r in picked]
    elif family.unfolding:
        fitter = Fitter(goal, taps(view.channels_in, view.kernel, family.unfolding))
        errors = [fitter.error(r) for r in picked]
    else:
        errors = [goal.error(fit_masked(goal, mask_of(family.make(level, view), module, view), 15)) for level in picked]
    falling = np.minimum.accumulate(errors)
    output = np.interp(curve.at, picked, falling)
    damage = np.array([interpolated(known, float(e)) for e in output])
    return replace(curve, output=tuple(map(float, output)), damage=tuple(map(float, damage)))


def _damage(
    model: nn.Module, view: LayerView, goal: Target, x: Tensor, wanted: Tensor, num_classes: int
) -> tuple[tuple[float, float], ...]:
    """(output error, damage) of the layer alone at low-rank levels from rank 1 up, errors increasing, damages too.

    Of the low-rank family only: measured on ResNet-20, a layer's damage follows its output error whatever the family
    (spatial against low-rank: within a factor of 1.4 for two layers in three)."""
    module = model.get_submodule(view.name)
    family, full = FAMILIES["lowrank"], min(view.m, view.n)
    S = whiten(goal.M, goal.G).spectrum
    found = []
    for level in sorted({max(1, round(share * full)) for share in DAMAGE_SHARES}):
        form = family.make(level, view)
        exchange(model, view.name, form.build(module, view, fitted(form, module, view, goal)).eval())
        outputs = mo.logits(model, x)
        exchange(model, view.name, module)
        lost = mo.divergence(outputs, wanted) if num_classes else mo.relative_distance(outputs, wanted) ** 2
        found.append((S.error(level), max(lost, 1e-12)))
    found.sort()
    highest = 0.0
    rising = []
    for error, lost in found:
        highest = max(highest, lost)
        rising.append((error, highest))
    return tuple(rising)


def _module_matrices(model: nn.Module, layers: tuple[LayerView, ...]) -> dict[str, Tensor]:
    from core.networks.inspection import weight_of

    made = {}
    for view in layers:
        weight = weight_of(model.get_submodule(view.name.removesuffix(".in_proj"))).detach()
        made[view.name] = _as_stored(weight, view)
    return made


def _as_stored(weight: Tensor, view: LayerView) -> Tensor:
    """The weight with outputs first; any shape beyond a convolution's flattened to (m, n)."""
    if view.kind == "hf_conv1d":
        return weight.T
    return weight if view.kernel else weight.reshape(view.groups * view.m, view.n)
