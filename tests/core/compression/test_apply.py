"""apply against numpy's SVD and torch's own layers: kernels put together again by einsum, never by the product."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.compression.apply import apply, exchange
from core.compression.plans import LayerPlan, Plan
from core.networks.arch import ModelRef
from core.networks.forms import Dense, Filters, LowRank, SemiSparse, Sparse, SpatialLowRank
from core.networks.views import views

REF = ModelRef("file", "net", "0")
pytestmark = pytest.mark.usefixtures("float64")


class Net(nn.Module):
    """One layer of each kind that can change, and some that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 2), padding_mode="circular")
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(8, 6, 3, padding="same", dilation=2, bias=False), nn.ReLU())]
        )
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.row = nn.Conv1d(6, 12, 3, stride=2, padding=1)
        self.fc = nn.Linear(12, 9)
        self.head = nn.Linear(9, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.grouped(self.blocks[0](self.norm(self.stem(x)))).mean(2)
        return self.head(torch.relu(self.fc(self.row(x).mean(2))))


def plan(**forms: Any) -> Plan:
    return Plan(REF, tuple(LayerPlan(name.replace("__", "."), form) for name, form in forms.items()))


def net() -> Net:
    torch.manual_seed(1)
    made = Net().eval()
    nn.init.normal_(made.norm.running_mean)
    return made


def outputs(model: nn.Module) -> torch.Tensor:
    torch.manual_seed(2)
    with torch.no_grad():
        return model(torch.randn(3, 3, 8, 7))


def kernel(built: Any, form: Any) -> torch.Tensor:
    """The dense kernel that two factors stand for, entry by entry."""
    first, second = built.first.weight.detach(), built.second.weight.detach()
    if isinstance(form, SpatialLowRank):
        return torch.einsum("orj,rci->ocij", second[:, :, 0, :], first[:, :, :, 0])
    if form.pointwise_first:
        return torch.einsum("or...,rc->oc...", second, first.flatten(1))
    return torch.einsum("or,rc...->oc...", second.flatten(1), first)


def unfolded(K: np.ndarray, form: Any) -> np.ndarray:
    """The matrix whose rank the form bounds, for kernels (o, c, *sides)."""
    sides = K.shape[2:]
    if isinstance(form, SpatialLowRank):
        return K.transpose(0, 3, 1, 2).reshape(K.shape[0] * sides[1], -1)
    if getattr(form, "pointwise_first", False):
        return np.moveaxis(K, 1, -1).reshape(-1, K.shape[1])
    return K.reshape(K.shape[0], -1)


CONVOLUTIONS = [
    ("stem", LowRank(4)),
    ("stem", LowRank(2, True)),
    ("stem", SpatialLowRank(5)),
    ("blocks.0.0", LowRank(3)),
    ("blocks.0.0", LowRank(4, True)),
    ("blocks.0.0", SpatialLowRank(7)),
    ("row", LowRank(5)),
    ("row", LowRank(3, True)),
]


@pytest.mark.parametrize(("name", "form"), CONVOLUTIONS, ids=str)
def test_two_factors_do_what_the_dense_layer_with_their_product_does(name, form):
    model = net()
    new = apply(Plan(REF, (LayerPlan(name, form),)), model)
    K = kernel(new.get_submodule(name), form)
    dense = copy.deepcopy(model)
    dense.get_submodule(name).weight.data.copy_(K)
    assert (outputs(new) - outputs(dense)).abs().max() < 1e-12
    assert (outputs(new) - outputs(model)).abs().max() > 1e-4


@pytest.mark.parametrize(("name", "form"), CONVOLUTIONS, ids=str)
def test_the_product_is_the_best_approximation_of_that_rank(name, form):
    model = net()
    W = model.get_submodule(name).weight.detach()
    K = kernel(apply(Plan(REF, (LayerPlan(name, form),)), model).get_submodule(name), form)
    S = np.linalg.svd(unfolded(W.numpy(), form), compute_uv=False)
    assert np.linalg.matrix_rank(unfolded(K.numpy(), form)) == form.rank < len(S)
    assert float((K - W).norm()) == pytest.approx(np.sqrt((S[form.rank :] ** 2).sum()), rel=1e-10)


def test_a_linear_layer_becomes_its_best_approximation():
    model = net()
    built: Any = apply(plan(fc=LowRank(4)), model).fc
    U, S, Vh = np.linalg.svd(model.fc.weight.detach().numpy(), full_matrices=False)
    wanted = (U[:, :4] * S[:4]) @ Vh[:4]
    assert np.abs((built.second.weight @ built.first.weight).detach().numpy() - wanted).max() < 1e-12
    assert built.first.bias is None and torch.equal(built.second.bias, model.fc.bias)


@pytest.mark.parametrize(
    "forms",
    [
        {"stem": LowRank(8), "blocks__0__0": SpatialLowRank(18), "row": LowRank(6, True), "fc": LowRank(9)},
        {"stem": Filters(8), "blocks__0__0": Sparse(432), "fc": Sparse(108)},
        {"stem": Dense(), "fc": Dense()},
        {},
    ],
)
def test_everything_kept_gives_the_same_outputs(forms):
    model = net()
    assert (outputs(apply(plan(**forms), model)) - outputs(model)).abs().max() < 1e-12


def test_masks_keep_the_largest_and_only_those():
    model = net()
    new = apply(plan(fc=Sparse(20), row=Filters(5)), model)
    W, kept = model.fc.weight.detach().abs().flatten(), new.fc.weight.detach().flatten()
    cut = W.sort(descending=True).values[19]
    assert torch.equal(kept != 0, cut <= W) and torch.equal(kept[kept != 0], model.fc.weight.flatten()[kept != 0])
    rows = model.row.weight.detach().flatten(1).square().sum(1)
    assert set(new.row.weight.flatten(1).abs().sum(1).nonzero().flatten().tolist()) == set(
        rows.topk(5).indices.tolist()
    )
    assert torch.equal(new.row.bias, model.row.bias)


def test_two_of_four_keeps_the_two_largest_of_each_four_along_the_inputs():
    model = net()
    kept = apply(plan(fc=SemiSparse()), model).fc.weight.detach()
    for row, old in zip(kept, model.fc.weight.detach(), strict=True):
        for four, was in zip(row.split(4), old.split(4), strict=True):
            assert sorted(was.abs().tolist())[2:] == sorted(four.abs().tolist())[2:] and int((four == 0).sum()) == 2


def test_the_network_given_is_never_touched_nor_shared():
    model = net()
    before, shown = copy.deepcopy(model.state_dict()), str(model)
    new = apply(plan(stem=SpatialLowRank(3), fc=LowRank(2), head=Sparse(9)), model)
    with torch.no_grad():
        for tensor in new.state_dict().values():
            tensor.zero_()
    assert str(model) == shown and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_the_plan_does_not_name_stays_as_it_is():
    model = net()
    new = apply(plan(fc=LowRank(2)), model)
    old = model.state_dict()
    assert {k for k in new.state_dict() if k not in old} == {"fc.first.weight", "fc.second.weight", "fc.second.bias"}
    assert all(torch.equal(v, old[k]) for k, v in new.state_dict().items() if k in old)
    assert [name for name, _ in new.named_children()] == [name for name, _ in model.named_children()]


def test_the_order_of_a_plan_does_not_matter_and_two_runs_agree_bit_for_bit():
    forms = {"stem": LowRank(3), "fc": LowRank(2), "head": Filters(2)}
    found = [apply(plan(**dict(pairs)), net()) for pairs in (forms.items(), reversed(forms.items()), forms.items())]
    for other in found[1:]:
        assert all(torch.equal(v, found[0].state_dict()[k]) for k, v in other.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_mode_and_type_are_those_of_the_network(training, dtype):
    model = net().to(dtype).train(training)
    new = apply(plan(stem=SpatialLowRank(3), fc=LowRank(2)), model)
    assert all(module.training == training for module in new.modules())
    assert {p.dtype for p in new.parameters()} == {dtype}


def test_factors_that_are_given_are_used():
    model = net()
    A, B = torch.randn(9, 2), torch.randn(2, 12)
    built: Any = apply(plan(fc=LowRank(2)), model, factors={"fc": (A, B), "row": (A, A)}).fc
    assert torch.equal(built.second.weight, A) and torch.equal(built.first.weight, B)
    with pytest.raises(ValueError, match="fc: factors of rank 2 given for rank 3"):
        apply(plan(fc=LowRank(3)), model, factors={"fc": (A, B)})


def test_views_that_are_given_are_used():
    model = net()
    x = torch.zeros(1, 3, 8, 7)
    form = SpatialLowRank(3)
    a, b = apply(plan(stem=form), model), apply(plan(stem=form), model, views(model, x))
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    with pytest.raises(ValueError, match="no layer 'fc'"):
        apply(plan(fc=LowRank(2)), model, views(model, x)[:1])


@pytest.mark.parametrize(
    ("forms", "words"),
    [
        ({"fc9": LowRank(1)}, "the model has no layer 'fc9'"),
        ({"norm": LowRank(1)}, "the model has no layer 'norm'"),
        ({"fc": LowRank(10)}, "fc cannot take the form .*: rank 10 is outside 1 to 9"),
        ({"fc": LowRank(0)}, "rank 0 is outside"),
        ({"fc": LowRank(-1)}, "rank -1 is outside"),
        ({"fc": SpatialLowRank(1)}, "only a two-dimensional kernel"),
        ({"grouped": LowRank(1)}, "grouped"),
        ({"head": SemiSparse()}, "multiple of 4"),
    ],
)
def test_what_does_not_fit_raises_with_the_layer(forms, words):
    with pytest.raises(ValueError, match=words):
        apply(plan(**forms), net())


def test_a_transposed_linear_layer_is_factored_the_right_way_round():
    class Conv1D(nn.Module):
        """As in Hugging Face's GPT-2: weight (inputs, outputs)."""

        def __init__(self, nf: int, nx: int) -> None:
            super().__init__()
            self.nf, self.weight, self.bias = nf, nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight + self.bias

    model = nn.Sequential(Conv1D(6, 8))
    x = torch.randn(5, 8)
    with torch.no_grad():
        assert (apply(Plan(REF, (LayerPlan("0", LowRank(6)),)), model)(x) - model(x)).abs().max() < 1e-12
    built: Any = apply(Plan(REF, (LayerPlan("0", LowRank(2)),)), model).get_submodule("0")
    S = np.linalg.svd(model[0].weight.detach().numpy(), compute_uv=False)
    gap = (built.second.weight @ built.first.weight).T - model[0].weight
    assert float(gap.detach().norm()) == pytest.approx(np.sqrt((S[2:] ** 2).sum()), rel=1e-10)


def test_exchange_puts_a_layer_at_its_path():
    model = net()
    new = nn.Identity()
    exchange(model, "blocks.0.1", new)
    assert model.blocks[0][1] is new and len(model.blocks[0]) == 2
    with pytest.raises(AttributeError):
        exchange(model, "nowhere.1", new)


def test_a_layer_that_is_used_under_two_names_is_exchanged_under_both():
    layer = nn.Linear(5, 5)
    model = nn.Sequential(layer, nn.ReLU(), nn.Sequential(layer))
    new: Any = apply(Plan(REF, (LayerPlan("0", LowRank(2)),)), model)
    assert new[0] is new[2][0] and isinstance(new[0], nn.Sequential) and model[0] is layer is model[2][0]
