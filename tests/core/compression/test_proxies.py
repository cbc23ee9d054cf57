"""Rank correlations against ranks counted by hand, and sums of damages against networks in which they must add up."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from torch import Tensor, nn

from core.compression.plans import LayerPlan, Plan
from core.compression.proxies import SCORES, Additive, additivity, proxies, spearman
from core.compression.sensitivity import LayerSensitivity, informed, sensitivity
from core.compression.surveying import calibrate, survey_model
from core.networks.arch import Inputs, ModelRef
from core.networks.checkpoints import Opened
from core.networks.forms import LowRank, Sparse
from tests.surveys import linear_layer, survey

REF = ModelRef("file", "a test", "0" * 64)


def by_hand(a: list[float], b: list[float]) -> float:
    """Pearson's correlation of ranks; a rank is one plus the number of smaller values plus half of the equal others."""

    def ranks(values: list[float]) -> list[float]:
        return [1 + sum(w < v for w in values) + 0.5 * (sum(w == v for w in values) - 1) for v in values]

    p, q = ranks(a), ranks(b)
    mean = (len(a) + 1) / 2
    joint = sum((x - mean) * (y - mean) for x, y in zip(p, q, strict=True))
    return joint / math.sqrt(sum((x - mean) ** 2 for x in p) * sum((y - mean) ** 2 for y in q))


def test_spearman_is_the_correlation_of_ranks_ties_included() -> None:
    rng = random.Random(3)
    for _ in range(20):
        a = [float(rng.randint(0, 6)) for _ in range(12)]
        b = [x + rng.gauss(0, 3) for x in a]
        assert spearman(a, b) == pytest.approx(by_hand(a, b))
    assert spearman([1.0, 2.0, 3.0], [1.0, 8.0, 9.0]) == pytest.approx(1.0)
    assert spearman([1.0, 2.0], [1.0, 8.0]) is None and spearman([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]) is None


def planted() -> tuple[object, tuple[LayerSensitivity, ...]]:
    """Three layers whose measured damage is the cube of what is cut off, whatever else their spectra are."""
    spectra = {"a": [4.0, 2.0, 1.0, 0.5], "b": [3.0, 2.9, 2.8, 2.7], "c": [10.0, 0.3, 0.2, 0.1]}
    made = survey([linear_layer(name, 4, 6, S) for name, S in spectra.items()])
    found = []
    for name, S in spectra.items():
        cut = tuple(math.sqrt(sum(s * s for s in S[r:])) ** 3 for r in (1, 2, 3))
        found.append(LayerSensitivity(name, "lowrank", (1, 2, 3), cut, (0.0,) * 3, (), (0.5, 0.4, 0.3), 10))
    return made, tuple(found)


def test_a_planted_score_is_found_and_every_score_is_that_of_the_spectrum() -> None:
    made, found = planted()
    by_name = {proxy.name: proxy for proxy in proxies(made, found)}  # type: ignore[arg-type]
    assert set(by_name) == set(SCORES)
    assert by_name["tail"].rho == pytest.approx(1.0) and by_name["tail"].n == 9
    S = [4.0, 2.0, 1.0, 0.5]
    energy = sum(s * s for s in S)
    p = [s / sum(S) for s in S]
    want = {
        "plain": math.sqrt(1.25 / energy),
        "energy": 20.0 / energy,
        "tail": math.sqrt(1.25),
        "layer_output": 0.4,
        "stable_rank": energy / 16.0 / 2,
        "entropy_rank": math.exp(-sum(v * math.log(v) for v in p)) / 2,
    }
    for name, value in want.items():
        (point,) = [point for point in by_name[name].points if (point.layer, point.level) == ("a", 2)]
        assert point.score == pytest.approx(value) and point.damage == pytest.approx(1.25**1.5)
        scores, damages = zip(*((point.score, point.damage) for point in by_name[name].points), strict=True)
        assert by_name[name].rho == pytest.approx(by_hand(list(scores), list(damages)))
    assert by_name["energy"].rho == pytest.approx(-by_name["plain"].rho)  # type: ignore[operator]
    assert (by_name["output"].n, by_name["output"].rho) == (0, None)  # not calibrated
    assert (by_name["alpha"].n, by_name["log_norm"].n) == (0, 0)  # no diagnostics in these records
    assert all(proxy.label for proxy in by_name.values())


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
    with pytest.raises(ValueError, match="damage"):
        additivity(model, {"p": plan}, x, base)
