"""Every layer is found with the shape, sizes and positions that running it shows, and the rest is accounted for."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.networks.costs import total
from core.networks.forms import Dense, layer_obstacle
from core.networks.inspection import count_macs, layer_order, rest_of
from core.networks.views import LayerView, views
from tests.layers import LAYERS, Attends, Conv1D, Tied, Wrapped, torch_macs


def only(model: nn.Module, *sample: int) -> LayerView:
    found = views(model, torch.zeros(1, *sample))
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", LAYERS)
def test_dense_cost_equals_torchs_own_count(name: str) -> None:
    make, sample = LAYERS[name]
    model = Wrapped(make())
    view = only(model, *sample)
    cost = Dense().cost(view)
    assert view.name == "layer" and layer_obstacle(view) == ""
    assert cost.macs == cost.useful_macs == torch_macs(copy.deepcopy(model), sample)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert cost.bytes == 4 * cost.params


@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith("conv")])
def test_sizes_of_a_convolution_are_those_of_a_run(name: str) -> None:
    make, sample = LAYERS[name]
    layer = make()
    view = only(Wrapped(layer), *sample)
    made = layer(torch.zeros(1, *sample))
    assert view.in_size == sample[1:]
    assert view.out_size == tuple(made.shape[2:])
    assert view.positions == math.prod(made.shape[2:])
    assert view.kernel == tuple(layer.kernel_size) and view.stride == tuple(layer.stride)


def test_order_is_that_of_first_use_and_unused_layers_come_last() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.never, self.first = nn.Linear(4, 2), nn.Linear(2, 2), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x))

    found = views(Net(), torch.zeros(1, 3))
    assert [(v.name, v.positions) for v in found] == [("first", 1), ("last", 1), ("never", 0)]


def test_a_layer_called_twice_counts_twice() -> None:
    model = Wrapped(nn.Conv2d(4, 6, 3, padding=1, stride=2), times=2)
    view = only(model, 4, 8, 8)
    assert view.positions == 2 * 16
    assert layer_order(model, torch.zeros(1, 4, 8, 8)) == {"layer": 2}
    assert Dense().cost(view).macs == torch_macs(copy.deepcopy(model), (4, 8, 8))


def test_a_grouped_convolution_is_several_matrices() -> None:
    view = only(Wrapped(nn.Conv2d(6, 12, 3, groups=3, bias=False)), 6, 5, 5)
    assert (view.groups, view.m, view.n, view.size) == (3, 4, 18, 12 * 2 * 9)
    assert "grouped" in layer_obstacle(view)
    assert Dense().cost(view).macs == torch_macs(nn.Conv2d(6, 12, 3, groups=3, bias=False), (6, 5, 5))


def test_a_depthwise_convolution_says_that_it_is_grouped() -> None:
    view = only(Wrapped(nn.Conv2d(6, 6, 3, groups=6)), 6, 5, 5)
    assert (view.m, view.n) == (1, 9)
    assert "6 separate 1 × 9" in layer_obstacle(view)


@pytest.mark.parametrize("head_first", [False, True])
def test_no_layer_that_shares_its_weight_can_be_exchanged(head_first: bool) -> None:
    model = Tied(head_first)
    found = views(model, torch.zeros(1, 7, dtype=torch.int64))
    kinds = {view.name: view.kind for view in found}
    assert kinds == {"table": "embedding", "head": "linear"}
    assert all(layer_obstacle(view) for view in found)
    assert sorted(view.tied_to for view in found) == ["", "head" if head_first else "table"]
    rest, _ = rest_of(model, found, torch.zeros(1, 7, dtype=torch.int64))
    owned = [Dense().cost(view) for view in found if not view.tied_to]
    assert total(owned).params + rest.params == sum(p.numel() for p in model.parameters())


def test_an_embedding_multiplies_nothing() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3))
    table, head = views(model, torch.zeros(1, 7, dtype=torch.int64))
    assert (table.kind, table.m, table.n) == ("embedding", 10, 4)
    assert Dense().cost(table).macs == 0 and "looked up" in layer_obstacle(table)
    assert head.positions == 7


def test_packed_attention_is_listed_and_says_why_it_stays() -> None:
    model, example = Attends(), torch.zeros(1, 5, 8)
    found = {view.name: view for view in views(model, example)}
    assert set(found) == {"attn.in_proj", "attn.out_proj"}
    packed = found["attn.in_proj"]
    assert (packed.kind, packed.m, packed.n, packed.positions, packed.bias) == ("in_proj", 24, 8, 5, True)
    assert "MultiheadAttention" in layer_obstacle(packed)
    assert "reads this weight directly" in layer_obstacle(found["attn.out_proj"])
    rest, _ = rest_of(model, tuple(found.values()), example)
    assert rest.params == 0
    # what is left of the MACs is the output projection, which no hook sees, and the two attention products
    assert rest.macs == 5 * 8 * 8 + 2 * 2 * 5 * 5 * 4


def test_unbatched_attention_counts_tokens_not_features() -> None:
    packed = views(Attends(), torch.zeros(5, 8))[0]
    assert packed.positions == 5


def test_the_layers_of_torchs_encoder_stay() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3))
    found = views(model, torch.zeros(1, 5, 8))
    assert [view.name for view in found if not layer_obstacle(view)] == ["1"]


def test_a_network_that_is_one_layer_has_nowhere_to_put_another() -> None:
    view = only(nn.Linear(4, 3), 4)
    assert "whole network" in layer_obstacle(view)


@pytest.mark.parametrize("module", [nn.ConvTranspose2d(4, 6, 3), nn.Conv3d(2, 3, 2), nn.LayerNorm((4, 4))])
def test_other_kinds_are_named(module: nn.Module) -> None:
    (view,) = views(Wrapped(module))
    assert view.kind == "other" and type(module).__name__ in layer_obstacle(view)


def test_hugging_faces_transposed_layer_is_turned_back() -> None:
    view = only(Wrapped(Conv1D(16, 8)), 5, 8)
    assert (view.kind, view.m, view.n, view.positions) == ("hf_conv1d", 16, 8, 5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_marked(bad: float) -> None:
    model = Wrapped(nn.Linear(3, 2))
    assert only(model, 3).finite
    with torch.no_grad():
        model.layer.weight[0, 1] = bad
    view = only(model, 3)
    assert not view.finite and "NaN" in layer_obstacle(view)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_itemsize_is_that_of_the_stored_type(dtype: torch.dtype) -> None:
    model = Wrapped(nn.Linear(3, 2).to(dtype))
    (view,) = views(model)
    assert Dense().cost(view).bytes == sum(p.numel() * p.element_size() for p in model.parameters())


def test_the_model_is_not_touched() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    example = torch.randn(1, 1, 8, 8)
    rest_of(model, views(model, example), example)
    assert model.training and all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_every_parameter_and_multiplication_is_accounted_for() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3))
    example = torch.zeros(1, 1, 8, 8)
    found = views(model, example)
    rest, lines = rest_of(model, found, example)
    whole = total([Dense().cost(view) for view in found]) + rest
    assert whole.params == sum(p.numel() for p in model.parameters())
    assert whole.macs == torch_macs(copy.deepcopy(model), (1, 8, 8))
    everything = [*model.parameters(), *model.buffers()]
    assert whole.bytes == sum(t.numel() * t.element_size() for t in everything)
    assert lines == ("BatchNorm2d × 1: 8 parameters",)


def test_attention_products_are_in_the_rest() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return F.softmax(self.q(x) @ self.k(x).mT, -1) @ x

    model, example = Net(), torch.zeros(1, 5, 8)
    rest, _ = rest_of(model, views(model, example), example)
    assert rest.macs == 2 * 5 * 5 * 8 and rest.params == 0


class LooksAtValues(nn.Module):
    """Its path depends on the values, which the meta device does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        if float(x.sum()) > 1e6:
            return x
        return self.fc(x)


def test_a_network_without_a_meta_form_is_run_where_it_is() -> None:
    model, example = LooksAtValues(), torch.zeros(1, 3)
    (view,) = views(model, example)
    assert view.positions == 1
    assert count_macs(model, example) == 6
    assert rest_of(model, (view,), example)[0].macs == 0


def test_an_example_that_does_not_fit_raises_what_the_model_raises() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        views(Wrapped(nn.Linear(3, 2)), torch.zeros(1, 4))
