"""The store on SQLite and on a real PostgreSQL: what is put in comes back, once, in order, whoever else is there.

The witness of what the tables hold is a driver of its own (`sqlite3`, `psycopg`) with SQL written here.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import provenance
from core.errors import StoreError
from core.jobs.records import Run
from core.jobs.store import Store
from core.provenance import Measurement, Provenance

Opener = Callable[[str], Store]

MADE = Provenance("2026-05-04T12:00Z", ("rankscope 0.1.0", "torch 2.13.0"), "cuda: H200", 3, "a test, idle")
SWEEP = Run.new("sweep", "A sweep", "net", "d1gest", {"keeps": [0.25, 0.5], "deep": {"a": [1, None, True, "né"]}})


def number(value: float, name: str = "accuracy", spread: float = 0.01, n: int = 500, seed: int = 7) -> Measurement:
    return Measurement(name, value, spread, n, seed, MADE)


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query, without SQLAlchemy."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        import psycopg

        connection = psycopg.connect(url.replace("+psycopg", ""))  # type: ignore[assignment]
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_run_comes_back_as_it_was_put(store: Store) -> None:
    added = store.add_run(SWEEP, [("a", {"do": "x"}), ("b", {"do": "y"})])
    assert replace(added, created="", updated="", total=0) == SWEEP and added.total == 2
    assert store.run(SWEEP.id) == added and store.runs() == [added]
    assert added.created == added.updated and added.created.endswith("Z") and len(added.created) == 20
    assert store.run("nothing") is None


def test_points_come_back_in_the_order_of_addition(store: Store) -> None:
    keys = [f"{(i * 37) % 101}" for i in range(101)]
    store.add_run(SWEEP, [(key, {"i": key}) for key in keys[:50]])
    store.add_points(SWEEP.id, [(key, {"i": key}) for key in keys[25:]])
    found = store.points(SWEEP.id)
    assert [point.key for point in found] == keys
    assert all(point.request == {"i": point.key} and point.state == "waiting" for point in found)


def test_the_same_run_again_keeps_what_is_there_and_adds_what_is_missing(store: Store) -> None:
    store.add_run(SWEEP, [("a", {"v": 1})])
    store.put_result(SWEEP.id, "a", {"answer": 1}, {}, 0.5, "w")
    store.set_state(SWEEP.id, "done")
    again = store.add_run(replace(SWEEP, title="Another"), [("a", {"v": 2}), ("b", {"v": 3})])
    assert (again.title, again.state, again.total, again.done) == ("A sweep", "done", 2, 1)
    assert [(p.key, p.request, p.state) for p in store.points(SWEEP.id)] == [
        ("a", {"v": 1}, "done"),
        ("b", {"v": 3}, "waiting"),
    ]


def test_a_point_given_twice_at_once_is_one(store: Store) -> None:
    assert store.add_run(SWEEP, [("a", {"v": 1}), ("a", {"v": 1})]).total == 1


def test_a_result_written_twice_is_one_row_and_the_later(store: Store, url: str) -> None:
    store.add_run(SWEEP, [("a", {})])
    store.put_result(SWEEP.id, "a", {"v": 1}, {"accuracy": number(0.5), "latency_ms": number(3.0)}, 0.5, "one")
    store.put_result(SWEEP.id, "a", {"v": 2}, {"accuracy": number(0.6)}, 0.75, "two")
    (point,) = store.points(SWEEP.id, "done")
    assert (point.result, point.seconds, point.worker, point.attempts) == ({"v": 2}, 0.75, "two", 2)
    assert store.measurements(SWEEP.id) == {"a": {"accuracy": number(0.6)}}
    assert ask(url, "SELECT count(*) FROM points") == [(1,)]
    assert ask(url, "SELECT name, value FROM measurements") == [("accuracy", 0.6)]


def test_a_result_for_a_point_nobody_announced_is_kept(store: Store) -> None:
    store.add_run(SWEEP)
    store.put_result(SWEEP.id, "late", {"v": 1}, {"accuracy": number(0.5)}, 0.5, "w")
    assert [(p.key, p.result) for p in store.points(SWEEP.id)] == [("late", {"v": 1})]


def test_every_condition_of_a_measurement_is_kept(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.jobs.store.revision", lambda: "abc123+changes")
    store.add_run(SWEEP, [("a", {})])
    put = {"accuracy": number(0.1 + 0.2, "fraction", 1e-300, 2**40, 2**62)}
    store.put_result(SWEEP.id, "a", {}, put, 0.5, "w")
    assert store.measurements(SWEEP.id) == {"a": put}
    columns = "what, value, spread, n, seed, date, device, threads, conditions, revision"
    assert ask(url, f"SELECT {columns} FROM measurements") == [
        ("fraction", 0.1 + 0.2, 1e-300, 2**40, 2**62, MADE.date, "cuda: H200", 3, "a test, idle", "abc123+changes")
    ]


def test_the_revision_of_a_run_is_kept(store: Store, url: str) -> None:
    store.add_run(SWEEP)
    assert ask(url, "SELECT revision FROM runs") == [(provenance.revision(),)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not(store: Store, value: float) -> None:
    """Losses that diverged are results too."""
    store.add_run(SWEEP, [("a", {"limit": value})])
    store.put_result(SWEEP.id, "a", {"losses": [1.5, {"last": value}]}, {"loss": number(value)}, 0.5, "w")
    (point,) = store.points(SWEEP.id)
    assert point.result is not None and repr(point.result) == repr({"losses": [1.5, {"last": value}]})
    assert repr(point.request) == repr({"limit": value})
    kept, framed = store.measurements(SWEEP.id)["a"]["loss"].value, store.frame([SWEEP.id])["value"][0]
    assert repr(kept) == repr(value) and repr(float(framed)) == repr(value)


WORDS = {
    "zero": "a\0b",
    "half": "\udc80",
    "letters": "né ‖W‖ 😀",
    "sql": "'; DROP TABLE runs; --",
    "marks": "%s %(x)s :id",
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_words_of_any_kind(store: Store, words: str) -> None:
    store.add_run(replace(SWEEP, title=words, spec={"words": words}), [("a", {"words": words})])
    store.put_error(SWEEP.id, "a", words, words)
    store.set_stage(SWEEP.id, words)
    run, (point,) = store.run(SWEEP.id), store.points(SWEEP.id)
    assert run is not None and run.spec == point.request == {"words": words}
    assert run.title == run.stage == point.error == words.replace("\0", "").replace("\udc80", "?")


def test_no_id_is_no_run(store: Store) -> None:
    store.add_run(SWEEP)
    assert store.run("") is None and store.run("f" * 16) is None and store.run(SWEEP.id) is not None


def test_an_error_never_takes_the_place_of_a_result(store: Store) -> None:
    store.add_run(SWEEP, [("a", {}), ("b", {})])
    store.put_result(SWEEP.id, "a", {"v": 1}, {}, 0.5, "w")
    for key in "ab":
        store.put_error(SWEEP.id, key, "It broke; try again.", "w2")
    a, b = store.points(SWEEP.id)
    assert (a.state, a.error, a.result) == ("done", "", {"v": 1})
    assert (b.state, b.error, b.result, b.attempts) == ("failed", "It broke; try again.", None, 1)
    store.put_result(SWEEP.id, "b", {"v": 2}, {}, 0.5, "w")
    assert [(p.state, p.error) for p in store.points(SWEEP.id)] == [("done", "")] * 2


def test_counts_and_retry(store: Store) -> None:
    store.add_run(SWEEP, [(key, {}) for key in "abcde"])
    store.add_run(Run.new("sweep", "another", "net", "d", {}), [("a", {})])
    store.put_result(SWEEP.id, "a", {}, {}, 0.5, "w")
    for key in "bc":
        store.put_error(SWEEP.id, key, "no", "w")
    run = store.run(SWEEP.id)
    assert run is not None and (run.total, run.done, run.failed) == (5, 1, 2)
    assert [p.key for p in store.points(SWEEP.id, "failed")] == ["b", "c"]
    assert store.retry_failed(SWEEP.id) == 2 and store.retry_failed(SWEEP.id) == 0
    assert [(p.key, p.error) for p in store.points(SWEEP.id, "waiting")] == [(key, "") for key in "bcde"]


def test_runs_are_listed_newest_first_by_kind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [Run.new("sweep" if i % 2 else "recover", f"{i}", "net", "d", {"i": i}) for i in range(6)]
    for i, run in enumerate(made):
        monkeypatch.setattr(time, "time", lambda i=i: 1e9 + i / 10)  # six within one second
        store.add_run(run)
    assert [run.title for run in store.runs()] == ["5", "4", "3", "2", "1", "0"]
    assert [run.title for run in store.runs("sweep")] == ["5", "3", "1"]
    assert [run.title for run in store.runs(limit=2)] == ["5", "4"] and store.runs("other") == []


def test_a_deleted_run_is_gone_and_says_so(store: Store, url: str) -> None:
    store.add_run(SWEEP, [("a", {})])
    store.put_result(SWEEP.id, "a", {}, {"accuracy": number(0.5)}, 0.5, "w")
    store.claim(SWEEP.id, "me")
    store.delete(SWEEP.id)
    store.delete(SWEEP.id)
    assert store.run(SWEEP.id) is None and store.points(SWEEP.id) == [] and store.frame([SWEEP.id]).empty
    assert all(ask(url, f"SELECT count(*) FROM {table}") == [(0,)] for table in ("runs", "points", "measurements"))
    assert not store.renew(SWEEP.id, "me") and not store.claim(SWEEP.id, "me") and not store.queue(SWEEP.id)
    for change in (
        lambda: store.put_result(SWEEP.id, "a", {}, {}, 0.5, "w"),
        lambda: store.put_error(SWEEP.id, "a", "no", "w"),
        lambda: store.set_state(SWEEP.id, "done"),
        lambda: store.add_points(SWEEP.id, [("a", {})]),
    ):
        with pytest.raises(StoreError, match=r"^This run was deleted meanwhile, .*; start it again .*\.$"):
            change()


def test_one_driver_at_a_time(store: Store) -> None:
    store.add_run(SWEEP)
    assert store.claim(SWEEP.id, "one", 60) and not store.claim(SWEEP.id, "two", 60)
    run = store.run(SWEEP.id)
    assert run is not None and (run.owner, run.state) == ("one", "running") and 50 < run.lease - time.time() <= 60
    assert store.claim(SWEEP.id, "one", 60) and store.renew(SWEEP.id, "one", 90) and not store.renew(SWEEP.id, "two")
    store.release(SWEEP.id, "two")
    assert not store.claim(SWEEP.id, "two")
    store.release(SWEEP.id, "one")
    assert store.claim(SWEEP.id, "two") and not store.renew(SWEEP.id, "one")


def test_a_lease_that_ran_out_is_anyones(store: Store) -> None:
    store.add_run(SWEEP)
    assert store.claim(SWEEP.id, "one", -1)
    assert store.renew(SWEEP.id, "one", -1), "late, but nobody else took it"
    assert store.claim(SWEEP.id, "two") and not store.renew(SWEEP.id, "one")


def test_a_cancel_is_undone_by_nothing_but_queue(store: Store) -> None:
    store.add_run(SWEEP)
    store.claim(SWEEP.id, "one")
    store.cancel(SWEEP.id)
    store.set_state(SWEEP.id, "running")
    assert state(store) == "cancelling" and not store.queue(SWEEP.id)
    store.claim(SWEEP.id, "one")
    assert state(store) == "cancelling"
    store.release(SWEEP.id, "one")
    store.cancel(SWEEP.id)
    store.set_state(SWEEP.id, "running")
    assert state(store) == "cancelled" and not store.claim(SWEEP.id, "one"), "a driver that comes too late"
    assert store.queue(SWEEP.id) and state(store) == "queued" and store.claim(SWEEP.id, "two")
    assert state(store) == "running"


def state(store: Store) -> str:
    run = store.run(SWEEP.id)
    assert run is not None
    return run.state


@pytest.mark.parametrize("over", ["done", "failed", "cancelled"])
def test_what_is_over_is_not_cancelled_but_can_be_queued(store: Store, over: str) -> None:
    store.add_run(SWEEP)
    store.set_state(SWEEP.id, over, "because")
    store.cancel(SWEEP.id)
    assert state(store) == over
    assert store.queue(SWEEP.id) and state(store) == "queued"
    run = store.run(SWEEP.id)
    assert run is not None and run.error == ""


def test_states_that_do_not_exist_are_refused(store: Store) -> None:
    store.add_run(SWEEP)
    for wrong in (
        lambda: store.set_state(SWEEP.id, "paused"),
        lambda: store.points(SWEEP.id, "paused"),
        lambda: store.add_run(replace(SWEEP, state="paused")),
    ):
        with pytest.raises(ValueError, match="paused"):
            wrong()


def test_a_frame_holds_a_row_a_measurement(store: Store, tmp_path: Path) -> None:
    import pandas as pd

    other = Run.new("recover", "Other", "net", "d", {})
    store.add_run(
        SWEEP, [("b", {"do": "e", "keep": 0.25, "seed": 1, "plan": {"x": [1]}}), ("a", {"do": "e", "odd": 1})]
    )
    store.add_run(other, [("a", {"odd": "text", "flag": True})])
    for run, key in ((SWEEP, "a"), (SWEEP, "b"), (other, "a")):
        store.put_result(run.id, key, {}, {"accuracy": number(0.5), "latency_ms": number(3.0)}, 0.5, "w")
    frame = store.frame([SWEEP.id, other.id])
    assert list(zip(frame["run"], frame["point"], frame["name"], strict=True)) == [
        (run, key, name)
        for run, key in ((SWEEP.id, "b"), (SWEEP.id, "a"), (other.id, "a"))
        for name in ("accuracy", "latency_ms")
    ]
    row = frame.iloc[0]
    assert (row["request.keep"], row["request.seed"], row["seed"], row["request.plan"]) == (0.25, 1, 7, '{"x": [1]}')
    assert (row["kind"], row["title"], row["model"], row["value"], row["n"]) == ("sweep", "A sweep", "net", 0.5, 500)
    assert (row["versions"], row["device"], row["threads"]) == ("rankscope 0.1.0; torch 2.13.0", "cuda: H200", 3)
    assert list(frame["request.odd"].dropna()) == ["1", "1", "text", "text"], "kinds that differ become text"
    frame.to_parquet(tmp_path / "frame.parquet")
    frame.to_csv(tmp_path / "frame.csv", index=False)
    back = pd.read_parquet(tmp_path / "frame.parquet")
    assert list(back.columns) == list(frame.columns) and list(back["value"]) == list(frame["value"])
    assert list(pd.read_csv(tmp_path / "frame.csv")["spread"]) == [0.01] * 6
    assert len(store.frame([other.id])) == 2 and store.frame([]).empty


def test_another_process_sees_what_was_committed_and_nothing_else(store: Store, url: str, opened: Opener) -> None:
    other = opened(url)
    store.add_run(SWEEP, [("a", {})])
    with store._changing(SWEEP.id) as connection:
        connection.exec_driver_sql("UPDATE points SET worker = 'nobody yet'")
        assert other.points(SWEEP.id)[0].worker == "", "a page reads on while a driver writes"
    assert other.points(SWEEP.id)[0].worker == "nobody yet"


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    store.add_run(SWEEP, [("a", {})])
    with pytest.raises(TypeError):
        store.put_result(SWEEP.id, "a", {"v": object()}, {}, 0.5, "w")
    wrong = {"accuracy": number(0.5), "bad": replace(number(0.5), n="many")}  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"(?i)many|integer|int"):
        store.put_result(SWEEP.id, "a", {"v": 1}, {**wrong, "none": replace(number(0.5), n=None)}, 0.5, "w")  # type: ignore[arg-type]
    assert [(p.state, p.result) for p in store.points(SWEEP.id)] == [("waiting", None)]
    assert store.measurements(SWEEP.id) == {}
