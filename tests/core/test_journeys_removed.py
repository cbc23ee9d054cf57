"""Journeys of a plan that removes rows, on the embedded networks: what is measured, counted, said and trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core import journeys, recovery
from core.compression.plans import LayerPlan, Plan, Repair, plan_cost
from core.errors import InputError
from core.networks.arch import make_arch
from core.networks.forms import Filters
from core.networks.zoo import build
from core.training.data import Data, open_data
from core.training.recover_spec import RecoverSpec


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_data("digits")


def rows(name: str, repair: Repair, share: float = 0.6) -> tuple[journeys.Opened, Plan]:
    """A demo, and a plan that removes rows of every layer but the last."""
    opened = journeys.open_network(name)
    layers = [view for view in journeys.demo_survey(name).views if not Filters(1).obstacle(view)][:-1]
    forms = tuple(LayerPlan(view.name, Filters(round(share * view.m))) for view in layers)
    return opened, Plan(opened.ref, forms, repair, True)


def test_a_removed_plan_is_counted_and_measures_as_its_mask_does(digits: Data) -> None:
    opened, plan = rows("digits-mlp", Repair(("sequential", "bias"), 200))
    found = journeys.evaluate(opened, digits, plan, stages=True)
    masked = journeys.evaluate(opened, digits, replace(plan, remove=False))
    survey = journeys.survey_of(opened)
    assert found.compressed.value == pytest.approx(masked.compressed.value, abs=0.02)
    assert found.cost.macs < 0.5 * survey.dense.macs and masked.cost is None
    assert found.cost.params < plan_cost(plan, survey.views, survey.rest).params
    assert [name for name, _ in found.stages] == ["plain", "sequential", "removed", "bias"] and found.notes == ()
    plain = journeys.as_dict(found)
    assert plain["cost"]["macs"] == found.cost.macs and plain["notes"] == ()


def test_a_residual_network_says_which_rows_stay_and_runs(digits: Data) -> None:
    opened, plan = rows("digits-resnet", Repair(()))
    made = journeys.compressed_network(opened, plan, journeys.survey_of(opened), None)
    stay = sorted(note.split(":")[0] for note in made.notes if "stay masked" in note)
    assert stay == ["conv1", "layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2"]
    assert made.network.layer3[0].conv1.out_channels == round(0.6 * 64)
    with torch.no_grad():
        assert made.network.eval()(torch.randn(3, 1, 8, 8)).shape == (3, 10)


def test_training_goes_on_with_the_smaller_network(digits: Data, tmp_path: Path) -> None:
    opened, plan = rows("digits-mlp", Repair((), 100), 0.1)
    spec = RecoverSpec(epochs=6, samples=800)
    found = recovery.recover_plan(opened, plan, digits, spec, 200, tmp_path / "b")
    assert found.after.value > found.before.value and found.bundle.ok
    assert found.cost.params < 0.1 * 51466 and recovery.as_dict(found)["cost"]["params"] == found.cost.params


def test_what_a_network_takes_must_be_known(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    made = "nn.Sequential(nn.Linear(64, 12), nn.Linear(12, 10))"
    path.write_text(f"from torch import nn\ndef make():\n    return {made}\n")
    torch.save(build(make_arch("mlp", {"widths": (64, 12, 10)})).state_dict(), tmp_path / "w.pt")
    state = torch.load(tmp_path / "w.pt", weights_only=True)
    torch.save({name.replace("fc1", "0").replace("fc2", "1"): t for name, t in state.items()}, tmp_path / "w.pt")
    opened = journeys.open_network(str(tmp_path / "w.pt"), user_model=f"{path}:make")
    plan = Plan(opened.ref, (LayerPlan("0", Filters(5)),), Repair(()), True)
    with pytest.raises(InputError, match="say --input"):
        journeys.compressed_network(opened, plan, journeys.survey_of(opened), None)
