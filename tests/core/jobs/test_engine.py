"""The engine on real processes: what comes back when all is well, when workers die, when it is cancelled, and what it
says of what it cannot do."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import EngineError, EngineLost
from core.jobs import cluster as clusters
from core.jobs.engine import Engine, connect
from tests.bad_files import assert_one_sentence
from tests.browser.sockets import sockets
from tests.core.jobs.fake_tasks import notes
from tests.engines import AT_ONCE, Cluster, cluster, wait_until

pytestmark = pytest.mark.xdist_group("dask")


@pytest.fixture
def engine(away: Cluster) -> Iterator[Engine]:
    away.staff()
    made = connect(away.address)
    wait_until(lambda: len(made.workers) == 2)
    yield made
    made.close()


def echoes(count: int, **more: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(f"point{i}", {"do": "echo", "value": i, **more}) for i in range(count)]


def long_ones(count: int) -> list[tuple[str, dict[str, Any]]]:
    return [(f"long{i}", {"do": "echo", "value": i, "seconds": 90.0}) for i in range(count)]


def test_every_request_is_answered_once_by_its_key(engine: Engine, away: Cluster) -> None:
    answers = list(engine.results(echoes(40), run="all"))
    assert {answer.key: answer.result["value"] for answer in answers} == {f"point{i}": i for i in range(40)}
    assert len(answers) == 40 and all(answer.error == "" for answer in answers)
    assert {answer.result["process"] for answer in answers} == {worker.pid for worker in away.workers}
    assert {answer.worker for answer in answers} == set(engine.workers)
    assert list(engine.results([], run="none")) == []


def test_answers_come_as_they_are_ready(engine: Engine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = ("waits", {"do": "echo", "value": -1, "until": str(gate)})
    found = engine.results([waits, *echoes(5)], run="order")
    early = next(found)
    gate.touch()
    later = list(found)
    assert early.key != "waits" and "waits" in {answer.key for answer in later}
    assert len(later) == 5 and all(answer.seconds > 0.0 for answer in later)


def test_what_goes_wrong_in_a_task_is_its_answer(engine: Engine, tmp_path: Path) -> None:
    asked = [(do, {"do": do}) for do in ("refuse", "break", "no-such-task", "echo")]
    errors = {answer.key: answer.error for answer in engine.results(asked, run="wrong")}
    assert errors["refuse"] == "These data are sour; bring others." and errors["echo"] == ""
    for do in ("break", "no-such-task"):
        assert_one_sentence(errors[do], tmp_path)


def test_the_work_of_a_killed_worker_is_done_again(engine: Engine, away: Cluster, tmp_path: Path) -> None:
    found = engine.results(echoes(10, seconds=0.3, notes=str(tmp_path / "notes")), run="killed")
    answers = [next(found)]
    wait_until(lambda: len(notes(tmp_path / "notes")) >= 3)
    away.dismiss(0)
    answers += list(found)
    assert sorted(answer.result["value"] for answer in answers) == list(range(10))
    assert sum(note.startswith("start") for note in notes(tmp_path / "notes")) >= 11


def test_the_same_key_asked_twice_is_worked_off_once(engine: Engine, away: Cluster, tmp_path: Path) -> None:
    other = connect(away.address)
    asked = echoes(3, seconds=0.5, notes=str(tmp_path / "notes"))
    both: dict[str, list[Any]] = {}
    threads = [
        threading.Thread(target=lambda n=name, e=one: both.update({n: list(e.results(asked, run="twice"))}))
        for name, one in (("a", engine), ("b", other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    values = [sorted((answer.key, answer.result["process"]) for answer in answers) for answers in both.values()]
    assert len(values) == 2 and values[0] == values[1]
    assert sorted(notes(tmp_path / "notes")) == sorted(f"{what} {i}" for i in range(3) for what in ("start", "end"))


def test_cancel_drops_what_waits_and_stops_what_runs(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    cancelled = threading.Event()
    found = engine.results(echoes(20, seconds=0.4, notes=str(path)), cancelled.is_set, run="cancel")
    answers = [next(found)]
    cancelled.set()
    answers += list(found)
    assert len(answers) < 16
    before = len(notes(path))
    time.sleep(1.0)
    assert len(notes(path)) == before  # nothing goes on behind our back
    cancelled.clear()
    timer = threading.Timer(1.0, cancelled.set)
    timer.start()
    start = time.monotonic()
    assert list(engine.results(long_ones(2), cancelled.is_set, run="cancel")) == []
    assert 1.0 <= time.monotonic() - start < AT_ONCE
    timer.join()


def test_what_workers_say_on_the_way_is_heard(engine: Engine, tmp_path: Path) -> None:
    gate, heard = tmp_path / "gate", []

    def told(key: str, words: dict[str, Any]) -> None:
        heard.append((key, words))
        if len(heard) > 1:
            gate.touch()

    asked = [("speaks", {"do": "echo", "value": 1, "until": str(gate)})]
    assert [answer.key for answer in engine.results(asked, run="told", told=told)] == ["speaks"]
    assert {key for key, _ in heard} == {"speaks"} and tuple(heard[0][1]["step"]) == ("sleeping", 0, 1)
    counts = [words["found"]["looks"] for _, words in heard if "found" in words]
    assert counts == sorted(counts) and counts[-1] > 1, "what is found so far grows"


def test_a_cancelled_run_can_be_asked_again(engine: Engine) -> None:
    assert list(engine.results(echoes(4, seconds=0.2), lambda: True, run="again")) == []
    assert len(list(engine.results(echoes(4, seconds=0.2), run="again"))) == 4


def test_letting_go_half_way_frees_the_workers(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    found = engine.results(echoes(50, seconds=0.3, notes=str(path)), run="half")
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert len(list(engine.results(echoes(2), run="after"))) == 2
    assert len(notes(path)) < 40, "most of the hundred starts and ends never came"


def test_a_resource_no_worker_offers_is_said_at_once(engine: Engine, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(EngineError) as refusal:
        next(engine.results(echoes(1), resources={"GPU": 1}, run="gpu"))
    assert time.monotonic() - start < AT_ONCE
    assert_one_sentence(str(refusal.value), tmp_path)
    assert "GPU=1" in str(refusal.value)


def test_a_resource_goes_to_the_worker_that_offers_it(away: Cluster, engine: Engine) -> None:
    away.worker_words = ("--resources", "GPU=1")
    try:
        away.staff(3)
        wait_until(lambda: len(engine.workers) == 3)
        answers = list(engine.results(echoes(6), resources={"GPU": 1}, run="with"))
        assert {answer.result["process"] for answer in answers} == {away.workers[2].pid}
    finally:
        away.worker_words = ()
        away.dismiss()


def test_an_engine_that_goes_is_said_to_be_lost(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=1) as made:
        engine = connect(made.address)
        found = engine.results(echoes(30, seconds=0.1), run="lost")
        next(found)
        assert made.scheduler is not None
        made.scheduler.kill()
        start = time.monotonic()
        with pytest.raises(EngineLost) as lost:
            list(found)
        assert time.monotonic() - start < AT_ONCE
        assert_one_sentence(str(lost.value), tmp_path)
        engine.close()


def test_an_engine_without_workers_is_lost_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(tmp_path, workers=1) as made:
        engine = connect(made.address)
        monkeypatch.setattr(clusters, "WORKERS_PATIENCE", 1.0)
        monkeypatch.setattr(clusters, "LOOK", 0.3)
        found = engine.results(echoes(30, seconds=0.1), run="idle")
        next(found)
        made.dismiss()
        with pytest.raises(EngineLost, match="workers"):
            list(found)
        engine.close()
        with pytest.raises(EngineError, match="no workers") as refusal:
            connect(made.address)
        assert_one_sentence(str(refusal.value), tmp_path)


@pytest.mark.parametrize(
    "address", ["localhost:8786", "http://127.0.0.1:8786", "tcp://", "tcp://127.0.0.1:x", "nonsense"]
)
def test_what_is_no_address_is_said(address: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="tcp://host:port") as refusal:
        connect(address)
    assert_one_sentence(str(refusal.value), tmp_path)


def test_nobody_there_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RANKSCOPE_SCHEDULER", f"tcp://127.0.0.1:{free.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(EngineError, match="No scheduler can be reached") as refusal:
            connect()
        assert time.monotonic() - start < clusters.PATIENCE
    assert_one_sentence(str(refusal.value), tmp_path)


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.7\r\n", b"short"])
def test_somebody_else_there_is_said(says: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    lines.append(stranger.accept()[0])
                    lines[-1].sendall(says)

        lines: list[socket.socket] = []
        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(EngineError, match="no Dask scheduler") as refusal:
            connect(f"tcp://127.0.0.1:{stranger.getsockname()[1]}")
        stranger.shutdown(socket.SHUT_RDWR)
        for line in lines:
            line.close()
    assert_one_sentence(str(refusal.value), tmp_path)


def test_an_encrypted_cluster_needs_credentials(tmp_path: Path) -> None:
    import dask

    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"tls://127.0.0.1:{there.getsockname()[1]}"
        with pytest.raises(EngineError, match="needs credentials") as refusal:
            connect(address)
        assert_one_sentence(str(refusal.value), tmp_path)
        missing = str(tmp_path / "missing.pem")
        with (
            dask.config.set({f"distributed.comm.tls.{name}": missing for name in ("ca-file", "client.cert")}),
            pytest.raises(EngineError, match="TLS settings") as refusal,
        ):
            connect(address)
        assert_one_sentence(str(refusal.value), tmp_path)


def test_other_versions_there_are_said(away: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away.staff()
    mine = clusters.versions()
    monkeypatch.setattr(clusters, "versions", lambda: {**mine, "distributed": "2020.1.0"})
    with pytest.raises(EngineError, match=r"scheduler.*distributed 2020\.1\.0") as refusal:
        connect(away.address)
    assert_one_sentence(str(refusal.value), tmp_path)


def test_workers_with_other_packages_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clusters._check_versions("Here", clusters.versions())
    for found in ({**clusters.versions(), "torch": "1.0"}, ModuleNotFoundError("core")):
        with pytest.raises(EngineError, match="same version") as refusal:
            clusters._check_versions("Its worker tcp://10.0.0.1:1", found)
        assert_one_sentence(str(refusal.value), tmp_path)


def test_every_socket_is_on_loopback(engine: Engine, away: Cluster) -> None:
    list(engine.results(echoes(4), run="sockets"))
    assert away.scheduler is not None
    found = sockets([os.getpid(), away.scheduler.pid, *(worker.pid for worker in away.workers)])
    assert sum(one.listens for one in found) >= 3 and all(one.on_loopback for one in found)
