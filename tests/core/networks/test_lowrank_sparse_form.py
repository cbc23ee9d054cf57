"""Low rank + sparse as a form of a layer: costs counted by hand, the module against matrix products, where it fits."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from core.bundle_loader import Sum
from core.compression.apply import apply
from core.compression.plans import LayerPlan, Plan
from core.networks.arch import ModelRef
from core.networks.forms import (
    FAMILIES,
    LowRank,
    LowRankSparse,
    Sparse,
    family_of,
    form_words,
    layer_obstacle,
    low_rank_and_sparse,
)
from core.networks.modules import bias_of, matrix
from core.networks.views import LayerView, views
from core.numerics.lowrank_sparse import decompose
from tests.layers import LAYERS, Wrapped, nonzero_numbers, torch_macs

REF = ModelRef("file", "a test", "0" * 64)


def inspected(name: str) -> tuple[Wrapped, LayerView, tuple[int, ...]]:
    make, sample = LAYERS[name]
    model = Wrapped(make())
    (view,) = views(model, torch.zeros(1, *sample))
    return model, view, sample


def test_costs_by_hand() -> None:
    """8 x 12 with a bias at 5 positions, rank 2 and 10 entries: 40 + 10 + 8 numbers, and an index of 96 bits."""
    view = LayerView("fc", "linear", 8, 12, positions=5, bias=True)
    cost = LowRankSparse(2, 10).cost(view)
    assert cost.params == 2 * (8 + 12) + 10 + 8
    assert cost.bytes == 4 * 58 + 12
    assert cost.macs == 5 * (2 * (8 + 12) + 96), "the mask runs dense"
    assert cost.useful_macs == 5 * (40 + 10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", LAYERS)
def test_built_costs_equal_predicted_ones(name: str) -> None:
    model, view, sample = inspected(name)
    for rank, entries in ((1, 1), (2, view.size // 3), (min(view.m, view.n), view.size)):
        form = LowRankSparse(rank, entries)
        built = apply(Plan(REF, (LayerPlan("layer", form),)), model, (view,))
        cost = form.cost(view)
        assert torch_macs(copy.deepcopy(built), sample) == cost.macs
        if entries < view.size:  # at full rank nothing is left for the sparse part
            assert nonzero_numbers(built) == cost.params
            held = int(built.layer.sparse.weight.count_nonzero())  # type: ignore[union-attr]
            assert held == entries


@pytest.mark.usefixtures("float64")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_the_built_layer_computes_the_sum_of_its_matrices(name: str) -> None:
    """The dense layer with A B + S in place of W, by torch's own layer."""
    model, view, sample = inspected(name)
    parts = decompose(matrix(model.layer, view), 2, view.size // 4)
    built = LowRankSparse(2, view.size // 4).build(model.layer, view)
    W = parts.A @ parts.B + parts.S
    x = torch.randn(3, *sample)
    with torch.no_grad():
        if view.kernel:
            want = copy.deepcopy(model.layer)
            want.weight.copy_(W.reshape(want.weight.shape))
            wanted = want(x)
        else:
            wanted = F.linear(x, W, model.layer.bias)
        assert torch.allclose(built(x), wanted, atol=1e-10)
    assert isinstance(built, Sum) and [name for name, _ in built.named_children()] == ["low_rank", "sparse"]
    if view.bias:
        assert bias_of(built) is built.low_rank.second.bias and built.sparse.bias is None


@pytest.mark.usefixtures("float64")
def test_gradients_reach_every_parameter_and_given_parts_are_used() -> None:
    model, view, sample = inspected("conv 3 x 5")
    A, B, S = torch.randn(view.m, 3), torch.randn(3, view.n), torch.zeros(view.m, view.n)
    S[0, 1] = 7.0
    built = LowRankSparse(3, 1).build(model.layer, view, (A, B, S))
    assert torch.equal(built.low_rank.second.weight.flatten(1), A) and torch.equal(built.sparse.weight.flatten(1), S)
    built(torch.randn(2, *sample)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in built.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_mode_stay(dtype: torch.dtype) -> None:
    layer = nn.Linear(12, 8).to(dtype).eval()
    (view,) = views(Wrapped(layer), torch.zeros(1, 12, dtype=dtype))
    built = LowRankSparse(2, 20).build(layer, view)
    assert {p.dtype for p in built.parameters()} == {dtype}
    assert not any(module.training for module in built.modules())


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (LowRankSparse(0, 5), "1 to 4"),
        (LowRankSparse(5, 5), "1 to 4"),
        (LowRankSparse(2, 0), "1 to 24"),
        (LowRankSparse(2, 25), "1 to 24"),
    ],
)
def test_a_pair_that_does_not_fit_says_why(form: LowRankSparse, words: str) -> None:
    view = LayerView("fc", "linear", 4, 6, positions=1)
    assert layer_obstacle(view) == "" and words in form.obstacle(view)
    grouped = LayerView("c", "conv2d", 4, 9, kernel=(3, 3), stride=(1, 1), groups=2)
    assert LowRankSparse(1, 1).obstacle(grouped) == layer_obstacle(grouped)


def test_there_is_one_way_to_say_each_pair() -> None:
    assert low_rank_and_sparse(0, 7) == Sparse(7) and low_rank_and_sparse(3, 0) == LowRank(3)
    assert low_rank_and_sparse(3, 7) == LowRankSparse(3, 7)
    for rank, entries in ((0, 0), (-1, 4), (4, -1)):
        with pytest.raises(ValueError, match="no form"):
            low_rank_and_sparse(rank, entries)


def test_its_level_is_its_rank_and_its_entries_stay() -> None:
    view = LayerView("fc", "linear", 8, 12, positions=1)
    family = family_of(LowRankSparse(2, 10))
    assert family.level(LowRankSparse(2, 10), view) == 2 and family.full(view) == 8
    assert family.make(5, view) == LowRankSparse(5, 10)
    assert form_words(LowRankSparse(2, 1234), view) == "low-rank + 1,234 sparse weights, rank 2"
    assert "lowrank_sparse" not in FAMILIES, "two numbers are no level: allocators and bars do not offer it"
    # 96 numbers: rank 4 and 10 entries are 90, rank 5 would be 110
    assert family.break_even(view, "params") == 4 and family.break_even(view, "macs") == 0
