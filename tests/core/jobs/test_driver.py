"""The driver on real engines and a real database: every run ends in the right state with every result once, whatever
dies on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError, InputError
from core.jobs import driver, launch
from core.jobs.driver import drive, measured_of
from core.jobs.records import Run
from core.jobs.store import Store
from core.jobs.tasks import perform
from tests.bad_files import assert_one_sentence
from tests.core.jobs.fake_tasks import notes
from tests.engines import AT_ONCE, ROOT, Cluster, cluster, processes_of, wait_until

pytestmark = pytest.mark.xdist_group("dask")


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The database that drivers in other processes open too."""
    made = Store.open()
    yield made
    made.close()


@pytest.fixture
def remote(away: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Drivers use the cluster of the session."""
    away.staff()
    monkeypatch.setenv("RANKSCOPE_SCHEDULER", away.address)
    return away


@pytest.fixture
def added(store: Store, tmp_path: Path) -> Callable[..., Run]:
    """Adds a run of echoes, which note what they do."""

    def add(count: int, kind: str = "fake", spec: dict[str, Any] | None = None, **request: Any) -> Run:
        asked = {"do": "echo", "notes": str(tmp_path / "notes"), **request}
        points = [(f"point{i}", {**asked, "value": i}) for i in range(count)]
        return store.add_run(Run.new(kind, "a run", "m", "d", {"count": count, **(spec or {})}), points)

    return add


def in_thread(run: Run, store: Store) -> tuple[threading.Thread, list[Run]]:
    """Drives it in a thread, as its own process would."""
    ended: list[Run] = []
    thread = threading.Thread(target=lambda: ended.append(drive(run.id, store)))
    thread.start()
    return thread, ended


def starts(path: Path) -> list[str]:
    return [note for note in notes(path) if note.startswith("start")]


def freed(home: Path, run: Run) -> None:
    """Ends the lease of a driver that is dead, as waiting for it would."""
    with sqlite3.connect(home.parent / "home" / "rankscope.db") as database:
        database.execute("update runs set lease = 0 where id = ?", (run.id,))
    database.close()


def test_every_point_has_its_result(remote: Cluster, store: Store, added: Callable[..., Run]) -> None:
    told: list[tuple[str, int, int]] = []
    run = added(12)
    ended = drive(run.id, store, progress=lambda *words: told.append(words))
    assert (ended.state, ended.total, ended.done, ended.failed, ended.error, ended.stage) == ("done", 12, 12, 0, "", "")
    assert ended.owner == "" and ended.lease == 0.0
    for i, point in enumerate(store.points(run.id)):
        assert point.result is not None and point.result["value"] == i and point.attempts == 1
        assert point.worker.startswith("tcp://127.0.0.1:") and point.seconds > 0.0
    assert [done for _, done, _ in told] == list(range(1, 13)) and {of for *_, of in told} == {12}


def test_what_is_done_is_not_done_again(
    remote: Cluster, store: Store, added: Callable[..., Run], tmp_path: Path
) -> None:
    run = added(3)
    store.put_result(run.id, "point1", {"value": "kept"}, {}, 1.0, "me")
    assert drive(run.id, store).state == "done"
    assert drive(run.id, store).state == "done"
    assert sorted(starts(tmp_path / "notes")) == ["start 0", "start 2"]
    assert store.points(run.id)[1].result == {"value": "kept"}


def test_how_far_a_point_is_stands_in_the_database_until_it_is_done(
    remote: Cluster, store: Store, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = Run.new("fake", "t", "m", "d", {"progress": str(tmp_path)})
    store.add_run(run, [("p", {"do": "echo", "value": 1, "until": str(gate)})])
    store.set_progress(run.id, "p", {"step": ["of a worker long gone", 1, 2]})
    told: list[Any] = []
    thread = threading.Thread(target=lambda: drive(run.id, store, progress=lambda *words: told.append(words)))
    thread.start()
    wait_until(lambda: (store.points(run.id)[0].progress or {}).get("found", {}).get("looks", 0) > 1)
    point = store.points(run.id)[0]
    assert (point.state, point.progress["step"], point.share) == ("waiting", ["sleeping", 0, 1], 0.0)
    gate.touch()
    thread.join(180)
    done = store.points(run.id)[0]
    assert (done.state, done.progress, done.share) == ("done", None, 1.0) and ("sleeping", 0, 1) in told


def test_failed_points_are_told_and_can_be_retried(
    remote: Cluster, store: Store, added: Callable[..., Run], tmp_path: Path
) -> None:
    run = added(2)
    store.add_points(run.id, [("sour", {"do": "refuse"})])
    ended = drive(run.id, store)
    assert (ended.state, ended.done, ended.failed, ended.error) == ("done", 2, 1, "")
    assert store.points(run.id, "failed")[0].error == "These data are sour; bring others."
    assert store.retry_failed(run.id) == 1 and store.queue(run.id)
    assert drive(run.id, store).failed == 1
    (point,) = store.points(run.id, "failed")
    assert point.attempts == 2 and len(starts(tmp_path / "notes")) == 2


def test_a_run_whose_every_point_fails_has_failed(remote: Cluster, store: Store, added: Callable[..., Run]) -> None:
    run = added(2, do="refuse")
    ended = drive(run.id, store)
    assert (ended.state, ended.error) == ("failed", "These data are sour; bring others.")
    assert drive(added(0).id, store).state == "done"


def test_its_kind_says_how_it_is_prepared(
    remote: Cluster, store: Store, added: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []

    def prepare(run: Run, store: Store, progress: Any) -> None:
        for i in range(3):
            progress("thinking", i, 3)
            found = store.run(run.id)
            assert found is not None
            stages.append(found.stage)
        store.add_points(run.id, [("made", {"do": "echo", "value": "made"})])

    monkeypatch.setitem(driver.PREPARE, "fake", prepare)
    monkeypatch.setattr(driver, "LOOK", 0.0)
    ended = drive(added(0).id, store)
    assert (ended.state, ended.done) == ("done", 1)
    assert stages == [f"thinking {i} of 3" for i in range(3)]


@pytest.mark.parametrize("raised", [DataError("The data are gone; bring them back."), ZeroDivisionError()])
def test_a_preparation_that_fails_is_one_sentence(
    store: Store, added: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raised: Exception
) -> None:
    def prepare(*_: Any) -> None:
        raise raised

    monkeypatch.setitem(driver.PREPARE, "fake", prepare)
    ended = drive(added(1).id, store)
    assert (ended.state, ended.done, ended.owner) == ("failed", 0, "")
    assert_one_sentence(ended.error, tmp_path)


def test_a_preparation_can_be_cancelled(
    store: Store, added: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(run: Run, store: Store, progress: Any) -> None:
        store.cancel(run.id)
        for i in range(2000):
            progress("thinking", i, 2000)
            time.sleep(0.05)

    monkeypatch.setitem(driver.PREPARE, "fake", prepare)
    start = time.monotonic()
    assert drive(added(1).id, store).state == "cancelled"
    assert time.monotonic() - start < AT_ONCE


def test_only_one_drives(remote: Cluster, store: Store, added: Callable[..., Run], tmp_path: Path) -> None:
    run = added(4)
    assert store.claim(run.id, "another")
    assert drive(run.id, store).owner == "another"
    assert notes(tmp_path / "notes") == []
    with pytest.raises(InputError, match="no run"):
        drive("0" * 16, store)


def test_cancel_and_resume(remote: Cluster, store: Store, added: Callable[..., Run], tmp_path: Path) -> None:
    run = added(12, seconds=0.8)
    thread, ended = in_thread(run, store)
    wait_until(lambda: store.points(run.id, "done"))
    store.cancel(run.id)
    thread.join(180)
    assert ended[0].state == "cancelled" and 1 <= ended[0].done < 12 and ended[0].owner == ""
    assert drive(run.id, store).state == "cancelled"  # nothing but `queue` undoes it
    before = ended[0].done
    assert store.queue(run.id)
    again = drive(run.id, store)
    assert (again.state, again.done) == ("done", 12)
    assert all(point.attempts == 1 for point in store.points(run.id))
    assert len([note for note in notes(tmp_path / "notes") if note.startswith("end")]) == 12 and before >= 1


def test_a_lost_scheduler_is_replaced_and_the_run_goes_on(
    home: Path, store: Store, added: Callable[..., Run], tmp_path: Path
) -> None:
    run = added(12, seconds=0.3)
    thread, ended = in_thread(run, store)
    wait_until(lambda: len(store.points(run.id, "done")) >= 2)
    for process in processes_of(home):
        if any("dask_scheduler" in word for word in process.cmdline()):
            process.kill()
    thread.join(180)
    assert (ended[0].state, ended[0].done, ended[0].failed) == ("done", 12, 0)
    assert all(point.attempts == 1 for point in store.points(run.id))


def test_a_cluster_that_comes_back_is_used_again(
    home: Path, store: Store, added: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(tmp_path) as made:
        monkeypatch.setenv("RANKSCOPE_SCHEDULER", made.address)
        monkeypatch.setattr(driver, "PAUSE", 4.0)
        run = added(8, seconds=0.3)
        thread, ended = in_thread(run, store)
        wait_until(lambda: store.points(run.id, "done"))
        made.stop()
        made.start(int(made.address.rpartition(":")[2]))
        made.staff()
        thread.join(180)
    assert (ended[0].state, ended[0].done) == ("done", 8)


def test_a_cluster_that_stays_away_ends_the_run_with_a_sentence(
    home: Path, store: Store, added: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(tmp_path) as made:
        monkeypatch.setenv("RANKSCOPE_SCHEDULER", made.address)
        monkeypatch.setattr(driver, "PAUSE", 0.1)
        run = added(20, seconds=0.3)
        thread, ended = in_thread(run, store)
        wait_until(lambda: store.points(run.id, "done"))
    thread.join(180)
    assert ended[0].state == "failed" and 1 <= ended[0].done < 20 and ended[0].failed == 0
    assert_one_sentence(ended[0].error, tmp_path)
    never = drive(added(1).id, store)
    assert never.state == "failed" and "No scheduler can be reached" in never.error


def test_what_no_worker_offers_ends_the_run_at_once(
    remote: Cluster, store: Store, added: Callable[..., Run], tmp_path: Path
) -> None:
    start = time.monotonic()
    ended = drive(added(3, spec={"resources": {"GPU": 1}}).id, store)
    assert time.monotonic() - start < AT_ONCE
    assert ended.state == "failed" and "GPU=1" in ended.error and ended.failed == 0
    assert_one_sentence(ended.error, tmp_path)


def test_a_killed_driver_loses_nothing(home: Path, store: Store, added: Callable[..., Run], tmp_path: Path) -> None:
    run = added(12, seconds=0.3)
    process = subprocess.Popen([sys.executable, "-m", "core", "drive", run.id], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(store.points(run.id, "done")) >= 3)
    process.kill()
    process.wait()
    left = store.run(run.id)
    assert left is not None and left.state == "running" and left.done >= 3
    assert drive(run.id, store).state == "running"  # its lease still stands
    freed(home, run)
    ended = drive(run.id, store)
    assert (ended.state, ended.done) == ("done", 12)
    assert all(point.attempts == 1 for point in store.points(run.id))


def test_a_driver_that_is_asked_to_end_gives_the_run_back(home: Path, store: Store, added: Callable[..., Run]) -> None:
    run = added(12, seconds=0.3)
    process = subprocess.Popen([sys.executable, "-m", "core", "drive", run.id], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: store.points(run.id, "done"))
    process.terminate()
    process.wait(20)
    left = store.run(run.id)
    assert left is not None and left.state == "running" and left.owner == "" and left.interrupted
    assert drive(run.id, store).done == 12


def test_one_that_lost_its_lease_writes_nothing_more(
    remote: Cluster, home: Path, store: Store, added: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LOOK", 0.1)
    run = added(30, seconds=0.3)
    thread, _ = in_thread(run, store)
    wait_until(lambda: store.points(run.id, "done"))
    freed(home, run)  # its machine slept through the lease
    assert store.claim(run.id, "another")
    time.sleep(0.5)
    done = len(store.points(run.id, "done"))
    thread.join(20)
    left = store.run(run.id)
    assert left is not None and (left.state, left.owner) == ("running", "another")
    assert left.done <= done + 1


def test_a_deleted_run_ends_its_driver(
    remote: Cluster, store: Store, added: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = added(30, seconds=0.3)
    caught: list[str] = []

    def work_off() -> None:
        with pytest.raises(InputError) as refusal:
            drive(run.id, store)
        caught.append(str(refusal.value))

    thread = threading.Thread(target=work_off)
    thread.start()
    wait_until(lambda: store.points(run.id, "done"))
    store.delete(run.id)
    thread.join(20)
    assert len(caught) == 1 and store.run(run.id) is None


def test_the_lease_is_renewed(
    remote: Cluster, store: Store, added: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LOOK", 0.1)
    monkeypatch.setattr(driver, "RENEWAL", 0.2)
    run = added(1, seconds=2.0)
    thread, _ = in_thread(run, store)
    leases: set[float] = set()
    while thread.is_alive():
        found = store.run(run.id)
        assert found is not None
        leases.add(found.lease)
        time.sleep(0.05)
    assert len(leases) >= 5


def test_a_launched_driver_outlives_who_launched_it(
    home: Path, store: Store, added: Callable[..., Run], tmp_path: Path
) -> None:
    run = added(4, seconds=0.3)
    code = f"from core.jobs.launch import launch; launch({run.id!r})"
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    assert launcher.wait(30) == 0
    with contextlib.suppress(ProcessLookupError):
        os.killpg(launcher.pid, signal.SIGTERM)  # as closing its terminal does
    wait_until(lambda: (store.run(run.id) or run).state == "done", 60)
    assert store.points(run.id)[0].result is not None
    assert "4 of 4 points done" in launch.log_file(run.id).read_text()


def test_a_place_that_cannot_hold_the_log_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("")
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError) as refusal:
        launch.launch("0" * 16)
    assert_one_sentence(str(refusal.value), tmp_path)


def test_an_evaluation_says_what_was_measured(home: Path) -> None:
    asked: dict[str, Any] = {"do": "evaluate", "model": "digits-mlp", "data": "digits", "limit": 50}
    found = measured_of("evaluate", perform(asked))
    assert set(found) == {"accuracy_dense"} and found["accuracy_dense"].n == 50
    assert measured_of("echo", {"value": 1}) == {}


def test_the_page_can_launch_without_torch_or_dask() -> None:
    code = (
        "import sys\nfrom core.jobs import launch, records\n"
        "assert not {'torch', 'distributed', 'dask'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=dict(os.environ))
