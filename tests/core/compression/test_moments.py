"""Rows and moments against the definition: a layer's output is its matrix times its rows, summed in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.compression import moments as mo
from core.errors import InputError
from core.networks.modules import matrix
from core.networks.views import LayerView, views
from tests.layers import LAYERS, Wrapped

pytestmark = pytest.mark.usefixtures("float64")


def inspected(name: str) -> tuple[Wrapped, LayerView, tuple[int, ...]]:
    make, sample = LAYERS[name]
    model = Wrapped(make()).eval()
    (view,) = views(model, torch.zeros(1, *sample))
    return model, view, sample


@pytest.mark.parametrize("name", LAYERS)
def test_matrix_times_input_rows_is_output_rows(name: str) -> None:
    model, view, sample = inspected(name)
    x = torch.randn(3, *sample)
    with torch.no_grad():
        made = model.layer(x)
    rows = mo.input_rows(model.layer, view, x)
    assert rows.shape == (3 * view.positions, view.n)
    bias = model.layer.bias.detach() if view.bias else 0.0
    assert torch.allclose(rows @ matrix(model.layer, view).T + bias, mo.output_rows(view, made), atol=1e-10)


@pytest.mark.parametrize("name", ["linear on tokens", "conv 3 x 5", "conv1d"])
def test_picked_positions_match_in_inputs_and_outputs(name: str) -> None:
    model, view, sample = inspected(name)
    x, picks = torch.randn(3, *sample), torch.tensor([0, 2, 3])
    with torch.no_grad():
        made = model.layer(x)
    rows = mo.input_rows(model.layer, view, x, picks)
    assert rows.shape == (3 * 3, view.n)
    assert torch.equal(rows, mo.input_rows(model.layer, view, x).view(3, -1, view.n)[:, picks].reshape(-1, view.n))
    bias = model.layer.bias.detach()
    assert torch.allclose(rows @ matrix(model.layer, view).T + bias, mo.output_rows(view, made, picks), atol=1e-10)


@pytest.mark.parametrize("name", ["linear", "linear on tokens", "Hugging Face Conv1D", "conv 3 x 5"])
def test_input_moments_are_means_of_outer_products(name: str) -> None:
    model, view, sample = inspected(name)
    x = torch.randn(130, *sample)
    found = mo.input_moments(model, (view,), x)["layer"]
    rows = mo.input_rows(model.layer, view, x).numpy()
    want = np.zeros((view.n, view.n))
    for row in rows:
        want += np.outer(row, row)
    assert found.count == len(rows)
    assert np.abs(found.G.numpy() - want / len(rows)).max() < 1e-10


def test_moments_of_several_layers_come_from_one_pass() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    x, passes = torch.randn(20, 4), []
    layers = views(model, x[:1])
    model.register_forward_hook(lambda *_: passes.append(1))
    found = mo.input_moments(model, layers, x)
    assert len(passes) == 1 and set(found) == {"0", "2"}
    with torch.no_grad():
        h = model[1](model[0](x))
    assert torch.allclose(found["2"].G, h.T @ h / 20, atol=1e-12)
    assert not any(module._forward_hooks for module in model if module is not model)


def test_a_layer_that_never_runs_is_left_out() -> None:
    model = Wrapped(nn.Linear(4, 3))
    model.add_module("spare", nn.Linear(4, 3))
    found = mo.input_moments(model, views(model, torch.zeros(1, 4)), torch.randn(5, 4))
    assert set(found) == {"layer"}


def test_paired_moments_join_compressed_inputs_with_dense_outputs() -> None:
    dense = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    other = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), dense[2]).eval()
    x = torch.randn(300, 4)
    view = views(dense, x[:1])[1]
    G, C = mo.paired_moments(dense, other, view, x)
    with torch.no_grad():
        h, y = other[1](other[0](x)), dense(x) - dense[2].bias
    assert torch.allclose(G, h.T @ h / 300, atol=1e-12)
    assert torch.allclose(C, y.T @ h / 300, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 125, 126, 250, 251, 1000, 1126])
def test_batches_cover_everything_in_order_and_are_equal_to_one(samples: int) -> None:
    x = torch.arange(samples)
    parts = list(mo.batches(x))
    assert torch.equal(torch.cat(parts), x)
    sizes = [len(part) for part in parts]
    assert max(sizes) <= mo.BATCH and max(sizes) - min(sizes) <= 1
    assert samples == 1 or min(sizes) > 1
    assert samples != 1000 or sizes == [125] * 8


def few_rows(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(mo, "rows_wanted", lambda view: rows)


def test_positions_are_drawn_once_and_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, view, _ = inspected("conv 3 x 3")
    assert mo.positions_drawn(view, 10, 0) is None
    few_rows(monkeypatch, 100)
    drawn = mo.positions_drawn(view, 10, 0)
    assert drawn is not None and len(drawn) == 10 and len(set(drawn.tolist())) == 10
    assert drawn.tolist() == sorted(drawn.tolist()) and int(drawn[-1]) < view.positions
    assert torch.equal(drawn, mo.positions_drawn(view, 10, 0)) and not torch.equal(
        drawn, mo.positions_drawn(view, 10, 1)
    )


def test_drawing_positions_leaves_the_global_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, view, _ = inspected("conv 3 x 3")
    few_rows(monkeypatch, 100)
    before = torch.get_rng_state()
    mo.positions_drawn(view, 10, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_layer_that_runs_twice_and_has_many_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions are drawn from those of both calls; a call that has fewer uses those it has."""
    few_rows(monkeypatch, 60)
    model = Wrapped(nn.Conv2d(4, 6, 3, padding=1), times=2).eval()
    (view,) = views(model, torch.zeros(1, 4, 5, 5))
    x = torch.randn(4, 4, 5, 5)
    assert view.positions == 50
    found = mo.input_moments(model, (view,), x)["layer"]
    assert 0 < found.count <= 2 * 60
    G, C = mo.paired_moments(model, model, view, x, calls=2)
    W = matrix(model.layer, view)
    assert torch.allclose(C, W @ G, atol=1e-10)


def test_captured_ends_the_pass_after_the_last_call() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("went on")

    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2), Fails())
    ins, outs = mo.captured(model, LayerView("2", "linear", 2, 3), torch.randn(4, 3))
    assert len(ins) == len(outs) == 1 and outs[0].shape == (4, 2)
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_removed_when_the_pass_fails() -> None:
    model = Wrapped(nn.Linear(3, 2))
    (view,) = views(model, torch.zeros(1, 3))
    with pytest.raises(RuntimeError):
        mo.input_moments(model, (view,), torch.randn(4, 5))
    with pytest.raises(RuntimeError):
        mo.captured(model, view, torch.randn(4, 5))
    assert not any(module._forward_hooks for module in model.modules())


def test_progress_may_stop_the_work() -> None:
    class Enough(Exception):
        pass

    def progress(what: str, done: int, of: int) -> None:
        assert 0 <= done < of == 300
        if done:
            raise Enough

    model = Wrapped(nn.Linear(3, 2))
    with pytest.raises(Enough):
        mo.input_moments(model, views(model, torch.zeros(1, 3)), torch.randn(300, 3), progress=progress)
    assert not model.layer._forward_hooks


def test_distance_and_divergence_by_hand() -> None:
    wanted = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    found = torch.tensor([[1.0, 2.5], [0.0, 1.0]])
    assert mo.relative_distance(found, wanted) == pytest.approx(0.5 / math.sqrt(6))
    assert mo.relative_distance(wanted, wanted) == 0.0
    p = [math.exp(a) / (math.exp(1) + math.exp(2)) for a in (1, 2)]
    q = [math.exp(a) / (math.exp(1) + math.exp(2.5)) for a in (1, 2.5)]
    assert mo.divergence(found, wanted) == pytest.approx(
        sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
    )
    assert mo.divergence(wanted + 7.0, wanted) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_outputs_that_are_not_finite_are_infinitely_far_and_refused_as_a_goal(bad: float) -> None:
    wanted, found = torch.ones(2, 3), torch.ones(2, 3)
    found[0, 0] = bad
    assert mo.relative_distance(found, wanted) == math.inf
    assert mo.relative_distance(wanted, found) == (math.inf if math.isnan(bad) else mo.relative_distance(wanted, found))
    assert torch.equal(mo.checked(wanted), wanted)
    with pytest.raises(InputError, match="nothing can be fitted"):
        mo.checked(found)
