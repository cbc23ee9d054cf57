"""What the Trade-offs and Runs pages compute: sentences and tables against hand-made runs and points."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app import tradeoffs
from core.compression.plans import Plan
from core.jobs.records import Point, Run, iso
from core.networks.forms import LowRank
from tests.app.figures.points import DENSE, POINTS, made
from tests.surveys import REF, linear_layer, survey

RUN = Run("0123456789abcdef", "sweep", "factored by greedy", "net", state="running", lease=time.time() + 1e6)
NET = survey([linear_layer("fc1", 6, 4, (4.0, 2.0, 2.0, 1.0)), linear_layer("fc2", 8, 6, (3.0,) * 6)])


def point(state: str = "waiting", seconds: float = 0.0) -> Point:
    return Point(RUN.id, "k", {}, state, seconds=seconds)


def test_how_far_a_run_is_and_how_long_the_rest_may_take() -> None:
    run = replace(RUN, total=10, done=4)
    done = [point("done", seconds) for seconds in (10.0, 20.0, 30.0, 100.0)]
    assert tradeoffs.progress_of(run, done) == "4 of 10 points, about 75 s left", "median 25 s, 6 points, 2 workers"
    assert tradeoffs.progress_of(run, []) == "4 of 10 points", "no time is known"
    assert tradeoffs.progress_of(replace(run, done=8, failed=2), done) == "10 of 10 points"
    assert tradeoffs.progress_of(replace(RUN, stage="calibrating"), []) == "calibrating"


def test_a_run_nobody_works_on_is_interrupted() -> None:
    assert RUN.words == "running" and replace(RUN, lease=0.0).words.startswith("interrupted")
    assert replace(RUN, state="done", lease=0.0).words == "done"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3000, "50 min"), (7800, "2 h 10 min")]
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert tradeoffs.duration(seconds) == text


def test_ages_as_people_say_them() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    stamps = [iso(now.timestamp() - passed) for passed in (3, 60, 7200, 200_000)]
    assert [tradeoffs.age(s, now) for s in stamps] == ["just now", "60 s ago", "2 h 0 min ago", "2 d ago"]
    assert tradeoffs.age("") == ""


def test_the_readout_names_the_smallest_point_within_the_loss() -> None:
    words, key = tradeoffs.readout(POINTS, "macs", 0.1, DENSE)
    assert key == "b" and "at most 10 points lost: **50.0% of the MACs**, measured 10.0 points below" in words
    assert "noise" not in words, "0.1 is more than two standard errors of 0.028"
    words, key = tradeoffs.readout(POINTS, "macs", 0.01, DENSE)
    assert key == "d" and "at most 1 point lost" in words and "within the noise" in words
    words, key = tradeoffs.readout(POINTS, "latency", 0.1, DENSE)
    assert key == "b" and "1.5 ms, 75% of dense" in words
    assert tradeoffs.readout(POINTS, "macs", 0.0, DENSE) == ("No measured point has at most 0 points lost.", "")


def test_plans_slower_than_dense_are_said_to_be() -> None:
    assert tradeoffs.slower_words(POINTS).startswith("1 of 4 timed plans are slower")
    assert tradeoffs.slower_words(POINTS[:2]) == ""


def test_a_plan_in_a_line_and_layer_by_layer() -> None:
    plan = Plan(REF).with_form("fc1", LowRank(2))
    assert tradeoffs.forms_in_words(plan, NET) == "1 × low-rank (two factors), rank 2; 1 dense"
    layers, rows = tradeoffs.kept_by_layer(NET, [plan, Plan(REF)], "macs")
    assert layers == ["fc1", "fc2"] and rows == [[2 * 10 / 24, 1.0], [1.0, 1.0]]


def test_a_point_of_another_model_has_no_plan_here() -> None:
    plan = Plan(REF).with_form("fc1", LowRank(2))
    good = replace(made("x", 0.5, 0.8), plan=plan.to_json())
    assert tradeoffs.plan_of(good, NET) == plan
    other = replace(good, plan=replace(plan, model=replace(REF, digest="f" * 64)).to_json())
    assert tradeoffs.plan_of(other, NET) is None and tradeoffs.plan_of(replace(good, plan="nonsense"), NET) is None


def test_tables_of_runs_and_points() -> None:
    table = tradeoffs.runs_table([replace(RUN, total=3, done=2, failed=1, created="2026-11-21T12:00:00Z")])
    assert (table["state"], table["points"], table["failed"], table["id"]) == (["running"], [3], [1], [RUN.id])
    failed = replace(point("failed"), error="It broke.", request={"do": "evaluate", "about": {"label": "half"}})
    rows = tradeoffs.points_table([point(), failed])
    assert rows["state"] == ["waiting", "failed"] and rows["error"] == ["", "It broke."]
    assert rows["what"] == ["", "half"] and rows["accuracy"] == [None, None]
