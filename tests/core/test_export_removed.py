"""Bundles of networks without the rows a plan removes: the smaller tensors, a clean interpreter, forged sizes, the
report's numbers."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from core import bundle_loader
from core.compression.apply import apply
from core.compression.plans import LayerPlan, Plan
from core.compression.removal import planned
from core.compression.surveying import survey_model
from core.export import Facts, read_bundle, write_bundle
from core.networks.arch import Inputs
from core.networks.checkpoints import Opened
from core.networks.forms import Filters, LowRank
from core.networks.user_code import from_module
from tests import networks
from tests.core.test_export import PLAIN, made, run, sealed

CUTS: dict[str, list[tuple[str, object]]] = {
    "mlp:36-20-16-10": [("fc1", Filters(7)), ("fc2", LowRank(3))],
    "convnet:1-6-8-10": [("conv1", Filters(2)), ("conv2", Filters(5)), ("fc", LowRank(2))],
    "resnet18:channels=1,width=4,size=8": [
        ("conv1", Filters(3)),
        ("layer1.0.conv2", Filters(3)),
        ("layer1.1.conv2", Filters(2)),
        ("layer4.0.conv1", Filters(9)),
    ],
    "transformer:dim=16,depth=1,hidden=24": [("blocks.0.mlp.fc1", Filters(11)), ("embed", Filters(9))],
}


def smaller(opened: Opened, forms: list[tuple[str, object]]) -> tuple[Plan, nn.Module, tuple[str, ...]]:
    """A plan that removes rows, its network, and the notes."""
    plan = Plan(opened.ref, tuple(LayerPlan(name, form) for name, form in forms), PLAIN, True)
    survey = survey_model(opened)
    x = torch.zeros(1, *survey.input_shape)
    removal = planned(plan, opened.module, survey.views, x)
    return plan, removal.taken(apply(removal.plan, opened.module, survey.views), x).eval(), removal.notes


def exported(folder: Path, text: str) -> tuple[Opened, nn.Module]:
    opened, _, _ = made(text, [])
    plan, new, notes = smaller(opened, CUTS[text])
    facts = Facts(removed=notes)
    write_bundle(folder, opened, plan, new, survey_model(opened), torch.randn(3, *opened.arch.input_shape), facts)
    return opened, new


@pytest.mark.parametrize("text", CUTS)
def test_the_files_hold_the_smaller_tensors_and_load_with_torch_alone(tmp_path: Path, text: str) -> None:
    opened, new = exported(tmp_path / "b", text)
    stored = load_file(tmp_path / "b" / "model.safetensors")
    assert {name: tuple(t.shape) for name, t in stored.items()} == {
        name: tuple(t.shape) for name, t in new.state_dict().items()
    }
    assert sum(t.numel() for t in stored.values()) < sum(t.numel() for t in opened.module.state_dict().values())
    found = run("load_model.py", cwd=tmp_path / "b")
    assert found.returncode == 0 and "as exported" in found.stdout, found.stdout + found.stderr
    read = read_bundle(tmp_path / "b")
    x = torch.randn(4, *opened.arch.input_shape)
    assert torch.equal(read.module(x), new(x)) and read.check.max_difference == 0.0 and read.plan.remove
    content = json.loads((tmp_path / "b" / "plan.json").read_text())
    assert content["bundle"]["cost"]["params"] <= sum(p.numel() for p in new.parameters())
    for name, sizes in content["bundle"]["sizes"].items():
        assert all(getattr(new.get_submodule(name), key) == size for key, size in sizes.items())


def test_a_network_of_ones_own_is_resized_and_not_touched(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = networks.Residual().eval()
    opened = replace(from_module(network, "net.py:make"), inputs=Inputs((3, 6, 6), (0.0,) * 3, (1.0,) * 3))
    plan, new, notes = smaller(opened, [("stem", Filters(5)), ("conv2", Filters(4)), ("conv1", Filters(3))])
    x = torch.randn(3, 3, 6, 6)
    write_bundle(tmp_path / "b", opened, plan, new, survey_model(opened), x, Facts(removed=notes))
    mine = networks.Residual()
    before = copy.deepcopy(mine.state_dict())
    read = bundle_loader.load(tmp_path / "b", mine)
    assert torch.equal(read(x), new(x)) and read.head.in_features == 45 and read.conv1.out_channels == 3
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    assert all(p.requires_grad for p in read.parameters())


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("fc9", {"in_features": 7, "out_features": 10}),
        ("fc1", {"in_features": 36}),
        ("fc1", {"in_features": 36, "out_features": True}),
        ("fc1", {"in_features": 36, "out_features": -1}),
        ("fc1", {"in_features": 36, "out_features": 7, "bias": 1}),
        ("", {"in_features": 36, "out_features": 7}),
    ],
)
def test_forged_sizes_are_a_sentence(tmp_path: Path, name: str, sizes: dict[str, Any]) -> None:
    exported(tmp_path / "b", "mlp:36-20-16-10")
    sealed(tmp_path / "b", lambda content: content["bundle"]["sizes"].update({name: sizes}))
    with pytest.raises(ValueError, match=r"no layer|cannot have the sizes"):
        bundle_loader.load(tmp_path / "b")


def test_sizes_that_the_weights_do_not_have_are_a_sentence(tmp_path: Path) -> None:
    exported(tmp_path / "b", "mlp:36-20-16-10")
    forged = {"in_features": 36, "out_features": 10**6}
    sealed(tmp_path / "b", lambda content: content["bundle"]["sizes"].update({"fc1": forged}))
    with pytest.raises(ValueError, match="do not fit the network"):
        bundle_loader.load(tmp_path / "b")


def test_a_bundle_of_masks_says_nothing_of_sizes(tmp_path: Path) -> None:
    opened, plan, new = made("mlp:36-20-16-10", [("fc1", Filters(7))])
    write_bundle(tmp_path / "b", opened, plan, new, survey_model(opened), torch.randn(3, 36))
    content = json.loads((tmp_path / "b" / "plan.json").read_text())
    assert "sizes" not in content["bundle"] and "cost" not in content["bundle"] and "remove" not in content


def test_the_report_counts_and_names_what_stayed(tmp_path: Path) -> None:
    opened, new = exported(tmp_path / "b", "transformer:dim=16,depth=1,hidden=24")
    page = (tmp_path / "b" / "report.html").read_text()
    masked = 7 * opened.arch.option("patch") ** 2  # seven of sixteen rows of the embedding
    assert f"{sum(p.numel() for p in new.parameters()) - masked:,}" in page
    assert "Rows removed for real" in page and "24 × 16; now 11 × 16" in page and "16 × 24; now 16 × 11" in page
    assert "embed: its rows stay masked, because a parameter that belongs to no layer" in page
