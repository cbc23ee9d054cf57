"""Random masks: as many entries as asked for, drawn uniformly, the same again, and losing what chance loses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from core.networks.forms import FAMILIES, RandomSparse, Sparse, family_of, form_words
from core.networks.views import LayerView, views
from tests.layers import Wrapped

SIZE = 40 * 30


def made(name: str = "layer") -> tuple[nn.Linear, LayerView]:
    torch.manual_seed(0)
    layer = nn.Linear(30, 40)
    (view,) = views(Wrapped(layer), torch.zeros(1, 30))
    return layer, LayerView(name, "linear", view.m, view.n, view.positions, bias=True)


def kept(seed: int, count: int, name: str = "layer") -> np.ndarray:
    layer, view = made(name)
    return RandomSparse(count, seed).build(layer, view).weight.detach().numpy()


@pytest.mark.parametrize("count", [1, 17, 600, SIZE])
def test_it_keeps_that_many_weights_as_they_are(count: int) -> None:
    layer, _ = made()
    W, K = layer.weight.detach().numpy(), kept(3, count)
    assert np.count_nonzero(K) == count and np.array_equal(K[K != 0], W[K != 0])


def test_the_seed_and_the_layer_decide_and_nothing_else() -> None:
    torch.manual_seed(1)
    first = kept(0, 300)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    layer, view = made()
    torch.random.set_rng_state(state)
    again = RandomSparse(300).build(layer, view).weight.detach().numpy()
    assert np.array_equal(first, again) and torch.equal(torch.random.get_rng_state(), state)
    others = [kept(1, 300), kept(2**32 - 1, 300), kept(0, 300, "other")]
    for other in others:
        shared = np.count_nonzero((other != 0) & (first != 0))
        assert abs(shared - 300 * 300 / SIZE) < 40, "75 by chance, standard deviation 6.5"
    assert np.count_nonzero((kept(0, 400) != 0) & (first != 0)) == 300, "more entries hold the fewer"


def test_positions_are_uniform() -> None:
    """How often each of 1,200 positions is kept in 400 draws of a quarter: chi-squared within five deviations."""
    hits = sum((kept(seed, SIZE // 4) != 0).astype(float) for seed in range(400))
    variance = 400 * 0.25 * 0.75
    chi = float(((hits - 100) ** 2 / variance).sum())
    assert abs(chi - SIZE * (SIZE - 1) / SIZE) < 5 * np.sqrt(2 * SIZE)


@pytest.mark.parametrize("count", [120, 600, 1100])
def test_the_squared_error_is_the_share_left_out(count: int) -> None:
    layer, _ = made()
    W = layer.weight.detach().double().numpy()
    whole = (W**2).sum()
    errors = [((W - kept(seed, count)) ** 2).sum() / whole for seed in range(200)]
    p = count / SIZE
    deviation = np.std(W**2) / np.mean(W**2) * np.sqrt(p * (1 - p) / SIZE / 200)
    assert np.mean(errors) == pytest.approx(1 - p, abs=4 * deviation)
    largest = Sparse(count).build(*made()).weight.detach().double().numpy()
    assert ((W - largest) ** 2).sum() / whole < min(errors)


def test_it_costs_what_magnitude_costs_but_for_the_index() -> None:
    _, view = made()
    random, sparse = RandomSparse(300, 5).cost(view), Sparse(300).cost(view)
    assert (random.params, random.macs, random.useful_macs) == (sparse.params, sparse.macs, sparse.useful_macs)
    assert random.bytes == 4 * (300 + 40) + 8 and sparse.bytes == 4 * (300 + 40) + 150


def test_turning_it_keeps_its_seed() -> None:
    _, view = made()
    assert FAMILIES["random"].make(25, view) == RandomSparse(300)
    assert family_of(RandomSparse(300, 5)).make(50, view) == RandomSparse(600, 5)
    assert family_of(RandomSparse(300)).make(50, view) == RandomSparse(600)
    assert form_words(RandomSparse(300), view) == "random weights (baseline), 25 % kept"
    assert form_words(RandomSparse(300, 5), view) == "random weights (baseline), seed 5, 25 % kept"
