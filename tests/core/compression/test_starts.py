"""A low-rank start of whole networks: what follows each layer, what is skipped, and functions that are kept."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.compression.contexts import contexts
from core.compression.starts import fraction_for, low_rank_start, params_at, ranks_at, skips
from core.journeys import open_network
from core.networks.views import views


class Mixed(nn.Module):
    """Every context that is told apart, once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.a, self.norm = nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.b, self.norm_b = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.leak, self.soft, self.smooth = nn.Linear(32, 24), nn.Linear(24, 24), nn.Linear(24, 24)
        self.bounded, self.plain, self.twice = nn.Linear(24, 24), nn.Linear(24, 24), nn.Linear(24, 24)
        self.head = nn.Linear(24, 16)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.stem(x))
        h = F.relu(self.norm(self.a(h)))
        h = (h + self.norm_b(self.b(h))).mean((2, 3))
        h = F.leaky_relu(self.leak(h), 0.2)
        h = F.gelu(self.drop(self.soft(h)))
        h = F.silu(self.smooth(h))
        h = torch.tanh(self.bounded(h))
        h = h + self.plain(h)
        t = self.twice(h)
        return self.head(torch.relu(t) + t)


@pytest.fixture
def mixed() -> nn.Module:
    torch.manual_seed(0)
    return Mixed().eval()


def test_what_follows_every_layer_is_read_from_the_graph(mixed: nn.Module) -> None:
    found = {name: one.objective for name, one in contexts(mixed, views(mixed)).items()}
    assert found == {
        "stem": "relu", "a": "bn", "b": "linear", "leak": "leaky(0.2)", "soft": "gelu", "smooth": "silu",
        "bounded": "tanh", "plain": "linear", "twice": "linear", "head": "linear",
    }  # fmt: skip
    assert contexts(mixed, views(mixed))["a"].norm == "norm"


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("random:resnet20@0", {"bn", "linear"}),
        ("digits-resnet", {"bn", "linear"}),
        ("digits-mlp", {"relu", "linear"}),
        ("digits-convnet", {"bn", "linear"}),
        ("digits-vit", {"gelu", "linear"}),
    ],
)
def test_the_built_in_networks_are_read(name: str, kinds: set[str]) -> None:
    model = open_network(name).module
    assert model is not None
    found = contexts(model, views(model))
    assert {one.objective for one in found.values()} == kinds
    if "resnet" in name:
        assert all(("conv1" in layer) == (one.objective == "bn") for layer, one in found.items() if "." in layer)


def test_what_cannot_be_traced_counts_as_linear() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(20, 20)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x)
            return h if h.sum() > 0 else -h

    (one,) = contexts(Decides(), views(Decides())).values()
    assert one.objective == "linear" and "cannot be traced" in one.words


def test_layers_are_skipped_for_a_reason_and_the_others_have_their_rank(mixed: nn.Module) -> None:
    layers = views(mixed)
    new, starts = low_rank_start(mixed, layers, 0.25)
    by = {start.layer: start for start in starts}
    assert "first convolution" in by["stem"].skipped and "classes" in by["head"].skipped
    assert {name for name, start in by.items() if not start.skipped} == {
        "a", "b", "leak", "soft", "smooth", "bounded", "plain", "twice",
    }  # fmt: skip
    assert by["a"].rank == 8 and by["soft"].rank == 6
    assert all(start.loss <= start.spectral + 1e-6 for start in starts if start.rank)
    assert by["leak"].loss < by["leak"].spectral
    x = torch.randn(4, 3, 8, 8)
    assert new(x).shape == mixed(x).shape and sum(p.numel() for p in new.parameters()) < sum(
        p.numel() for p in mixed.parameters()
    )
    assert mixed.a.weight.shape == (32, 16, 3, 3), "the network given is not touched"


def test_all_ranks_leave_the_function_as_it_is(mixed: nn.Module) -> None:
    """Factors of nearly full rank, where they still save: what is lost is the last direction of each layer."""
    layers, x = views(mixed), torch.randn(8, 3, 8, 8)
    far, near = (low_rank_start(mixed, layers, fraction)[0](x) for fraction in (0.1, 0.45))
    want = mixed(x)
    assert float((near - want).detach().norm()) < float((far - want).detach().norm())


def test_a_budget_is_met_by_the_largest_fraction_that_fits(mixed: nn.Module) -> None:
    layers = views(mixed)
    whole = sum(view.size + view.num_bias for view in layers)
    fraction = fraction_for(layers, whole // 2)
    assert params_at(layers, fraction) <= whole // 2 < params_at(layers, fraction + 0.03)
    new, _ = low_rank_start(mixed, layers, fraction)
    found = sum(p.numel() for name, p in new.named_parameters() if "norm" not in name)
    assert found == params_at(layers, fraction)
    with pytest.raises(ValueError, match="smallest ranks"):
        fraction_for(layers, 10)
    with pytest.raises(ValueError, match="rank fraction"):
        ranks_at(layers, 0.0)
    assert "would not save" in skips(layers, ranks_at(layers, 0.9))["soft"]


@pytest.mark.parametrize("method", ["spectral", "rescaled", "nkp", "orthogonal", "kaiming"])
def test_every_method_starts_every_context(mixed: nn.Module, method: str) -> None:
    new, starts = low_rank_start(mixed, views(mixed), 0.2, method)
    assert torch.isfinite(new(torch.randn(2, 3, 8, 8))).all()
    used = {start.layer: start.method for start in starts if start.rank}
    assert used["a"] == method and used["soft"] == (method if method != "nkp" else "rescaled")


def test_behind_batchnorm_the_scales_count(mixed: nn.Module) -> None:
    with torch.no_grad():
        mixed.norm.weight.copy_(torch.cat([torch.full((4,), 10.0), torch.full((28,), 0.01)]))
    _, starts = low_rank_start(mixed, views(mixed), 0.15, "nkp")
    (a,) = [start for start in starts if start.layer == "a"]
    assert a.loss < 0.2 * a.spectral, "four rows are all that matters, and the rank has room for them"
