"""How the bars, the table and the totals take a layer of two numbers, low rank + sparse, and a mask with a seed.

fc2 is 8 × 6 at three positions: rank 2 and 10 entries are 28 + 10 numbers, 3 (28 + 48) MACs and 4 · 38 + 6 bytes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from app import tuning
from app.tradeoffs import forms_in_words
from core.compression.survey import Curve
from core.networks.costs import Cost
from core.networks.forms import Dense, LowRank, LowRankSparse, RandomSparse
from tests.app.test_tuning import ONE, TWO, plan_of, with_masks
from tests.surveys import survey, tails

FORM = LowRankSparse(2, 10)
NET = survey([ONE, with_masks(TWO)])
ONLY = survey([with_masks(TWO)], Cost())


def random_too() -> tuning.LayerSurvey:
    layer = with_masks(TWO)
    return replace(layer, curves=(*layer.curves, Curve("random", (1, 100), (0.995, 0.0))))


@pytest.mark.parametrize("mode", ["rank", "sparsity", "both"])
def test_its_bar_is_turned_by_the_rank_and_costs_what_the_form_costs(mode: str) -> None:
    bar = tuning.bars(NET, plan_of(fc2=FORM), mode, [])[1]
    family = bar["families"][bar["family"]]
    assert (family["id"], bar["level"], family["unit"], family["full"]) == ("lowrank_sparse", 2, "rank", 6)
    assert family["label"] == "low-rank + 10 sparse weights" and family["bound"]
    costs = [[b + s * r for b, s in zip(family["base"], family["slope"], strict=True)] for r in range(1, 7)]
    assert costs == [[14 * r + 10, 3 * (14 * r + 48), 4 * (14 * r + 10) + 6] for r in range(1, 7)]
    assert family["even"] == [2, 0, 2]  # 38 of 48 numbers and 158 of 192 bytes at rank 2, 52 and 214 at rank 3
    assert not any(other["bound"] for i, other in enumerate(bar["families"]) if i != bar["family"])
    assert [f["id"] for f in tuning.bars(NET, plan_of(), mode, [])[1]["families"]].count("lowrank_sparse") == 0


def test_its_errors_are_the_smaller_of_two_bounds() -> None:
    (bar,) = tuning.bars(ONLY, plan_of(fc2=FORM), "rank", [])
    family = bar["families"][bar["family"]]
    alone = 1 - 20 / 100  # of the made-up sparse curve at 20 % of 48
    for r, low in enumerate(tails((3.0, 2.0, 2.0, 1.0, 1.0, 0.0)), 1):
        want = min(low * math.sqrt(1 - 10 / 48), alone * math.sqrt(1 - r / 6))
        assert family["plain"][r - 1] == pytest.approx(want, abs=1e-5)
    assert family["output"] is None


def test_dragging_keeps_the_entries_and_the_seed() -> None:
    plan = plan_of(fc2=FORM)
    (bar,) = tuning.bars(ONLY, plan, "rank", [])
    assert tuning.edited(ONLY, plan, "fc2", bar["family"], 5, "rank") == plan_of(fc2=LowRankSparse(5, 10))
    assert tuning.edited(ONLY, plan, "fc2", "lowrank_sparse", 99, "rank") == plan_of(fc2=LowRankSparse(6, 10))
    assert tuning.edited(ONLY, plan, "fc2", "lowrank", 3, "rank") == plan_of(fc2=LowRank(3))
    assert tuning.edited(ONLY, plan_of(fc2=LowRank(1)), "fc2", "lowrank_sparse", 3, "rank") == plan_of(fc2=LowRank(1))
    net = survey([random_too()], Cost())
    seeded = plan_of(fc2=RandomSparse(24, 9))
    assert tuning.edited(net, seeded, "fc2", "random", 25, "sparsity") == plan_of(fc2=RandomSparse(12, 9))
    (bar,) = tuning.bars(net, seeded, "sparsity", [])
    assert bar["families"][bar["family"]]["label"].endswith("seed 9") and bar["level"] == 50


def test_random_masks_are_offered_beside_masks_and_chosen_by_nothing() -> None:
    layer = random_too()
    assert tuning.families_of(layer, "sparsity", Dense())[-1] == "random"
    assert "random" in tuning.families_of(layer, "both", Dense()) and "random" not in tuning.families_of(
        layer, "rank", Dense()
    )
    net = survey([layer], Cost())
    path = tuning.dial_path(net, "bytes", "sparsity", plan_of(), [])
    offered = tuning.families_of(layer, "sparsity", Dense())
    assert {offered[family] for ((family, _),) in path["choice"] if family >= 0} <= {"sparse", "sparse24", "filters"}


def test_a_locked_one_keeps_its_place_under_the_dial() -> None:
    plan = plan_of(fc2=FORM)
    path = tuning.dial_path(NET, "params", "rank", plan, ["fc2"])
    offered = tuning.families_of(NET.layers[1], "rank", FORM)
    assert {tuple(row[1]) for row in path["choice"]} == {(offered.index("lowrank_sparse"), 2)}
    assert tuning.with_choice(NET, plan, path["choice"][0], "rank", ["fc2"]).form("fc2") == FORM
    again = tuning.with_choice(NET, plan, [[-1, 1], [offered.index("lowrank_sparse"), 3]], "rank", [])
    assert again.form("fc2") == LowRankSparse(3, 10)


def test_the_table_names_it_and_shows_no_bound_as_a_prediction() -> None:
    table = tuning.table(NET, plan_of(fc2=FORM), [], "params")
    row = {name: values[1] for name, values in table.items()}
    assert row["form"] == "low-rank + 10 sparse weights"
    assert (row["level"], row["of"], row["break-even"]) == (2, 6, 2)
    assert row["parameters kept"] == pytest.approx(38 / 48)
    assert row["weight error"] is None and row["output error"] is None


def test_it_counts_in_numbers_and_as_dense_in_macs() -> None:
    plan = plan_of(fc2=FORM)
    assert tuning.costs_more(ONLY, plan, "params") == [] and tuning.costs_more(ONLY, plan, "macs") == ["fc2"]
    assert tuning.effective_cost(ONLY, plan, "params") == Cost(38, 3 * 76, 158, 3 * 38)
    assert tuning.effective_cost(ONLY, plan, "macs") == Cost(48, 144, 192, 144)
    assert 0.0 < tuning.energy_kept(ONLY, plan) < 1.0


def test_a_plan_in_a_line_counts_it() -> None:
    said = forms_in_words(plan_of(fc1=LowRank(2), fc2=FORM), NET)
    assert said == "1 × low-rank (two factors), rank 2; 1 × low-rank + 10 sparse weights, rank 2; 0 dense"
