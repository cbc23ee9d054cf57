"""A run knows whether somebody should resume it; equal work has an equal name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.jobs.records import GRACE, OVER, POINT_STATES, RUN_STATES, START, Point, Run, is_interrupted, iso, run_id

ROOT = Path(__file__).resolve().parents[3]
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp()


def test_equal_kind_and_specification_is_the_same_run() -> None:
    assert run_id("sweep", {"keeps": [0.5, 0.25], "model": "a"}) == run_id(
        "sweep", {"model": "a", "keeps": (0.5, 0.25)}
    )
    assert len(run_id("sweep", {})) == 16 and int(run_id("sweep", {}), 16) >= 0


@pytest.mark.parametrize("other", [("survey", {"a": 1}), ("sweep", {"a": 2}), ("sweep", {"a": "1"}), ("sweep", {})])
def test_another_kind_or_specification_is_another_run(other: tuple[str, dict[str, object]]) -> None:
    assert run_id("sweep", {"a": 1}) != run_id(*other)


def test_a_specification_that_went_through_json_names_the_same_run() -> None:
    spec = {"keeps": (0.1, 0.30000000000000004), "seed": 2**40, "name": "né", "pins": {}, "limit": None}
    assert run_id("sweep", spec) == run_id("sweep", json.loads(json.dumps(spec)))


def test_a_new_run_is_queued_and_carries_its_conditions() -> None:
    made = Run.new("sweep", "A title", "net", "d1", {"a": 1})
    assert (made.id, made.state, made.spec) == (run_id("sweep", {"a": 1}), "queued", {"a": 1})
    assert made.provenance is not None and any(name.startswith("rankscope ") for name in made.provenance.versions)
    assert not made.interrupted and not made.over


@pytest.mark.parametrize(
    ("state", "lease", "updated", "expected"),
    [
        ("running", NOON + 5, NOON - 900, False),
        ("running", NOON - GRACE + 1, NOON - 900, False),
        ("running", NOON - GRACE - 1, NOON, True),
        ("cancelling", NOON - GRACE - 1, NOON, True),
        ("cancelling", NOON + 5, NOON - 900, False),
        ("running", 0.0, NOON, True),
        ("queued", 0.0, NOON - START + 1, False),
        ("queued", 0.0, NOON - START - 1, True),
        ("queued", NOON + 5, NOON - START - 1, False),
        ("done", 0.0, NOON - 900, False),
        ("failed", 0.0, NOON - 900, False),
        ("cancelled", NOON - 900, NOON - 900, False),
    ],
)
def test_who_is_interrupted_at_noon(state: str, lease: float, updated: float, expected: bool) -> None:
    run = Run("id", "sweep", state=state, lease=lease, updated=iso(updated))
    assert is_interrupted(run, NOON) is expected


def test_the_property_asks_the_clock() -> None:
    now = datetime.now(UTC).timestamp()
    run = Run("id", "sweep", state="running", updated=iso(now), lease=now + 30)
    assert not run.interrupted and replace(run, lease=now - 600).interrupted


def test_states_are_told_apart() -> None:
    assert set(OVER) < set(RUN_STATES) and set(POINT_STATES) == {"waiting", "done", "failed"}
    assert [state for state in RUN_STATES if Run("i", "k", state=state).over] == ["done", "failed", "cancelled"]


def test_time_is_written_as_utc() -> None:
    assert iso(NOON + 0.9) == "2026-05-04T12:00:00Z" and iso(0) == "1970-01-01T00:00:00Z"


def test_records_are_frozen() -> None:
    for record in (Run("id", "sweep"), Point("id", "key", {})):
        with pytest.raises(AttributeError):
            record.state = "done"  # type: ignore[misc]


def test_records_need_neither_torch_nor_a_database() -> None:
    code = "import sys, core.jobs.records; sys.exit(bool({'torch', 'sqlalchemy', 'distributed'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
