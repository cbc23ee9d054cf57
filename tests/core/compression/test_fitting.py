"""Repair on planted problems: each step does what its definition says, is kept only where it helps, and nothing given
is touched."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.compression import fitting
from core.compression.fitting import StepGain, fitted, mask_of, repair
from core.compression.plans import STEPS, LayerPlan, Plan, Repair
from core.errors import InputError
from core.networks.arch import ModelRef
from core.networks.forms import FAMILIES, Dense, Filters, Form, LowRank, LowRankSparse, SemiSparse, Sparse
from core.networks.modules import matrix
from core.networks.views import views
from core.numerics.lowrank_sparse import decompose
from core.numerics.regression import target
from tests.layers import LAYERS, Wrapped

pytestmark = pytest.mark.usefixtures("float64")

REF = ModelRef("file", "a test", "0" * 64)


def plan_of(forms: dict[str, Form], *steps: str, seed: int = 0) -> Plan:
    return Plan(REF, tuple(LayerPlan(name, form) for name, form in forms.items()), Repair(steps, 1000, seed))


def run(model: nn.Module, plan: Plan, x: Tensor, **more: object):  # type: ignore[no-untyped-def]
    return repair(plan, model, x, views(model, x[:1]), **more)  # type: ignore[arg-type]


def correlated(samples: int, n: int, seed: int = 0) -> Tensor:
    """Inputs of a few strong sources and some noise: features tell much of one another."""
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(4, n, generator=rng)
    return torch.randn(samples, 4, generator=rng) @ mix + 0.1 * torch.randn(samples, n, generator=rng)


def chain() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 5)).eval()


def convnet(batchnorm: bool = True) -> nn.Sequential:
    torch.manual_seed(2)
    norm = (lambda: nn.BatchNorm2d(8)) if batchnorm else nn.Identity
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), norm(), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, stride=2), norm(), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 9, 4),
    )  # fmt: skip


def with_statistics(model: nn.Module, x: Tensor) -> nn.Module:
    """The model with running statistics that are those of x, by torch's own training pass."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(x)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = 0.3
    return model.eval()


def distance(found: nn.Module, wanted: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        a, b = found(x), wanted(x)
    return float((a - b).norm() / b.norm())


def by_step(gains: tuple[StepGain, ...]) -> dict[str, StepGain]:
    return {gain.step: gain for gain in gains}


# The sequential fit


def test_a_later_layer_makes_up_for_an_earlier_one() -> None:
    """Half of the first layer's units are gone, but the others tell of them; the second layer may be anything. What it
    should be is a plain regression by numpy."""
    model, x = chain(), correlated(400, 10)
    plan = plan_of({"0": Filters(6), "2": LowRank(9)}, "whitened", "sequential")
    new, gains, _ = run(model, plan, x)
    steps = by_step(gains)
    assert steps["sequential"].kept
    assert steps["sequential"].distance < 0.7 * steps["whitened"].distance
    with torch.no_grad():
        h = new[1](new[0](x)).numpy()
        y = (model[2](model[1](model[0](x))) - model[2].bias).numpy()
        got = (new[2](torch.from_numpy(h)) - model[2].bias).numpy()
    best = h @ np.linalg.lstsq(h, y, rcond=None)[0]
    assert np.linalg.norm(got - y) <= np.linalg.norm(best - y) * 1.01
    assert np.linalg.norm(got - y) >= np.linalg.norm(best - y) * (1 - 1e-9)


def test_the_gains_are_distances_of_the_networks_returned() -> None:
    model, x = chain(), correlated(300, 10)
    forms = {"0": LowRank(3), "2": LowRank(3), "4": LowRank(3)}
    new, gains, stages = run(model, plan_of(forms, *STEPS), x, keep_stages=True)
    assert [gain.step for gain in gains] == ["plain", "whitened", "sequential", "bias"]  # there is no BatchNorm
    assert list(stages) == [gain.step for gain in gains]
    for gain in gains:
        assert gain.distance == pytest.approx(distance(stages[gain.step], model, x), rel=1e-5)
        assert gain.seconds >= 0.0
    assert distance(new, model, x) == pytest.approx(min(gain.distance for gain in gains), rel=1e-5)


def test_layers_are_fitted_in_forward_order_whatever_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = chain(), correlated(300, 10)
    names = {"0": "z", "1": "y", "2": "a", "3": "x", "4": "m"}
    renamed = nn.Sequential(OrderedDict((names[name], module) for name, module in model.named_children()))
    fitted_to: list[str] = []
    real = fitting.exchange
    monkeypatch.setattr(fitting, "exchange", lambda m, name, layer: (fitted_to.append(name), real(m, name, layer))[1])
    one, _, _ = run(model, plan_of({"0": LowRank(2), "2": LowRank(4), "4": LowRank(3)}, "sequential"), x)
    other, _, _ = run(renamed, plan_of({"m": LowRank(3), "a": LowRank(4), "z": LowRank(2)}, "sequential"), x)
    assert fitted_to == ["0", "2", "4", "z", "a", "m"]
    assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_repaired(family: str) -> None:
    model, x = convnet(batchnorm=False).eval(), torch.randn(200, 2, 6, 6)
    layers = {view.name: view for view in views(model, x[:1])}
    kind = FAMILIES[family]
    forms = {n: kind.make(max(1, kind.full(v) // 3), v) for n, v in layers.items() if not kind.obstacle(v)}
    assert forms
    _, gains, _ = run(model, plan_of(forms, "whitened", "sequential"), x)
    steps = by_step(gains)
    if family == "filters":  # a row that is kept is right already, whatever its inputs
        assert steps["whitened"].distance == pytest.approx(steps["plain"].distance)
    else:
        assert steps["whitened"].distance < steps["plain"].distance
    assert steps["sequential"].kept and steps["sequential"].distance < steps["whitened"].distance


@pytest.mark.parametrize("name", LAYERS)
def test_a_fit_at_full_rank_is_the_layer(name: str) -> None:
    make, sample = LAYERS[name]
    model = Wrapped(make()).eval()
    x = torch.randn(40, *sample)
    (view,) = views(model, x[:1])
    for family in FAMILIES.values():
        if not family.unfolding or family.obstacle(view):
            continue
        new, gains, _ = run(model, plan_of({"layer": family.make(family.full(view), view)}, "sequential"), x)
        assert min(gain.distance for gain in gains) < 1e-6
        assert by_step(gains)["sequential"].distance < 1e-4, family.id  # the ridge pulls towards the weight itself
        assert distance(new, model, x) < 1e-6


@pytest.mark.parametrize("form", [Sparse(20), SemiSparse()])
def test_fitted_masks_keep_their_zeros(form: Form) -> None:
    model, x = Wrapped(nn.Linear(12, 8)).eval(), correlated(200, 12)
    (view,) = views(model, x[:1])
    mask = mask_of(form, model.layer, view)
    W = matrix(model.layer, view)
    values, _ = fitted(form, model.layer, view, target(W, x.T @ x / 200))
    assert bool((values[~mask] == 0.0).all()) and not torch.allclose(values[mask], W[mask], rtol=1e-3)
    new, _, _ = run(model, plan_of({"layer": form}, "whitened"), x)
    assert bool((new.layer.weight[~mask] == 0.0).all())


def test_low_rank_and_sparse_is_fitted_to_the_outputs_and_keeps_its_zeros() -> None:
    model, x = Wrapped(nn.Linear(12, 8)).eval(), correlated(200, 12)
    (view,) = views(model, x[:1])
    W, form = matrix(model.layer, view), LowRankSparse(2, 15)
    start = decompose(W, 2, 15)
    A, B, S = fitted(form, model.layer, view, target(W, x.T @ x / 200))
    assert tuple(A.shape) == (8, 2) and tuple(B.shape) == (2, 12)
    assert torch.equal(S != 0, start.S != 0) and not torch.allclose(S, start.S, rtol=1e-3)

    def lost(M: Tensor) -> float:
        return float((x @ (M - W).T).norm())

    plain, half = lost(start.A @ start.B + start.S), lost(A @ B + start.S)
    assert lost(A @ B + S) < half < plain
    new, gains, _ = run(model, plan_of({"layer": form}, "whitened", "bias"), x)
    steps = by_step(gains)
    assert steps["whitened"].kept and steps["whitened"].distance < steps["plain"].distance
    assert steps["bias"].distance <= steps["whitened"].distance
    assert torch.equal(new.layer.sparse.weight != 0, start.S != 0)


@pytest.mark.parametrize("steps", [("whitened",), ("sequential",), ("batchnorm", "bias"), STEPS])
def test_low_rank_and_sparse_goes_through_every_repair_of_a_network(steps: tuple[str, ...]) -> None:
    x = torch.randn(150, 2, 6, 6)
    model = with_statistics(convnet(), x)
    forms = {"0": LowRankSparse(1, 10), "3": LowRankSparse(2, 40), "7": LowRankSparse(1, 30)}
    new, gains, _ = run(model, plan_of(forms, *steps), x)
    kept = [gain.distance for gain in gains if gain.kept]
    assert kept == sorted(kept, reverse=True) and distance(new, model, x) == pytest.approx(kept[-1], rel=1e-6)
    assert len(kept) > 1 or "whitened" not in steps


def test_only_masks_have_masks() -> None:
    model = Wrapped(nn.Linear(12, 8))
    (view,) = views(model)
    with pytest.raises(ValueError, match="LowRank"):
        mask_of(LowRank(2), model.layer, view)


# BatchNorm


def test_batchnorm_statistics_are_those_of_the_compressed_network() -> None:
    """Rank 3 of 8 moves the means of inputs that are far from centred."""
    x = torch.randn(250, 2, 6, 6) + 2.0
    model = with_statistics(convnet(), x)
    new, gains, _ = run(model, plan_of({"3": LowRank(3)}, "batchnorm"), x)
    assert by_step(gains)["batchnorm"].kept
    halves = []
    for half in (x[:125], x[125:]):  # one batch each; while they are averaged, each batch is normalised by itself
        with torch.no_grad():
            h = new[0](half)
            h = (h - h.mean((0, 2, 3), keepdim=True)) / (h.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
            halves.append(new[3](new[2](h * new[1].weight.view(1, -1, 1, 1) + new[1].bias.view(1, -1, 1, 1))))
    mean = sum(h.mean((0, 2, 3)) for h in halves) / 2
    variance = sum(h.movedim(1, 0).flatten(1).var(1) for h in halves) / 2
    assert torch.allclose(new[4].running_mean, mean, atol=1e-6)
    assert torch.allclose(new[4].running_var, variance, rtol=1e-5)
    assert new[4].momentum == model[4].momentum
    assert not any(module.training for module in new.modules())


def test_batchnorm_of_a_network_that_is_right_already_is_not_kept() -> None:
    """Statistics of two samples are worse than the stored ones."""
    x = torch.randn(250, 2, 6, 6)
    model = with_statistics(convnet(), x)
    new, gains, _ = run(model, plan_of({"3": LowRank(7)}, "batchnorm"), x[:2])
    assert not by_step(gains)["batchnorm"].kept
    assert torch.equal(new[4].running_mean, model[4].running_mean)


@pytest.mark.parametrize("samples", [2, 126, 251])
def test_batchnorm_never_meets_a_batch_of_one(samples: int) -> None:
    model = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).eval()
    _, gains, _ = run(model, plan_of({"0": LowRank(2)}, "batchnorm"), correlated(samples, 10))
    assert math.isfinite(by_step(gains)["batchnorm"].distance)


def test_one_sample_is_too_few_for_batchnorm() -> None:
    model = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).eval()
    _, gains, _ = run(model, plan_of({"0": LowRank(2)}, *STEPS), correlated(1, 10))
    assert [gain.step for gain in gains] == ["plain", "whitened", "sequential"]


# Biases


def test_bias_correction_restores_the_mean_output_of_a_linear_chain() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(10, 8), nn.Linear(8, 6), nn.Linear(6, 4)).eval()
    x = correlated(300, 10) + 2.0
    new, gains, _ = run(model, plan_of({"0": LowRank(1), "1": LowRank(2), "2": Sparse(8)}, "bias"), x)
    assert by_step(gains)["bias"].kept
    with torch.no_grad():
        assert torch.allclose(new(x).mean(0), model(x).mean(0), atol=1e-12)
        for i in (1, 2):  # and of every layer on the way
            assert torch.allclose(new[:i](x).mean(0), model[:i](x).mean(0), atol=1e-12)


def test_biases_before_batchnorm_are_left_alone() -> None:
    x = torch.randn(250, 2, 6, 6) + 1.0
    model = with_statistics(convnet(), x)
    _, gains, _ = run(model, plan_of({"0": LowRank(1), "3": LowRank(1)}, "bias"), x)
    assert [gain.step for gain in gains] == ["plain"]
    new, _, _ = run(model, plan_of({"0": LowRank(1), "7": LowRank(1)}, "bias"), x)
    assert torch.equal(new[0].second.bias, model[0].bias)
    assert not torch.equal(new[7].second.bias, model[7].bias)


# What holds for all of it


def test_a_step_that_does_harm_is_reported_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = chain(), correlated(300, 10)

    def ruin(plan: Plan, model: nn.Module, *_: object) -> nn.Module:
        new = copy.deepcopy(model)
        with torch.no_grad():
            new[4].weight.zero_()
        return new

    plan = plan_of({"0": LowRank(3), "2": LowRank(3)}, "whitened", "bias")
    honest, _, _ = run(model, plan_of({"0": LowRank(3), "2": LowRank(3)}, "bias"), x)
    monkeypatch.setattr(fitting, "_whitened", ruin)
    new, gains, stages = run(model, plan, x, keep_stages=True)
    assert not by_step(gains)["whitened"].kept
    assert by_step(gains)["whitened"].distance > by_step(gains)["plain"].distance
    assert torch.equal(new(x), honest(x))
    assert bool((stages["whitened"][4].weight == 0).all())


def test_a_network_that_gives_nan_is_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = chain(), correlated(300, 10)

    def ruin(plan: Plan, model: nn.Module, *_: object) -> nn.Module:
        new = copy.deepcopy(model)
        with torch.no_grad():
            new[4].weight.fill_(math.nan)
        return new

    monkeypatch.setattr(fitting, "_whitened", ruin)
    new, gains, _ = run(model, plan_of({"0": LowRank(3)}, "whitened"), x)
    assert gains[1].distance == math.inf and not gains[1].kept
    assert bool(new(x).isfinite().all())


def test_nothing_given_is_touched() -> None:
    x = torch.randn(150, 2, 6, 6)
    model = with_statistics(convnet(), x).train()
    before, given = copy.deepcopy(model.state_dict()), x.clone()
    run(model, plan_of({"0": LowRank(1), "3": LowRank(2), "7": Sparse(50)}, *STEPS), x)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(x, given)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_two_runs_agree_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting.mo, "rows_wanted", lambda view: 500)  # so that positions are drawn
    x = torch.randn(150, 2, 6, 6)
    model = with_statistics(convnet(), x)
    forms: dict[str, Form] = {"0": LowRank(1), "3": FAMILIES["spatial"].make(4, views(model)[1]), "7": LowRank(2)}
    made = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        made.append(run(model, plan_of(forms, *STEPS, seed=seed), x))
    first, second, other = ({n: t.clone() for n, t in network.state_dict().items()} for network, _, _ in made)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [(g.step, g.distance, g.kept) for g in made[0][1]] == [(g.step, g.distance, g.kept) for g in made[1][1]]
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_without_steps_or_layers_there_is_only_plain_truncation() -> None:
    model, x = chain(), correlated(50, 10)
    _, gains, _ = run(model, plan_of({"0": LowRank(2)}), x)
    assert [gain.step for gain in gains] == ["plain"]
    for forms in ({}, {"0": Dense()}):
        new, gains, _ = run(model, plan_of(forms, *STEPS), x)
        assert [(gain.step, gain.distance) for gain in gains] == [("plain", 0.0)]
        assert torch.equal(new(x), model(x))


def test_a_layer_that_never_runs_is_truncated_all_the_same() -> None:
    model = Wrapped(nn.Linear(10, 6)).eval()
    model.add_module("spare", nn.Linear(10, 6))
    new, _, _ = run(model, plan_of({"layer": LowRank(2), "spare": LowRank(2)}, *STEPS), correlated(50, 10))
    A, B = new.spare.second.weight, new.spare.first.weight
    U, S, Vh = np.linalg.svd(model.spare.weight.detach().numpy(), full_matrices=False)
    assert np.abs((A @ B).detach().numpy() - (U[:, :2] * S[:2]) @ Vh[:2]).max() < 1e-10


def test_a_layer_that_runs_twice_is_fitted_to_both() -> None:
    model = Wrapped(nn.Linear(10, 6), times=2).eval()
    _, gains, _ = run(model, plan_of({"layer": LowRank(2)}, "sequential"), correlated(60, 10))
    assert by_step(gains)["sequential"].kept


def test_a_network_whose_own_outputs_are_not_finite_is_refused() -> None:
    model = chain()
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    with pytest.raises(InputError, match="NaN"):
        run(model, plan_of({"0": LowRank(2)}, *STEPS), correlated(50, 10))


def test_progress_is_told_what_is_done() -> None:
    told = []
    plan = plan_of({"0": LowRank(2), "2": LowRank(2)}, *STEPS)
    run(chain(), plan, correlated(50, 10), progress=lambda what, done, of: told.append((what, done, of)))
    assert {what for what, _, _ in told} >= {"dense outputs", "second moments", "sequential fit", "bias correction"}
    assert all(0 <= done <= of for _, done, of in told)
