"""Untrained networks by name: the same seed gives the same weights, those that torch gives it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core.errors import CheckpointError
from core.networks.checkpoints import open_model


def test_a_random_network_has_the_shape_asked_for_and_torch_s_own_weights() -> None:
    opened = open_model("random:mlp:6-5-3@4")
    torch.manual_seed(4)
    first = nn.Linear(6, 5)
    weights = [t for t in opened.state.values() if t.ndim == 2]
    assert [tuple(w.shape) for w in weights] == [(5, 6), (3, 5)] and torch.equal(weights[0], first.weight)
    assert opened.ref.source == "random" and "MLP" in opened.ref.name and opened.module is not None
    assert not opened.module.training and opened.notes == ("random weights, seed 4: nothing was trained",)


def test_the_seed_decides_and_the_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    one, same, other = (open_model(f"random:resnet8@{seed}").ref.digest for seed in ("", "0", "1"))
    assert one == same != other and torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "source", ["random:", "random:bogus", "random:mlp:4-5-6@x", "random:mlp:4-5-6@-1", "random:mlp:0"]
)
def test_what_is_no_network_is_one_sentence(source: str) -> None:
    with pytest.raises(CheckpointError) as error:
        open_model(source)
    assert str(error.value).endswith(".") and len(str(error.value)) < 300
