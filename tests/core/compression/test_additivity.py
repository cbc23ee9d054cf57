"""Damages of layers side by side add up exactly; those of a chain do not, and that is said."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from core.compression.additivity import Additive, joint_damage, predicted_damage
from core.compression.plans import LayerPlan, Plan
from core.compression.sensitivity import informed, sensitivity
from core.compression.survey import Survey
from core.compression.surveying import calibrate, survey_model
from core.networks.arch import Inputs, ModelRef
from core.networks.checkpoints import Opened
from core.networks.forms import LowRank, Sparse

REF = ModelRef("file", "a test", "0" * 64)


def additivity(
    model: nn.Module, plans: Mapping[str, Plan], x: Tensor, known: Survey, fit: str = "plain"
) -> list[Additive]:
    joint = joint_damage(model, plans, x, known.views, bool(known.num_classes), fit)
    return [Additive(key, predicted_damage(known, plan) or 0.0, joint[key]) for key, plan in plans.items()]


def opened(model: nn.Module, *sample: int) -> Opened:
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return Opened(REF, state, None, model.eval(), (), "", Inputs(sample, (0.0,) * sample[0], (1.0,) * sample[0]))


class Apart(nn.Module):
    """Two layers with outputs side by side, so that squared errors add up exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x)], 1)


@pytest.mark.parametrize("fit", ["plain", "whitened"])
def test_damages_of_layers_side_by_side_add_up(fit: str) -> None:
    model, x = Apart(), torch.randn(50, 6)
    base = calibrate(survey_model(opened(model, 6)), model, x, "a test")
    found = sensitivity(model, x, base.views, fit=fit)
    forms = {f"{r} {q}": (LowRank(r), LowRank(q)) for r, q in itertools.product((1, 2, 3), repeat=2)}
    plans = {key: Plan(REF, (LayerPlan("a", f), LayerPlan("b", g))) for key, (f, g) in forms.items()}
    made = additivity(model, plans, x, informed(base, found), fit)
    assert [entry.key for entry in made] == list(plans)
    for entry in made:
        assert entry.joint == pytest.approx(entry.predicted, rel=1e-4) and entry.warning == ""
        a, b = (found[i].damage[int(entry.key.split()[i]) - 1] for i in (0, 1))
        assert entry.predicted == pytest.approx(a + b, rel=1e-6)


def test_a_chain_that_has_little_left_to_lose_is_warned_of() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(5))).train()
    for layer in model:
        nn.init.orthogonal_(layer.weight)
    x = torch.randn(80, 16)
    base = survey_model(opened(model, 16))
    model.train()
    found = sensitivity(model, x, base.views)
    plan = Plan(REF, tuple(LayerPlan(view.name, LowRank(1)) for view in base.views))
    (made,) = additivity(model, {"rank 1": plan}, x, informed(base, found))
    assert made.predicted > 4.0 and made.joint < 1.1
    assert "rank 1" in made.warning and "less" in made.warning and made.warning.endswith(".")
    assert all(module.training for module in model.modules())
    (nothing,) = additivity(model, {"dense": Plan(REF)}, x, base)
    assert (nothing.predicted, nothing.joint, nothing.warning) == (0.0, 0.0, "")


def test_a_warning_where_damages_part_by_more_than_the_factor() -> None:
    assert Additive("p", 1.0, 1.9).warning == "" and Additive("p", 1.0, 0.6).warning == ""
    assert "more" in Additive("p", 1.0, 2.1).warning and "less" in Additive("p", 1.0, 0.4).warning
    assert "more" in Additive("p", 0.0, 0.3).warning and Additive("p", 1e-9, 1e-8).warning == ""
    assert "more" in Additive("p", 1.0, math.inf).warning


def test_what_additivity_cannot_do_is_refused() -> None:
    model, x = Apart(), torch.randn(5, 6)
    base = survey_model(opened(model, 6))
    plan = Plan(REF, (LayerPlan("a", Sparse(10)),))
    with pytest.raises(ValueError, match="best"):
        additivity(model, {"p": plan}, x, base, "best")
    assert predicted_damage(base, plan) is None and predicted_damage(base, Plan(REF)) == 0.0
