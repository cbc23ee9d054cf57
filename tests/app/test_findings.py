"""Sentences about a model: the counts against a calculation of their own, from singular values or stored curves."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from app.findings import energy_level, findings, percent, strip
from core import journeys
from core.compression.survey import Curve, LayerSurvey, Survey
from core.networks.costs import Cost
from tests.surveys import linear_layer, random_survey, survey

PARTS = {"a quarter": 0.25, "half": 0.5, "three quarters": 0.75}


def per_rank(layer: LayerSurvey, family: str) -> int:
    """Multiply-adds of one unit of rank, from the two small layers a factorised one becomes."""
    v = layer.view
    if not v.kernel:
        return v.positions * (v.m + v.n)
    kh, kw = v.kernel
    c = v.n // (kh * kw)
    (in_high, in_wide), (high, wide) = v.in_size, v.out_size
    return {
        "lowrank": v.n * high * wide + v.m * high * wide,
        "lowrank_in": c * in_high * in_wide + v.m * kh * kw * high * wide,
        "spatial": c * kh * high * in_wide + v.m * kw * high * wide,
    }[family]


def most_energy(layer: LayerSurvey, share: float) -> float:
    """Most energy of its outputs that a layer keeps within a share of its multiply-adds, by its stored curves."""
    v, best = layer.view, 0.0
    for curve in layer.curves:
        if curve.family in ("lowrank", "lowrank_in", "spatial"):
            within = [
                i
                for i, r in enumerate(curve.at)
                if r * per_rank(layer, curve.family) <= share * v.m * v.n * v.positions
            ]
            if within:
                best = max(best, 1 - curve.output[within[-1]] ** 2)
    return best


def kept_of_weights(layer: LayerSurvey, share: float) -> float:
    """The same of a linear layer's weights, from its singular values."""
    v = layer.view
    r = int(share * v.m * v.n / (v.m + v.n) + 1e-9)
    squares = np.square(layer.spectrum.S)
    return float(squares[:r].sum() / squares.sum())


def count_of(sentence: str, num_layers: int) -> tuple[int, str]:
    """How many layers a headline speaks of, and within which part."""
    part = next(part for part in PARTS if f" in {part} of " in sentence)
    if sentence.startswith("No layer keeps"):
        return 0, part
    some, of, all_ = sentence.split()[:3]
    assert of == "of" and int(all_) == num_layers
    return int(some), part


def wanted_of(counts: dict[str, int], num_layers: int) -> tuple[int, str]:
    """The first part within which more than half of the layers keep the energy, else the last."""
    part = next((part for part, count in counts.items() if count > num_layers / 2), "three quarters")
    return counts[part], part


def planted(name: str, rank: int, m: int = 12, n: int = 12) -> LayerSurvey:
    """A layer of this rank exactly, all of its singular values 1."""
    return linear_layer(name, m, n, [1.0] * rank + [0.0] * (min(m, n) - rank))


def decaying(seed: int) -> Survey:
    """Four or five layers of sides 10 to 29 whose singular values fall slowly or fast."""
    rng = np.random.default_rng(seed)
    layers = []
    for i in range(4 + seed % 2):
        m, n = (int(side) for side in rng.integers(10, 30, 2))
        S = np.exp(-rng.uniform(0.02, 0.6) * np.arange(min(m, n)))
        layers.append(linear_layer(f"fc{i}", m, n, S.tolist(), positions=int(rng.integers(1, 5))))
    return survey(layers)


def seen_through(layer: LayerSurvey, output: tuple[float, ...]) -> LayerSurvey:
    return replace(layer, curves=(replace(layer.curves[0], output=output),))


def test_the_headline_counts_what_singular_values_say() -> None:
    seen: Counter[str] = Counter()
    for seed in range(60):
        net = decaying(seed)
        for energy in (0.8, 0.9, 0.99):
            num_layers = len(net.layers)
            found = count_of(findings(net, energy)[0], num_layers)
            counts = {
                part: sum(kept_of_weights(layer, PARTS[part]) >= energy for layer in net.layers) for part in PARTS
            }
            assert found == wanted_of(counts, num_layers), (seed, energy)
            seen[found[1] if found[0] else "none"] += 1
    assert set(seen) == {*PARTS, "none"}, "every kind of headline was met"


@pytest.mark.parametrize("name", ["digits-mlp", "digits-convnet"])
@pytest.mark.parametrize("energy", [0.8, 0.9, 0.95, 0.99])
def test_of_a_calibrated_demo_the_headline_counts_outputs_over_every_family(name: str, energy: float) -> None:
    net = journeys.demo_survey(name)
    counts = {part: sum(most_energy(layer, PARTS[part]) >= energy for layer in net.layers) for part in PARTS}
    headline = findings(net, energy)[0]
    assert count_of(headline, len(net.layers)) == wanted_of(counts, len(net.layers))
    assert "the energy of their outputs" in headline and headline.endswith(", predicted.")


def test_headlines_are_good_english_for_none_one_and_many() -> None:
    def headline(*ranks: int) -> str:
        return findings(survey([planted(f"fc{i}", rank) for i, rank in enumerate(ranks)]), 0.9)[0]

    nbsp = "\u00a0"
    assert headline(
        1, 1, 12
    ) == f"2 of 3 compressible layers keep 90{nbsp}% of the energy of their weights in a quarter of their " + (
        "multiply-adds."
    )
    assert headline(
        1, 12, 12
    ) == f"1 of 3 compressible layers keeps 90{nbsp}% of the energy of its weights in three quarters of its " + (
        "multiply-adds."
    )
    assert (
        headline(3)
        == f"The one compressible layer keeps 90{nbsp}% of the energy of its weights in half of its multiply-adds."
    )
    most = "the energy of its weights in three quarters of its multiply-adds"
    full = f"No layer keeps 90{nbsp}% of {most}: this model is full."
    assert headline(12, 12) == headline(12) == full


def test_layers_that_stay_dense_are_not_counted() -> None:
    stuck = replace(planted("tied", 1), obstacle="it is tied")
    bare = replace(planted("nan", 1), spectra=(), curves=())
    headline = findings(survey([planted("a", 1), planted("b", 1), stuck, bare]), 0.9)[0]
    assert headline.startswith("2 of 2 compressible layers keep")


def test_weights_alone_are_counted_in_parameters() -> None:
    layers = [replace(planted(name, 1), view=replace(planted(name, 1).view, positions=0)) for name in ("a", "b")]
    first, second = findings(survey(layers, Cost(12, 0, 48, 0)), 0.9)
    assert first.endswith("in a quarter of their parameters.")
    assert second.startswith("a holds 48\u00a0% of all parameters"), "144 of 144 + 144 + 12"


def test_an_uncalibrated_layer_makes_the_headline_speak_of_weights() -> None:
    one, two = planted("a", 12), planted("b", 12)
    errors = (0.0,) * 12
    both = survey([seen_through(one, errors), seen_through(two, errors)])
    assert findings(both, 0.9)[0].startswith("2 of 2") and "outputs" in findings(both, 0.9)[0]
    half = survey([seen_through(one, errors), two])
    assert findings(half, 0.9)[0].startswith("No layer keeps") and "outputs" not in findings(half, 0.9)[0]


@pytest.mark.parametrize(("rank", "word"), [(3, "below"), (5, "at"), (9, "above")])
def test_the_largest_layer_is_named_with_its_share_rank_and_break_even(rank: int, word: str) -> None:
    net = survey([planted("small", 1, 4, 4), planted("large", rank)], Cost(0, 40, 0, 40))
    sentence = findings(net, 0.95)[1]
    assert sentence == (
        "large holds 72\u00a0% of all multiply-adds; 95\u00a0% of the energy of its weights needs rank "
        f"{rank}, {word} its break-even rank 5."
    ), "144 of 144 + 16 + 40; rank r costs 24 r"


def test_the_gentlest_layer_is_where_outputs_lose_least_of_what_weights_lose() -> None:
    layers = [seen_through(linear_layer(name, 4, 4, (1.0,) * 4), output) for name, output in (
        ("a", (0.9, 0.6, 0.4, 0.0)),
        ("b", (0.9, 0.3, 0.2, 0.0)),
        ("c", (0.1, 0.7, 0.6, 0.0)),
    )]  # fmt: skip
    sentence = findings(survey(layers), 0.9)[-1]
    assert sentence.startswith("b at rank 2 loses 71\u00a0% of its weights but only 30\u00a0% of its outputs")
    assert "predicted" in sentence


def test_where_outputs_lose_more_than_weights_nothing_is_called_gentle() -> None:
    layer = seen_through(linear_layer("a", 4, 4, (4.0, 1.0, 1.0, 1.0)), (0.9, 0.8, 0.6, 0.0))
    assert len(findings(survey([layer]), 0.9)) == 2, "at rank 2 the weights lose 32 %"


def test_without_calibration_there_is_no_word_of_outputs() -> None:
    found = findings(random_survey(0), 0.9)
    assert len(found) == 2 and not any("outputs" in sentence for sentence in found)


def test_a_model_without_a_layer_to_factorise_says_which_kinds_it_has() -> None:
    kinds = ["embedding", "other", "embedding"]
    layers = [planted(f"l{i}", 1) for i in range(3)]
    stuck = [
        replace(layer, obstacle="no", view=replace(layer.view, kind=kind))
        for layer, kind in zip(layers, kinds, strict=True)
    ]
    (only,) = findings(survey(stuck), 0.9)
    assert only.startswith("No layer here can be factorised: the kinds found are embedding, other.")
    assert "kinds found are none" in findings(survey([]), 0.9)[0]


@pytest.mark.parametrize(("share", "text"), [(0.0, "0\u00a0%"), (0.456, "46\u00a0%"), (1.0, "100\u00a0%")])
def test_shares_are_whole_per_cent(share: float, text: str) -> None:
    assert percent(share) == text


def needed(S: tuple[float, ...], energy: float) -> int:
    """Least number of largest values whose squares hold the energy."""
    squares = np.square(S)
    return next(r for r in range(len(S) + 1) if squares[:r].sum() >= energy * squares.sum() - 1e-12)


@pytest.mark.parametrize("energy", [0.8, 0.9, 0.95, 0.99])
def test_the_strip_is_filled_to_the_rank_the_energy_needs(energy: float) -> None:
    net = journeys.demo_survey("digits-convnet")
    data = strip(net, energy)
    assert [bar["level"] for bar in data["layers"]] == [needed(layer.spectrum.S, energy) for layer in net.layers]
    assert [bar["family"] for bar in data["layers"]] == [0] * 5


def test_a_bar_of_the_strip_has_the_costs_and_break_even_of_two_factors() -> None:
    (bar,) = strip(survey([linear_layer("fc", 6, 4, (2.0, 1.0, 1.0, 0.5), bias=True)]), 0.9)["layers"]
    (family,) = bar["families"]
    assert bar["dense"] == [30, 24, 120] and family["full"] == 4
    assert (family["base"], family["slope"]) == ([6, 0, 24], [10, 10, 40])
    assert family["even"] == [2, 2, 2]
    assert family["at"] == [1, 4] and family["plain"] == pytest.approx([(2.25 / 6.25) ** 0.5, 0.0], abs=1e-5)


def test_the_strip_shows_what_stays_dense_and_why() -> None:
    tied = replace(planted("tied", 2), obstacle="it is tied")
    bare = replace(planted("nan", 2), spectra=())
    masks = replace(planted("masks", 2), curves=(Curve("sparse", (1, 100), (1.0, 0.0)),))
    data = strip(survey([tied, bare, masks, planted("fine", 2)]), 0.9)
    assert [bar["family"] for bar in data["layers"]] == [-1, -1, -1, 0]
    assert data["layers"][0]["obstacle"] == "it is tied" and data["layers"][3]["obstacle"] == ""
    assert all(bar["obstacle"] for bar in data["layers"][:3])
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_a_layer_of_zeros_needs_no_rank_and_is_drawn_at_one() -> None:
    zeros = planted("zeros", 0)
    assert energy_level(zeros, 0.9) == 0
    assert strip(survey([zeros]), 0.9)["layers"][0]["level"] == 1


def test_the_strip_counts_in_parameters_where_macs_are_unknown() -> None:
    def quantity(net: Survey) -> str:
        return strip(net, 0.9)["quantity"]

    layer = planted("fc", 2)
    assert quantity(survey([layer])) == "macs"
    assert quantity(survey([replace(layer, view=replace(layer.view, positions=0))], Cost())) == "params"
