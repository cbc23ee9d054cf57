"""Measured damage of a layer alone is that of the network in which `apply` put the form, run as a whole."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.compression import replay
from core.compression.apply import apply
from core.compression.fitting import fitted
from core.compression.plans import LayerPlan, Plan
from core.compression.sensitivity import LayerSensitivity, candidate_levels, sensitivity
from core.errors import DataError, InputError
from core.networks.arch import ModelRef, make_arch
from core.networks.forms import FAMILIES, Dense, layer_obstacle
from core.networks.modules import matrix
from core.networks.views import LayerView, views
from core.networks.zoo import build
from core.numerics.regression import target
from tests import networks
from tests.layers import LAYERS, Conv1D, Wrapped

REF = ModelRef("file", "a test", "0" * 64)
CLOSE = {"rel": 1e-4, "abs": 1e-9}
"""What the module promises in float32."""


def zoo(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: build(make_arch(name, {"in_channels": 3, "num_classes": 5, **options}))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (networks.Residual, (3, 6, 6)),
    "branched": (networks.Branched, (3, 6, 5)),
    "one layer used three times": (networks.Twice, (4, 5, 5)),
    "sequence first": (networks.SequenceFirst, (5, 6)),
    "read twice": (networks.ReadTwice, (3, 6, 6)),
    "changed in place": (networks.InPlace, (6,)),
    "transformer": (zoo("transformer", in_channels=1, size=8, patch=4, dim=16, depth=1, hidden=24), (1, 8, 8)),
    "resnet": (zoo("resnet", widths=(4, 8), blocks=(1, 2)), (3, 8, 8)),
    "resnet18": (zoo("resnet18", widths=(4, 8), blocks=(1, 1), stem=3), (3, 8, 8)),
    "convnet": (zoo("convnet", widths=(6, 8)), (3, 8, 8)),
    "Hugging Face": (lambda: nn.Sequential(Conv1D(8, 6), nn.ReLU(), Conv1D(5, 8)), (6,)),
    "conv1d": (networks.Waves, (4, 7)),
}


def made(name: str, samples: int = 9) -> tuple[nn.Module, Tensor, tuple[LayerView, ...]]:
    make, sample = NETWORKS[name]
    torch.manual_seed(1)
    model = networks.prepared(make())
    x = torch.randn(samples, *sample)
    return model, x, views(model, torch.zeros(1, *sample))


def witness(
    model: nn.Module, x: Tensor, layers: tuple[LayerView, ...], entry: LayerSensitivity, classes: bool, y: Tensor | None
) -> list[tuple[float, float, float]]:
    """(damage, distance, accuracy) a level: the plan applied, the whole network run, the definitions in numpy."""
    view = next(view for view in layers if view.name == entry.layer)
    with torch.no_grad():
        dense = model(x).double().numpy()
    found = []
    for level in entry.at:
        form = FAMILIES[entry.family].make(level, view)
        factors = {}
        if entry.fit == "whitened":
            layer = model.get_submodule(view.name)
            factors[view.name] = fitted(form, layer, view, target(matrix(layer, view), moment(model, view, x)))
        new = apply(Plan(REF, (LayerPlan(view.name, form),)), model, layers, factors)
        with torch.no_grad():
            out = new(x).double().numpy()
        distance = float(np.linalg.norm(out - dense) / np.linalg.norm(dense))
        if classes:
            p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (dense, out))
            damage = float((p * np.log(p / q)).sum(1).mean())
        else:
            damage = distance**2
        accuracy = float((out.argmax(1) == y.numpy()).mean()) if y is not None else 0.0
        found.append((damage, distance, accuracy))
    return found


def moment(model: nn.Module, view: LayerView, x: Tensor) -> Tensor:
    """Mean of x xᵀ over the layer's inputs, from a hook and torch's unfold."""
    rows: list[Tensor] = []

    def hook(layer: nn.Module, given: tuple[Tensor], _: Tensor) -> None:
        h = given[0]
        if view.kernel:
            unfold = nn.Unfold(view.kernel, view.dilation, layer.padding, view.stride)
            rows.append(unfold(h).transpose(1, 2).reshape(-1, view.n))
        else:
            rows.append(h.reshape(-1, view.n))

    handle = model.get_submodule(view.name).register_forward_hook(hook)
    with torch.no_grad():
        model(x)
    handle.remove()
    X = torch.cat(rows).double()
    return X.T @ X / len(X)


def agree(
    model: nn.Module, x: Tensor, layers: tuple[LayerView, ...], **options: object
) -> tuple[LayerSensitivity, ...]:
    y = torch.arange(len(x)) % 3
    for classes in (5, 0):
        found = sensitivity(model, x, layers, y=y, num_classes=classes, **options)  # type: ignore[arg-type]
        for entry in found:
            wanted = witness(model, x, layers, entry, bool(classes), y)
            got = list(zip(entry.damage, entry.distance, entry.accuracy, strict=True))
            assert len(got) == len(wanted) == len(entry.at)
            for (damage, distance, accuracy), want in zip(got, wanted, strict=True):
                assert damage == pytest.approx(want[0], **CLOSE), (entry.layer, entry.family)
                assert distance == pytest.approx(want[1], rel=1e-4, abs=1e-6)
                assert accuracy == pytest.approx(want[2])
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_every_network_loses_what_the_whole_network_does(name: str) -> None:
    model, x, layers = made(name)
    found = agree(model, x, layers, candidates=4)
    assert [entry.layer for entry in found] == [view.name for view in layers if candidate_levels("lowrank", view, 4)]
    assert found and all(entry.note == "" and entry.samples == 9 for entry in found)
    assert any(value > 1e-4 for entry in found for value in entry.damage)


@pytest.mark.parametrize("fit", ["plain", "whitened"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_plain_and_fitted(family: str, fit: str) -> None:
    for name in ("residual", "one layer used three times"):
        model, x, layers = made(name, 40)
        found = agree(model, x, layers, families=(family,), candidates=3, fit=fit)
        assert {entry.fit for entry in found} == {fit} and {entry.family for entry in found} == {family}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["residual", "branched", "one layer used three times"])
def test_in_float64_nothing_but_rounding_is_left(name: str) -> None:
    model, x, layers = made(name)
    for entry in sensitivity(model, x, layers, num_classes=5, candidates=4):
        for damage, want in zip(entry.damage, witness(model, x, layers, entry, True, None), strict=True):
            assert damage == pytest.approx(want[0], rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("fit", ["plain", "whitened"])
@pytest.mark.parametrize(
    "name", ["linear", "linear, wide, no bias", "linear on tokens", "Hugging Face Conv1D", "conv 3 x 5", "conv1d"]
)
def test_errors_of_the_layers_own_outputs(name: str, fit: str) -> None:
    """A network of one layer: its outputs less the bias are those of the layer."""
    make, sample = LAYERS[name]
    model = Wrapped(make()).eval()
    layers = views(model, torch.zeros(1, *sample))
    x = torch.randn(60, *sample)
    with torch.no_grad():
        want = model(x).movedim(1 if layers[0].kernel else -1, -1)
        bare = want - model.layer.bias if layers[0].bias else want
    for entry in sensitivity(model, x, layers, tuple(FAMILIES), 3, fit=fit):
        for distance, error in zip(entry.distance, entry.output, strict=True):
            assert error == pytest.approx(distance * float(want.norm() / bare.norm()), rel=1e-4, abs=1e-6)


def test_small_chunks_and_stacks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, layers = made("residual", 23)
    whole = sensitivity(model, x, layers, num_classes=5, candidates=6)
    monkeypatch.setattr(replay, "STACK_BYTES", 4 * 8 * 36 * 4 * 5)  # five samples, two candidates of them at once
    pieces = sensitivity(model, x, layers, num_classes=5, candidates=6)
    assert whole != pieces
    for a, b in zip(whole, pieces, strict=True):
        assert a.damage == pytest.approx(b.damage, **CLOSE) and a.output == pytest.approx(b.output, rel=1e-5)


def test_threads_take_chunks_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "STACK_BYTES", 4 * 8 * 36 * 4 * 5)
    model, x, layers = made("residual", 23)
    alone = sensitivity(model, x, layers, num_classes=5)
    torch.set_num_threads(3)
    together = sensitivity(model, x, layers, num_classes=5)
    assert torch.get_num_threads() == 3 and alone == together


def test_a_network_without_a_trace_is_run_in_full_and_said_so() -> None:
    unlike = ((networks.Decides, "traced"), (networks.Writes, "traced"), (networks.Aliased, "other outputs"))
    for make, word in unlike:
        model = make().eval()
        x = torch.randn(9, 6)
        found = agree(model, x, views(model, x[:1]), families=("lowrank", "sparse"), candidates=3)
        assert found and all("whole network" in entry.note and word in entry.note for entry in found)
        again = sensitivity(model, x, views(model, x[:1]), only=("b",))
        assert again[0].output == pytest.approx(errors_by_hand(model, x, again[0]), rel=1e-4, abs=1e-6)


def errors_by_hand(model: nn.Module, x: Tensor, entry: LayerSensitivity) -> list[float]:
    """Relative error of W_r h against W h for the inputs h of layer `b`."""
    kept: list[Tensor] = []
    handle = model.b.register_forward_hook(lambda _, given, __: kept.append(given[0].detach().double()))
    with torch.no_grad():
        model(x)
    handle.remove()
    W, h = model.b.weight.detach().double().numpy(), kept[0].numpy().T
    U, S, Vh = np.linalg.svd(W, full_matrices=False)
    return [float(np.linalg.norm((W - (U[:, :r] * S[:r]) @ Vh[:r]) @ h) / np.linalg.norm(W @ h)) for r in entry.at]


def test_a_network_that_mixes_samples_runs_one_candidate_at_a_time_and_says_so() -> None:
    model = networks.Mixes().eval()
    x = torch.randn(9, 6)
    found = agree(model, x, views(model, x[:1]), candidates=3)
    notes = {entry.layer: entry.note for entry in found}
    assert "one by one" in notes["a"] and notes["b"] == ""


def test_a_layer_that_never_runs_is_left_out_and_one_that_reaches_nothing_is_said() -> None:
    model = Wrapped(nn.Linear(6, 4))
    model.add_module("spare", nn.Linear(6, 4))
    x = torch.randn(5, 6)
    assert [entry.layer for entry in sensitivity(model, x, views(model, x[:1]))] == ["layer"]

    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.aside = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.aside(x)
            return self.used(x)

    model = Aside()
    found = {entry.layer: entry for entry in sensitivity(model, x, views(model, x[:1]))}
    assert set(found["aside"].damage) == {0.0} and found["used"].damage[0] > 0.01
    assert "whole network" in found["aside"].note


def test_the_model_is_not_touched_and_two_runs_agree() -> None:
    model, x, layers = made("residual")
    model.train()
    before, given = copy.deepcopy(model.state_dict()), x.clone()
    runs = [sensitivity(model, x, layers, num_classes=5) for _ in range(2)]
    assert runs[0] == runs[1] and torch.equal(x, given)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules()) and model.relu.inplace


def test_only_the_layers_asked_for_and_progress_that_may_stop() -> None:
    model, x, layers = made("residual")
    seen: list[tuple[str, int, int]] = []

    def watch(*step: object) -> None:
        seen.append(step)  # type: ignore[arg-type]

    found = sensitivity(
        model, x, layers, ("lowrank", "sparse24"), 3, only=("conv2",), progress=lambda *a: seen.append(a)
    )
    assert [(entry.layer, entry.family) for entry in found] == [("conv2", "lowrank"), ("conv2", "sparse24")]
    assert seen and seen[-1][1:] == (9, 9)

    class Enough(Exception):
        pass

    def stop(*_: object) -> None:
        raise Enough

    for threads in (1, 2):
        torch.set_num_threads(threads)
        with pytest.raises(Enough):
            sensitivity(model, x.repeat(9, 1, 1, 1), layers, progress=stop)
        assert torch.get_num_threads() == threads


def test_what_cannot_be_measured_is_refused() -> None:
    model, x, layers = made("residual")
    for options in ({"fit": "best"}, {"only": ("nothing",)}, {"families": ("round",)}, {"y": torch.zeros(3)}):
        with pytest.raises(ValueError):
            sensitivity(model, x, layers, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        sensitivity(model, x[:0], layers)
    with pytest.raises(DataError, match="5"):
        sensitivity(model, x, layers, y=torch.full((9,), 7))
    with torch.no_grad():
        model.head.weight[0, 0] = math.inf
    with pytest.raises(InputError, match="NaN or infinite"):
        sensitivity(model, x, layers)


def test_a_single_sample_will_do() -> None:
    model, x, layers = made("residual", 1)
    agree(model, x, layers, candidates=2)


# What is kept and what is run again


@torch.inference_mode()
def test_only_what_depends_on_the_layer_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, layers = made("residual")
    names = [view.name for view in layers]
    made_of = replay.Replay(model, names, x)
    _, kept = made_of.dense(x)
    run: list[str] = []
    plain = made_of.net.value
    monkeypatch.setattr(made_of.net, "value", lambda node, *rest: run.append(str(node.target)) or plain(node, *rest))
    modules = made_of.net.modules
    want = made_of.dense(x)[0].clone()
    run.clear()
    for name, prefix in (("conv2", {"stem", "conv1"}), ("head", {"stem", "conv1", "conv2"}), ("stem", set())):
        for _ in range(2):  # a second time, because the first must have changed nothing that is kept
            out = made_of.suffix(name, kept, lambda _, h, __, name=name: torch.cat([modules[name](h)] * 3), 3)
            assert torch.allclose(out, want.repeat(3, 1), atol=1e-6)
        assert prefix.isdisjoint(run)
        run.clear()


@torch.inference_mode()
def test_kept_values_stay_under_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, layers = made("residual", 40)
    for bound in (40_000, 100_000):
        monkeypatch.setattr(replay, "KEPT_BYTES", bound)
        made_of = replay.Replay(model, [view.name for view in layers], x[:3])
        samples = made_of.samples()
        _, kept = made_of.dense(x[:samples])
        held = sum(value.numel() * value.element_size() for value in kept.values() if isinstance(value, Tensor))
        assert 1 < samples < 40 and bound / 2 < held <= bound


# Levels


@pytest.mark.parametrize("family", FAMILIES)
def test_levels_run_from_one_to_the_largest_that_saves(family: str) -> None:
    wide = (lambda: nn.Conv2d(4, 6, 3, padding=2), (4, 3, 3))  # more positions out than in
    for make, sample in (*LAYERS.values(), wide):
        (view,) = views(Wrapped(make()), torch.zeros(1, *sample))
        kind, dense = FAMILIES[family], Dense().cost(view)
        saving = []
        if not kind.obstacle(view):
            costs = {level: kind.make(level, view).cost(view) for level in range(1, kind.full(view) + 1)}
            saving = [level for level, cost in costs.items() if cost.params < dense.params or cost.macs < dense.macs]
        for count in (1, 2, 3, 10, 1000):
            levels = candidate_levels(family, view, count)
            assert len(levels) == (min(count, len(saving)) if family != "sparse24" else bool(saving))
            assert list(levels) == sorted(set(levels)) and set(levels) <= set(saving)
            assert not levels or levels[-1] == max(saving)
            assert len(levels) < 2 or levels[0] == 1


def test_levels_are_near_a_geometric_series() -> None:
    view = LayerView("a", "linear", 4096, 4096)
    levels = candidate_levels("lowrank", view, 12)
    assert levels[-1] == 2047 and len(levels) == 12
    steps = [b / a for a, b in pairwise(levels[3:])]
    assert max(steps) / min(steps) < 1.2
    with pytest.raises(ValueError, match="0"):
        candidate_levels("lowrank", view, 0)
    assert layer_obstacle(view) == "" and candidate_levels("lowrank", LayerView("b", "linear", 2, 2), 5) == ()
