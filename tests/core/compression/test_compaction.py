"""Compaction against planted dead channels: what goes is known beforehand, and outputs stay equal."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from core.compression.compaction import compact
from core.errors import InputError
from tests import networks
from tests.core.compression.test_removal import ZOO, built


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def difference(one: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((one.eval()(x) - other.eval()(x)).abs().max())


def test_planted_rows_of_a_perceptron_go_with_their_bias_and_their_columns() -> None:
    model, x = built("mlp:36-20-16-10")
    with torch.no_grad():
        model.fc1.weight[[2, 5]] = 0.0
        model.fc1.bias[2] = 0.0  # the other gives a constant, which the next bias takes
        model.fc3.weight[:, 7] = 0.0  # nobody reads it
    new, notes = compact(model, x)
    assert (new.fc1.out_features, new.fc2.in_features, new.fc2.out_features) == (18, 16 + 2, 15)
    assert difference(model, new, x) < 1e-5
    assert set(notes) == {"fc1: 18 rows left of 20.", "fc2: 15 rows left of 16."}


def test_a_row_whose_only_reader_goes_goes_in_the_next_round() -> None:
    model, x = built("mlp:36-20-16-10")
    with torch.no_grad():
        model.fc3.weight[:, 4] = 0.0
        model.fc2.weight[:, 3] = 0.0
        model.fc2.weight[4, 3] = 1.0  # unit 3 of the first layer is read by unit 4 of the second alone
    new, _ = compact(model, x)
    assert (new.fc1.out_features, new.fc2.out_features) == (19, 15) and difference(model, new, x) < 1e-5


def test_a_batchnorm_whose_scale_and_shift_are_zero_silences_its_channel() -> None:
    model, x = built("convnet:1-6-8-10")
    with torch.no_grad():
        model.bn1.weight[[1, 4]] = 0.0
        model.bn1.bias[1] = 0.0
        model.bn1.bias[4] = 0.7  # not nothing, and a padded convolution reads it: it stays
    new, _ = compact(model, x)
    assert new.conv1.out_channels == 5 and new.bn1.num_features == 5 and new.conv2.in_channels == 5
    assert difference(model, new, x) < 1e-5


def test_a_residual_stream_goes_where_all_that_write_it_are_silent() -> None:
    model, x = networks.Residual().eval(), torch.randn(3, 3, 6, 6)
    with torch.no_grad():
        for norm in (model.norm, model.norm2):
            norm.weight[2] = norm.bias[2] = 0.0
        model.norm.weight[6] = model.norm.bias[6] = 0.0  # the other still writes it
    new, _ = compact(model, x)
    assert new.stem.out_channels == new.conv2.out_channels == 7 and new.head.in_features == 63
    assert difference(model, new, x) < 1e-5


@pytest.mark.parametrize("text", ZOO)
def test_built_in_networks_with_nothing_dead_stay_and_planted_rows_keep_outputs(text: str) -> None:
    model, x = built(text)
    same, _ = compact(model, x)
    assert sum(p.numel() for p in same.parameters()) == sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
                module.weight[::2] = 0.0
                if module.bias is not None:
                    module.bias[::2] = 0.0
    new, notes = compact(model, x)
    assert difference(model, new, x) < 1e-5
    assert sum(p.numel() for p in new.parameters()) < sum(p.numel() for p in model.parameters())
    assert all(note.endswith(".") for note in notes)


def test_a_layer_of_zeros_keeps_one_row() -> None:
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.randn(2, 4)
    nn.init.zeros_(model[0].weight)
    new, _ = compact(model, x)
    assert new[0].out_features == 1 and difference(model, new, x) < 1e-6


def test_a_network_that_cannot_be_followed_is_returned_with_the_reason() -> None:
    class Detached(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).detach()

    model, x = nn.Sequential(Detached(4, 3), nn.Linear(3, 2)), torch.randn(2, 4)
    with torch.no_grad():
        model[0].weight[0] = model[0].bias[0] = 0.0
    new, _ = compact(model, x)
    assert difference(model, new, x) == 0.0 and new is not model


def test_without_the_package_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(InputError, match="pip install torch-pruning"):
        compact(nn.Linear(2, 2), torch.randn(1, 2))
