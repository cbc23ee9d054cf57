"""Built modules hold the best factors of the right unfolding, the largest weights, the old type and settings."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.networks import modules
from core.networks.forms import FAMILIES, Dense, Filters, LowRank, SemiSparse, Sparse, SpatialLowRank
from core.networks.views import LayerView, views
from tests.layers import LAYERS, Conv1D, Wrapped


def layer_and_view(layer: nn.Module, *sample: int) -> tuple[nn.Module, LayerView]:
    (view,) = views(Wrapped(layer), torch.zeros(1, *sample, dtype=layer.weight.dtype))
    return layer, view


def impulse_response(built: nn.Module, c: int, kernel: tuple[int, int]) -> np.ndarray:
    """The kernel (o, c, kh, kw) that a stack of stride-1, unpadded convolutions amounts to, read off by impulses."""
    kh, kw = kernel
    found = []
    with torch.no_grad():
        for i in range(c):
            x = torch.zeros(1, c, 2 * kh - 1, 2 * kw - 1)
            x[0, i, kh - 1, kw - 1] = 1.0
            found.append(built(x)[0].flip(1, 2).numpy())
    return np.stack(found, axis=1)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("r", [1, 2, 4])
def test_each_form_is_the_best_one_of_its_unfolding(r: int) -> None:
    o, c, kh, kw = 5, 4, 3, 2
    layer, view = layer_and_view(nn.Conv2d(c, o, (kh, kw), bias=False), c, 6, 6)
    K = layer.weight.detach().numpy()
    matrices = {
        LowRank(r): K.reshape(o, -1),
        LowRank(r, True): np.concatenate([K[:, :, i, j] for i in range(kh) for j in range(kw)]),
        SpatialLowRank(r): np.concatenate([K[:, :, :, j].reshape(o, -1) for j in range(kw)]),
    }
    for form, M in matrices.items():
        lost = np.linalg.norm(impulse_response(form.build(layer, view), c, (kh, kw)) - K)
        best = np.sqrt((np.linalg.svd(M, compute_uv=False)[r:] ** 2).sum())
        assert lost == pytest.approx(best, rel=1e-10, abs=1e-12), form


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("family", ["lowrank", "lowrank_in", "spatial"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_of_even_kernels_stays_where_it_was(family: str, dilation: int) -> None:
    layer, view = layer_and_view(nn.Conv2d(4, 6, (2, 4), padding="same", dilation=dilation), 4, 7, 9)
    built = FAMILIES[family].make(FAMILIES[family].full(view), view).build(layer, view)
    x = torch.randn(2, 4, 7, 9)
    assert torch.allclose(built(x), layer(x), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["linear", "Hugging Face Conv1D", "conv 3 x 5", "conv1d"])
def test_half_precision_stays_half_precision(dtype: torch.dtype, name: str) -> None:
    make, sample = LAYERS[name]
    layer, view = layer_and_view(make().to(dtype), *sample)
    for family in FAMILIES.values():
        if family.obstacle(view):
            continue
        built = family.make(family.full(view), view).build(layer, view)
        assert {p.dtype for p in built.parameters()} == {dtype}
        x = torch.randn(2, *sample).to(dtype)
        if family.id != "sparse24":
            assert torch.allclose(built(x), layer(x), atol=0.2 if dtype is torch.bfloat16 else 0.02)


def test_masks_keep_the_largest_by_numpy() -> None:
    layer, view = layer_and_view(nn.Linear(12, 7), 12)
    W = layer.weight.detach().numpy()
    largest = np.sort(np.abs(W).ravel())[::-1]
    kept = Sparse(20).build(layer, view).weight.detach().numpy()
    assert np.array_equal(kept, np.where(np.abs(W) >= largest[19], W, 0))
    rows = Filters(3).build(layer, view).weight.detach().numpy()
    norms = np.linalg.norm(W, axis=1)
    assert np.array_equal(rows, np.where((norms >= np.sort(norms)[-3])[:, None], W, 0))
    semi = SemiSparse().build(layer, view).weight.detach().numpy()
    for i in range(7):
        for j in range(0, 12, 4):
            four = W[i, j : j + 4]
            want = sorted(range(4), key=lambda t: -abs(four[t]))[:2]
            assert sorted(np.flatnonzero(semi[i, j : j + 4])) == sorted(want)


def test_equal_magnitudes_are_kept_from_the_front() -> None:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.fill_(-1.0)
    layer, view = layer_and_view(layer, 4)
    assert Sparse(5).build(layer, view).weight.detach().flatten().tolist() == [-1.0] * 5 + [0.0] * 7
    assert SemiSparse().build(layer, view).weight.detach()[0].tolist() == [-1.0, -1.0, 0.0, 0.0]


@pytest.mark.usefixtures("float64")
def test_magnitudes_that_differ_beyond_single_precision_are_told_apart() -> None:
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 1.0 + 1e-12], [1.0 + 2e-12, 1.0]]))
    layer, view = layer_and_view(layer, 2)
    assert Sparse(1).build(layer, view).weight.detach().flatten().nonzero().tolist() == [[2]]


def test_a_transposed_layer_is_masked_by_its_own_rows() -> None:
    layer, view = layer_and_view(Conv1D(6, 4), 5, 4)
    kept = Filters(2).build(layer, view).weight.detach()
    norms = layer.weight.detach().norm(dim=0)
    assert sorted(kept.abs().sum(0).nonzero().flatten().tolist()) == sorted(norms.topk(2).indices.tolist())


def test_given_factors_are_used_and_their_rank_is_checked() -> None:
    layer, view = layer_and_view(nn.Linear(6, 5), 6)
    A, B = torch.randn(5, 2), torch.randn(2, 6)
    built = LowRank(2).build(layer, view, (A, B))
    assert torch.equal(built.second.weight.detach(), A) and torch.equal(built.first.weight.detach(), B)
    assert torch.equal(built.second.bias, layer.bias) and built.first.bias is None
    with pytest.raises(ValueError, match="layer"):
        LowRank(3).build(layer, view, (A, B))
    W = torch.randn(5, 6)
    assert torch.equal(Dense().build(layer, view, (W, W)).weight.detach(), W)
    masked = Sparse(4).build(layer, view, (W, W)).weight.detach()
    assert int(masked.count_nonzero()) == 4 and bool(((masked == W) | (masked == 0)).all())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["linear", "conv 3 x 5"])
def test_the_layer_is_not_touched_and_its_mode_is_kept(name: str, training: bool) -> None:
    make, sample = LAYERS[name]
    layer, view = layer_and_view(make(), *sample)
    layer.train(training)
    before = copy.deepcopy(layer.state_dict())
    for family in FAMILIES.values():
        if family.obstacle(view):
            continue
        built = family.make(1, view).build(layer, view)
        assert all(module.training is training for module in built.modules())
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.fill_(7.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state_dict().items())


def test_building_takes_nothing_from_the_random_generator_that_shows() -> None:
    layer, view = layer_and_view(nn.Conv2d(4, 6, 3), 4, 6, 6)
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(torch.cat([p.detach().flatten() for p in LowRank(2).build(layer, view).parameters()]))
    assert torch.equal(*made)


def test_matrix_of_a_transposed_layer_multiplies_from_the_left() -> None:
    layer, view = layer_and_view(Conv1D(6, 4), 5, 4)
    W = modules.matrix(layer, view)
    x = torch.randn(4)
    with torch.no_grad():
        want: Tensor = layer(x[None])[0] - layer.bias
    assert tuple(W.shape) == (6, 4) and torch.allclose(W @ x, want, atol=1e-6)
