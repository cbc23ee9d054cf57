"""Rank correlations against ranks counted by hand, and sums of damages against networks in which they must add up."""

from __future__ import annotations

import math
import random

import pytest

from core.compression.proxies import SCORES, proxies, spearman
from core.compression.sensitivity import LayerSensitivity
from core.networks.arch import ModelRef
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
