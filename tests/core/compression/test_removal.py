"""Removed rows against slices made by hand, against torch's own counters, and against networks whose wiring the
dependency graph gets wrong."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.compression import coupling
from core.compression.apply import apply
from core.compression.counting import counted
from core.compression.cutting import Cut, without
from core.compression.fitting import repair
from core.compression.plans import LayerPlan, Plan, Repair
from core.compression.removal import planned, remove_rows
from core.compression.trials import ELSEWHERE, UNRUN, trial
from core.errors import InputError
from core.networks.arch import ModelRef, parse_arch
from core.networks.forms import Filters, LowRank, Sparse
from core.networks.views import views
from core.networks.zoo import build
from tests import networks
from tests.networks import Pair

REF = ModelRef("file", "a test", "0" * 64)
OUTPUTS, PADDED = "its rows are the network's outputs", "a padded shortcut or a concatenation ties it"
ZOO = {
    "mlp:36-20-16-10": {"fc3": OUTPUTS},
    "convnet:1-6-8-10": {"fc": OUTPUTS},
    "resnet8:channels=1,width=4": {
        "linear": OUTPUTS,
        **dict.fromkeys(("conv1", "layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2"), PADDED),
    },
    "resnet18:channels=1,width=4,size=8": {"fc": OUTPUTS},
    "autoencoder:36-12-4": {"decoder.2": OUTPUTS},
    "transformer:dim=16,depth=1,hidden=24": {
        "head": OUTPUTS,
        "blocks.0.attn.qkv": UNRUN,
        **dict.fromkeys(("embed", "blocks.0.attn.proj", "blocks.0.mlp.fc2"), "a parameter that belongs to no layer"),
    },
}
"""Built-in networks, and their layers whose rows cannot go, with the reason."""


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def plan_of(remove: bool = True, steps: tuple[str, ...] = (), **forms: Any) -> Plan:
    entries = tuple(LayerPlan(name.replace("_", "."), form) for name, form in forms.items())
    return Plan(REF, entries, Repair(steps), remove)


def halved(model: nn.Module, x: Tensor) -> Plan:
    """Every layer that may be masked, at half its rows."""
    fitting = [view for view in views(model, x[:1]) if not Filters(1).obstacle(view)]
    return Plan(REF, tuple(LayerPlan(v.name, Filters(max(1, v.m // 2))) for v in fitting), Repair(()), True)


def removed(model: nn.Module, plan: Plan, x: Tensor) -> tuple[nn.Module, nn.Module, tuple[str, ...]]:
    """The plan's network with masked rows, without them, and the notes."""
    seen = views(model, x[:1])
    removal = planned(plan, model, seen, x[:1])
    masked = apply(removal.plan, model, seen).eval()
    return masked, removal.taken(masked, x[:1]).eval(), removal.notes


def built(text: str) -> tuple[nn.Module, Tensor]:
    """A built-in network whose BatchNorms do something, and inputs."""
    arch = parse_arch(text)
    model = build(arch).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.bias, std=0.3)
    return model, torch.randn(3, *arch.input_shape)


def test_two_linear_layers_are_what_slicing_by_hand_gives() -> None:
    model, x = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).eval(), torch.randn(4, 5)
    masked, new, notes = removed(model, Plan(REF, (LayerPlan("0", Filters(4)),), Repair(())), x)
    W, b, V, c = (p.detach() for p in model.parameters())
    keep = W.norm(dim=1).argsort(descending=True)[:4].sort().values
    gone = torch.tensor([i for i in range(7) if i not in keep])
    assert torch.equal(new[0].weight, W[keep]) and torch.equal(new[0].bias, b[keep])
    assert torch.equal(new[2].weight, V[:, keep])
    torch.testing.assert_close(new[2].bias, c + V[:, gone] @ torch.relu(b[gone]))
    torch.testing.assert_close(new(x), masked(x), rtol=0, atol=1e-6)
    assert (new[0].out_features, new[2].in_features) == (4, 4) and notes == ()


def test_a_constant_is_folded_into_an_unpadded_convolution_and_dropped_before_a_padded_one() -> None:
    x = torch.randn(2, 3, 8, 8)
    for padding, exact in ((0, True), (1, False)):
        model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Sigmoid(), nn.Conv2d(6, 4, 3, padding=padding)).eval()
        masked, new, notes = removed(model, Plan(REF, (LayerPlan("0", Filters(2)),), Repair(())), x)
        assert torch.allclose(new(x), masked(x), atol=1e-5) is exact
        assert bool(notes) is not exact and all("is dropped before 2" in note for note in notes)
        by_hand = copy.deepcopy(masked)
        gone = masked[0].weight.flatten(1).eq(0).all(1)
        by_hand[2].weight.data[:, gone] = 0.0
        if not exact:
            torch.testing.assert_close(new(x), by_hand(x), rtol=0, atol=1e-5)


def test_batchnorm_loses_the_same_entries_and_keeps_the_rest() -> None:
    model, x = built("convnet:1-6-8-10")
    _, new, _ = removed(model, plan_of(conv1=Filters(3)), x)
    keep = model.conv1.weight.flatten(1).norm(dim=1).argsort(descending=True)[:3].sort().values
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(new.bn1, name), getattr(model.bn1, name)[keep])
    assert torch.equal(new.conv2.weight, model.conv2.weight[:, keep]) and new.bn1.num_features == 3
    assert new.conv2.out_channels == 8


def test_layers_of_one_residual_stream_lose_the_same_rows_by_the_sum_of_their_squares() -> None:
    model, x = networks.Residual().eval(), torch.randn(2, 3, 6, 6)
    _, new, notes = removed(model, plan_of(stem=Filters(3), conv2=Filters(5)), x)
    size = model.stem.weight.square().sum((1, 2, 3)) + model.conv2.weight.square().sum((1, 2, 3))
    keep = size.argsort(descending=True)[:5].sort().values  # the layer that keeps most decides how many
    assert torch.equal(new.stem.weight, model.stem.weight[keep])
    assert torch.equal(new.conv2.weight, model.conv2.weight[keep])
    assert torch.equal(new.conv1.weight, model.conv1.weight[:, keep])
    columns = torch.cat([torch.arange(9 * i, 9 * i + 9) for i in keep])
    assert torch.equal(new.head.weight, model.head.weight[:, columns])
    assert any("stem, conv2 lose their rows together: the same 5 of 8 stay." in note for note in notes)
    assert new(x).shape == (2, 5)


def test_a_partner_that_keeps_its_rows_keeps_those_of_all_masked() -> None:
    model, x = networks.Residual().eval(), torch.randn(2, 3, 6, 6)
    masked, new, notes = removed(model, plan_of(stem=Filters(3)), x)
    assert notes == ("stem: its rows stay masked, because conv2 would lose the same rows and keeps them.",)
    assert torch.equal(new(x), masked(x)) and new.stem.weight.shape == model.stem.weight.shape


@pytest.mark.parametrize("text", ZOO)
def test_built_in_networks_run_and_say_which_rows_stay(text: str) -> None:
    model, x = built(text)
    before = copy.deepcopy(model.state_dict())
    plan = halved(model, x)
    masked, new, notes = removed(model, plan, x)
    assert new(x).shape == model(x).shape and bool(new(x).isfinite().all())
    stay = {note.split(":")[0]: note for note in notes if "stay masked" in note}
    assert set(stay) == set(ZOO[text]) and all(why in stay[name] for name, why in ZOO[text].items())
    for entry in plan.layers:
        rows = len(new.get_submodule(entry.layer).weight)
        assert rows == (len(model.get_submodule(entry.layer).weight) if entry.layer in stay else entry.form.level)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again, said = remove_rows(masked, plan, x)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), new.parameters(), strict=True)) and said == notes


@pytest.mark.parametrize("text", ZOO)
def test_costs_are_counted_on_the_tensors(text: str) -> None:
    model, x = built(text)
    plan = halved(model, x)
    _, new, notes = removed(model, plan, x)
    found = counted(new, plan, x[:1])
    zeros = sum(
        int(new.get_submodule(note.split(":")[0]).weight.eq(0).sum()) for note in notes if "stay masked" in note
    )
    assert found.cost.params == sum(p.numel() for p in new.parameters()) - zeros
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(new).to("meta")(x[:1].to("meta"))
    assert found.cost.macs == counter.get_total_flops() // 2
    assert found.cost.macs < counted(model, plan_of(), x[:1]).cost.macs
    assert sum(cost.params for _, cost in found.layers) <= found.cost.params


def test_a_mask_that_stays_counts_as_masks_do() -> None:
    model, x = nn.Sequential(nn.Linear(8, 6, bias=False), nn.ReLU(), nn.Linear(6, 4, bias=False)), torch.randn(2, 8)
    plan = Plan(REF, (LayerPlan("0", Filters(3)), LayerPlan("2", Sparse(6))), Repair(()), True)
    _, new, _ = removed(model, plan, x)
    left = int(new[2].weight.count_nonzero())
    found = counted(new, plan, x[:1]).cost
    assert (found.params, found.macs, found.useful_macs) == (24 + left, 24 + 12, 24 + left)
    assert found.bytes == 4 * (24 + left) + 2  # twelve entries, one bit each, in whole bytes


def test_another_form_may_read_the_removed_rows() -> None:
    model, x = built("convnet:1-6-8-10")
    masked, new, _ = removed(model, plan_of(conv1=Filters(3), conv2=LowRank(4)), x)
    assert new.conv2.first.weight.shape[1] == 3 and new.conv2.second.weight.shape == masked.conv2.second.weight.shape
    parts = counted(new, plan_of(conv2=LowRank(4)), x[:1]).parts("conv2")
    assert [view.name for view, _ in parts] == ["conv2.first", "conv2.second"]


class Flips(Pair):
    """Turns the order of its channels around, which the dependency graph takes for an element-wise operation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)).flip(1))


class Softmaxes(Flips):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).softmax(1))


@pytest.mark.parametrize("kind", [Flips, Softmaxes])
def test_what_the_graph_gets_wrong_is_found_by_trying(kind: type[nn.Module]) -> None:
    model, x = kind().eval(), torch.randn(3, 6)
    masked, new, notes = removed(model, plan_of(a=Filters(5)), x)
    assert notes == (f"a: its rows stay masked, because {ELSEWHERE}.",)
    assert torch.equal(new(x), masked(x))


def test_one_bad_cut_does_not_hold_up_the_others() -> None:
    class Both(Flips):
        def __init__(self) -> None:
            super().__init__()
            self.c = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.relu(super().forward(x)))

    _, new, notes = removed(Both().eval(), plan_of(a=Filters(5), b=Filters(2)), torch.randn(3, 6))
    assert new.b.out_features == 2 and new.a.out_features == 8 and notes[0].startswith("a: ")


def test_a_padding_shortcut_that_were_not_seen_would_be_found_by_trying() -> None:
    model, x = built("resnet8:channels=1,width=4")
    found, _ = coupling.groups_of(model, x)
    (stream,) = (group for group in found if "conv1" in group.names)
    assert trial(model, [Cut(stream, (3,))], x) in (ELSEWHERE, UNRUN)


def test_a_network_that_cannot_be_followed_keeps_its_rows() -> None:
    class Leaves(Flips):
        def forward(self, x: Tensor) -> Tensor:
            assert not torch.is_grad_enabled(), "only without gradients"
            return super().forward(x)

    class Detached(Flips):
        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).detach())

    for kind, why in (
        (Leaves, "cannot follow this network (AssertionError)"),
        (Detached, "torch-pruning does not see it"),
    ):
        model, x = kind().eval(), torch.randn(2, 6)
        with torch.no_grad():
            _, new, notes = removed(model, plan_of(a=Filters(5)), x)
        assert new.a.out_features == 8 and why in notes[0]


def test_shared_weights_stay_and_frozen_parameters_stay_frozen() -> None:
    class Tied(Flips):
        def __init__(self) -> None:
            super().__init__()
            self.c = nn.Linear(8, 4)
            self.c.weight = self.b.weight

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.a(x))
            return self.b(h) + self.c(h)

    model = Tied().eval().requires_grad_(False)
    _, new, notes = removed(model, plan_of(a=Filters(5)), torch.randn(2, 6))
    assert "shares its weight with another layer" in notes[0] and new.a.out_features == 8
    frozen = networks.Decides().requires_grad_(False)
    group = coupling.groups_of(frozen, torch.randn(2, 6))[0][0]
    assert group.names == ("a",) and not group.obstacle
    assert not any(p.requires_grad for p in without(frozen, [Cut(group, (0, 2))]).parameters())


def test_without_the_package_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = built("mlp:36-20-16-10")
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(InputError) as caught:
        removed(model, plan_of(fc1=Filters(5)), x)
    assert "\n" not in str(caught.value) and str(caught.value).endswith("pip install torch-pruning.")
    removed(model, plan_of(fc1=LowRank(3)), x)  # nothing to remove, nothing missing
    monkeypatch.setattr(coupling, "PACKAGE", "no_such_package")
    assert coupling.missing() == coupling.MISSING


def test_repair_fits_masks_removes_and_goes_on_with_the_smaller_network() -> None:
    model, x = built("convnet:1-6-8-10")
    x = torch.randn(40, *x.shape[1:])
    seen = views(model, x[:1])
    plan = plan_of(steps=("whitened", "sequential", "batchnorm", "bias"), conv1=Filters(3), conv2=Filters(5))
    removal = planned(plan, model, seen, x[:1])
    new, gains, stages = repair(plan, model, x, seen, keep_stages=True, removal=removal)
    steps = [gain.step for gain in gains]
    assert steps == ["plain", "whitened", "sequential", "removed", "batchnorm"] and gains[3].kept
    assert stages["sequential"].conv1.out_channels == 6 and stages["removed"].conv1.out_channels == 3
    assert stages["batchnorm"].bn1.num_features == 3 and new.conv2.weight.shape[:2] == (5, 3)
    fitted = stages["sequential"].conv1.weight
    keep = model.conv1.weight.flatten(1).norm(dim=1).argsort(descending=True)[:3].sort().values
    assert torch.equal(stages["removed"].conv1.weight, fitted[keep])


def test_bias_correction_compares_the_rows_that_are_left() -> None:
    model, x = built("mlp:36-20-16-10")
    x = torch.randn(60, *x.shape[1:]) + 1.0
    seen = views(model, x[:1])
    plan = plan_of(steps=("bias",), fc1=Filters(9), fc2=Filters(7))
    removal = planned(plan, model, seen, x[:1])
    _, gains, stages = repair(plan, model, x, seen, keep_stages=True, removal=removal)
    assert [gain.step for gain in gains] == ["plain", "removed", "bias"]
    new = stages["bias"]
    with torch.no_grad():
        dense = model.fc2(F.relu(model.fc1(x.flatten(1))))[:, list(removal.kept["fc2"])]
        ours = new.fc2(F.relu(new.fc1(x.flatten(1))))
    torch.testing.assert_close(ours.mean(0), dense.mean(0), rtol=0, atol=1e-5)
