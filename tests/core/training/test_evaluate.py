"""Accuracy against a count by hand; the verdict on two latencies as arithmetic on made-up times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.errors import DataError
from core.networks.arch import Inputs
from core.provenance import here
from core.training import evaluate, timing
from core.training.evaluate import Latency, accuracy, latency, normalized


class Says(nn.Module):
    """Scores that single out the class given by the first number of each input."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(x[:, 0].long(), self.classes).float()


@pytest.mark.parametrize("n", [1, 7, 250, 251, 600])
def test_accuracy_is_a_count(n: int) -> None:
    said = torch.arange(n) % 4
    y = torch.where(torch.arange(n) % 3 == 0, (said + 1) % 4, said)  # every third is wrong
    found = accuracy(Says(), said[:, None].float(), y, seed=5, conditions="made up")
    right = sum(int(a) == int(b) for a, b in zip(said.tolist(), y.tolist(), strict=True))
    assert found.value == right / n and found.n == n and found.seed == 5
    assert found.spread == pytest.approx(math.sqrt(found.value * (1 - found.value) / n))
    assert found.provenance.conditions == "made up" and "binomial" in found.what


def test_a_network_that_is_always_right() -> None:
    y = torch.tensor([0, 1, 2, 3])
    found = accuracy(Says(), y[:, None].float(), y, 0, "")
    assert (found.value, found.spread) == (1.0, 0.0)


def test_scores_that_are_not_finite_name_no_class() -> None:
    class Nan(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            made = torch.zeros(len(x), 4)
            made[0] = math.nan
            return made

    y = torch.zeros(10, dtype=torch.int64)
    assert accuracy(Nan(), torch.zeros(10, 1), y, 0, "").value == 0.9


@pytest.mark.parametrize("shape", [(3,), (4, 2, 2), (5, 1)])
def test_outputs_that_cannot_be_scored_are_one_sentence(shape: tuple[int, ...]) -> None:
    class Gives(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), *shape)

    y = torch.tensor([0, 3])
    with pytest.raises(DataError, match="4 classes"):
        accuracy(Gives(), torch.zeros(2, 1), y, 0, "")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a CUDA device, as far as torch says."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda at=None: f"card {torch.device(at or 'cuda:0').index}")


@pytest.mark.usefixtures("card")
def test_a_number_says_where_the_network_was_not_what_the_machine_has() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    x, y = torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)
    assert accuracy(model, x, y, 0, "").provenance.device == "cpu"
    assert accuracy(Says(), torch.zeros(2, 1), y, 0, "").provenance.device == "cpu"  # it has no parameters
    assert latency(model, model, x, repeats=4).provenance.device == "cpu"


@pytest.mark.usefixtures("card")
def test_a_network_on_a_card_says_which() -> None:
    class Elsewhere(nn.Module):
        def parameters(self, recurse: bool = True) -> Iterator[Any]:
            return iter([SimpleNamespace(device=torch.device("cuda", 1))])

    assert evaluate.device(Elsewhere()) == "cuda: card 1"
    assert evaluate.device(Elsewhere(), nn.Linear(2, 2)) == "cpu, cuda: card 1"
    assert evaluate.device(nn.Linear(2, 2, device="meta")) == "meta"


def test_progress_is_told_before_each_batch() -> None:
    told = []
    y = torch.zeros(600, dtype=torch.int64)
    accuracy(Says(), torch.zeros(600, 1), y, 0, "", lambda what, done, of: told.append((what, done, of)))
    assert told == [("accuracy", 0, 600), ("accuracy", 250, 600), ("accuracy", 500, 600)]


def test_inputs_are_normalised_by_channel() -> None:
    x = torch.rand(2, 3, 4, 4)
    found = normalized(x, Inputs((3, 4, 4), (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)))
    for c, (mean, std) in enumerate(((0.1, 0.5), (0.2, 1.0), (0.3, 2.0))):
        assert torch.allclose(found[:, c], (x[:, c] - mean) / std)


def times(median: float, spread: float = 0.0) -> tuple[float, float, float, float]:
    return (median - spread, median - spread / 2, median, median + spread / 2)


def made(dense: float, compressed: float, again: float, spread: float = 0.0, repeats: int = 100) -> Latency:
    return Latency(times(dense, spread), times(compressed), times(again), 1, repeats, here())


@pytest.mark.parametrize(
    ("dense", "compressed", "again", "verdict"),
    [
        (1.0, 0.5, 1.0, "faster"),
        (1.0, 2.0, 1.0, "slower"),
        (1.0, 1.0, 1.0, "no difference"),
        (1.0, 0.985, 1.0, "no difference"),  # 2 % at least
        (1.0, 0.97, 1.0, "faster"),
        (1.0, 0.97, 1.05, "no difference"),  # the same network differed by 5 %
        (1.0, 1.04, 0.95, "no difference"),
        (1.0, 0.9, 1.05, "faster"),
        (10.0, 5.0, 10.0, "faster"),
    ],
)
def test_a_difference_within_the_noise_is_none(dense: float, compressed: float, again: float, verdict: str) -> None:
    found = made(dense, compressed, again)
    assert found.verdict == verdict
    assert found.ratio == pytest.approx(compressed / dense)
    assert found.noise == pytest.approx(max(abs(again / dense - 1), 0.02))


def test_scattered_times_count_as_noise_the_less_the_more_there_are() -> None:
    """Quartiles 60 % of the median apart: 6 % of uncertainty after 100 passes, 30 % after 4."""
    assert made(1.0, 0.95, 1.0, spread=0.6, repeats=100).verdict == "no difference"
    assert made(1.0, 0.92, 1.0, spread=0.6, repeats=100).verdict == "faster"
    assert made(1.0, 0.92, 1.0, spread=0.6, repeats=4).verdict == "no difference"


def test_turns_are_taken_in_rotating_order(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    calls: list[str] = []

    class Takes(nn.Module):
        def __init__(self, name: str, ms: float) -> None:
            super().__init__()
            self.name, self.ms = name, ms

        def forward(self, x: Tensor) -> Tensor:
            calls.append(self.name)
            clock[0] += 1e-3 * self.ms
            return x

    before = torch.get_num_threads()
    found = latency(Takes("dense", 4.0), Takes("small", 1.0), torch.zeros(2, 3), repeats=6)
    assert calls[9:] == [
        *("dense", "small", "dense"), *("small", "dense", "dense"), *("dense", "dense", "small"),
    ] * 2  # fmt: skip
    assert found.dense == pytest.approx((4.0,) * 4) and found.compressed == pytest.approx((1.0,) * 4)
    assert (found.ratio, found.verdict, found.batch, found.repeats) == (pytest.approx(0.25), "faster", 2, 6)
    assert found.provenance.threads == 1 and torch.get_num_threads() == before


def test_the_same_network_against_itself_is_no_difference() -> None:
    """Real time. The two medians come from interleaved passes, so only their own scatter is between them."""
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).eval()
    found = latency(model, model, torch.zeros(1, 64), repeats=40)
    assert 0.5 < found.ratio < 2.0
    assert found.dense[0] <= found.dense[1] <= found.dense[2] <= found.dense[3]
    assert abs(found.ratio - 1) > found.noise or found.verdict == "no difference"


def test_threads_are_restored_when_a_pass_fails() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    torch.set_num_threads(2)
    with pytest.raises(RuntimeError):
        latency(Fails(), Fails(), torch.zeros(1))
    assert torch.get_num_threads() == 2
