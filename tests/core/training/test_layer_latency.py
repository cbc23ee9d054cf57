"""Time of a layer: that what is timed is the layer, and what the numbers are said to mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from core.networks.views import views
from core.training.layer_latency import LayerLatency, layer_input, layer_latency


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 32, 3), nn.Flatten()).eval()


@pytest.fixture(scope="module")
def timed(net: nn.Module) -> LayerLatency:
    x = torch.randn(2, 3, 12, 12)
    view = views(net, x[:1])[1]
    return layer_latency(net, view, "lowrank", (4, 1, 16, 4), x, repeats=8)


def test_the_layer_is_given_what_the_network_gives_it(net: nn.Module) -> None:
    x = torch.randn(2, 3, 12, 12)
    assert torch.equal(layer_input(net, "2", x), torch.relu(net[0](x)))
    assert not net[2]._forward_pre_hooks, "nothing stays on the network"


def test_a_layer_that_does_not_run_is_said(net: nn.Module) -> None:
    idle = nn.Sequential(nn.Linear(4, 4), nn.Identity())
    idle.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="does not run '0'"):
        layer_input(idle, "0", torch.randn(1, 4))


def test_every_level_is_timed_once_and_in_order(timed: LayerLatency) -> None:
    assert timed.at == (1, 4, 16) and len(timed.times) == 3 and timed.batch == 2 and timed.repeats == 8
    assert all(0 < low <= median <= high for low, median, high in (*timed.times, timed.dense, timed.again))
    assert timed.counted == 22, "r (72 + 32) < 72 x 32"
    assert timed.provenance.threads == 1 and torch.get_num_threads() >= 1


def made(times: tuple[float, ...], dense: float = 1.0, again: float = 1.0) -> LayerLatency:
    spread = [(0.9 * t, t, 1.1 * t) for t in (*times, dense, again)]
    at = tuple(2**i for i in range(len(times)))
    from core.provenance import here

    return LayerLatency("fc", "lowrank", at, tuple(spread[:-2]), spread[-2], spread[-1], 9, 1, 40, here("a test"))


def test_the_noise_is_what_the_dense_layer_differs_from_itself() -> None:
    assert made((0.5,), again=1.07).noise == pytest.approx(0.07)
    assert made((0.5,)).noise == pytest.approx(0.02), "never below 2 %"


def test_the_measured_break_even_stops_at_the_first_level_that_does_not_save() -> None:
    assert made((0.5, 0.7, 0.9, 1.2)).measured == 4
    assert made((0.5, 0.99, 0.7)).measured == 1, "a step of the staircase within the noise ends it"
    assert made((1.2, 0.5)).measured == 0
    assert made((0.5, 0.95), again=1.1).measured == 1


def test_no_level_is_no_latency(net: nn.Module, timed: LayerLatency) -> None:
    with pytest.raises(ValueError, match="at least one level"):
        layer_latency(net, views(net, torch.randn(1, 3, 12, 12))[1], "lowrank", (), torch.randn(1, 3, 12, 12))
    assert replace(timed, layer="x").layer == "x"


def test_it_says_where_the_layer_was_not_what_the_machine_has(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda at=None: "card")
    x = torch.zeros(1, 3, 12, 12)
    found = layer_latency(net, views(net, x)[0], "lowrank", [1], x, repeats=4)
    assert found.provenance.device == "cpu"
