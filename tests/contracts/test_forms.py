"""What every form in the catalogue promises: parameters and MACs built equal those predicted; at full level it is the
layer to 1e-10 in float64; gradients reach every parameter; it can be built if and only if it names no obstacle."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from core.catalogue import FORMS
from core.compression.apply import apply
from core.compression.plans import LayerPlan, Plan
from core.networks.arch import ModelRef
from core.networks.forms import FAMILIES, Form
from core.networks.views import LayerView, views
from tests.layers import LAYERS, Attends, Tied, Wrapped, nonzero_numbers, stored_numbers, torch_macs

REF = ModelRef("file", "a test", "0" * 64)

pytestmark = pytest.mark.usefixtures("float64")


def inspected(name: str) -> tuple[Wrapped, LayerView, tuple[int, ...]]:
    make, sample = LAYERS[name]
    model = Wrapped(make())
    (view,) = views(model, torch.zeros(1, *sample))
    return model, view, sample


def levels(family: str, view: LayerView) -> list[int]:
    full = FAMILIES[family].full(view)
    return sorted({1, max(1, full // 3), max(1, full - 1), full}) if family != "sparse24" else [50]


def applied(model: nn.Module, view: LayerView, form: Form) -> nn.Module:
    return apply(Plan(REF, (LayerPlan(view.name, form),)), model, (view,))


def fitting() -> list[tuple[str, str]]:
    """(family, layer) for which the family names no obstacle."""
    found = []
    for name, (make, sample) in LAYERS.items():
        (view,) = views(Wrapped(make()), torch.zeros(1, *sample))
        found += [(row.name, name) for row in FORMS if not FAMILIES[row.name].obstacle(view)]
    return found


FITTING = fitting()


def test_every_family_is_tried_on_a_convolution_or_two() -> None:
    for row in FORMS:
        assert len([name for family, name in FITTING if family == row.name]) >= 5


@pytest.mark.parametrize(("family", "name"), FITTING)
def test_built_costs_equal_predicted_ones(family: str, name: str) -> None:
    model, view, sample = inspected(name)
    make = next(row.make for row in FORMS if row.name == family)
    for level in levels(family, view):
        form = make(level, view)
        built = applied(model, view, form)
        cost = form.cost(view)
        mask = not FAMILIES[family].unfolding
        assert (nonzero_numbers(built) if mask else stored_numbers(built)) == cost.params
        assert torch_macs(copy.deepcopy(built), sample) == cost.macs
        if mask:
            assert cost.useful_macs == int(built.layer.weight.count_nonzero()) * view.positions  # type: ignore[union-attr]
        else:
            stored = sum(p.numel() * p.element_size() for p in built.parameters())
            assert (cost.useful_macs, cost.bytes) == (cost.macs, stored)


@pytest.mark.parametrize(("family", "name"), [pair for pair in FITTING if pair[0] != "sparse24"])
def test_at_full_level_the_layer_is_reproduced(family: str, name: str) -> None:
    model, view, sample = inspected(name)
    built = applied(model, view, FAMILIES[family].make(FAMILIES[family].full(view), view))
    with torch.no_grad():
        x = torch.randn(3, *sample)
        want, got = model(x), built(x)
    assert float((got - want).abs().max()) <= 1e-10 * float(want.abs().max())


@pytest.mark.parametrize(("family", "name"), FITTING)
def test_gradients_reach_every_parameter(family: str, name: str) -> None:
    model, view, sample = inspected(name)
    built = applied(model, view, FAMILIES[family].make(levels(family, view)[-1], view))
    built(torch.randn(3, *sample)).square().sum().backward()
    for label, parameter in built.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), label


@pytest.mark.parametrize("name", LAYERS)
def test_every_level_up_to_full_builds_and_no_other(name: str) -> None:
    model, view, _ = inspected(name)
    for family in FAMILIES.values():
        if family.obstacle(view):
            with pytest.raises(ValueError, match="cannot take the form"):
                applied(model, view, family.make(1, view))
            continue
        applied(model, view, family.make(family.full(view), view))
        if family.unfolding or family.id == "filters":
            for level in (0, family.full(view) + 1):
                with pytest.raises(ValueError, match=str(level)):
                    applied(model, view, family.make(level, view))


class Twice(nn.Module):
    """One convolution under two names, run three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, stride=1, padding=1)
        self.other = self.layer

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.layer(self.other(x)))


@pytest.mark.parametrize("family", [row.name for row in FORMS])
def test_a_layer_used_under_two_names_is_exchanged_under_both(family: str) -> None:
    model, sample = Twice(), (4, 6, 7)
    (view,) = views(model, torch.zeros(1, *sample))
    form = FAMILIES[family].make(2, view)
    built = applied(model, view, form)
    assert built.layer is built.other and built.layer is not model.layer
    mask = not FAMILIES[family].unfolding
    assert (nonzero_numbers(built) if mask else stored_numbers(built)) == form.cost(view).params
    assert torch_macs(copy.deepcopy(built), sample) == form.cost(view).macs


def refused() -> list[tuple[str, nn.Module, Tensor]]:
    tokens = torch.zeros(1, 7, dtype=torch.int64)
    return [
        ("grouped", Wrapped(nn.Conv2d(6, 12, 3, groups=3)), torch.zeros(1, 6, 5, 5)),
        ("depthwise", Wrapped(nn.Conv2d(6, 6, 3, groups=6)), torch.zeros(1, 6, 5, 5)),
        ("tied", Tied(False), tokens),
        ("tied, head first", Tied(True), tokens),
        ("attention", Attends(), torch.zeros(1, 5, 8)),
        ("transposed", Wrapped(nn.ConvTranspose2d(4, 6, 3)), torch.zeros(1, 4, 5, 5)),
        ("one output", Wrapped(nn.Linear(5, 1)), torch.zeros(1, 5)),
    ]


@pytest.mark.parametrize(("model", "example"), [case[1:] for case in refused()], ids=[case[0] for case in refused()])
def test_what_names_an_obstacle_is_refused_by_apply(model: nn.Module, example: Tensor) -> None:
    found = views(model, example)
    assert found
    for view in found:
        for family in FAMILIES.values():
            form = family.make(1, view)
            assert form.obstacle(view), f"{view.name} offers {family.id}"
            with pytest.raises(ValueError, match="cannot take the form"):
                apply(Plan(REF, (LayerPlan(view.name, form),)), model, found)
