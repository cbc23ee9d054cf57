"""The engine of this machine: one for all who ask, on loopback only, back after its parts died, gone when idle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.errors import EngineError
from core.jobs import local
from core.jobs.engine import connect
from tests.bad_files import assert_one_sentence
from tests.browser.sockets import family, sockets
from tests.core.jobs.fake_tasks import notes
from tests.engines import ROOT, processes_of, wait_until

pytestmark = pytest.mark.xdist_group("dask")

JOIN = "from core.jobs import local; print(local.join())"


def test_two_processes_that_start_at_once_share_one(home: Path) -> None:
    command = [sys.executable, "-c", JOIN]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    addresses = {process.communicate(timeout=60)[0].strip() for process in both}
    assert len(addresses) == 1 and addresses.pop().startswith("tcp://127.0.0.1:")
    lines = [" ".join(process.cmdline()) for process in processes_of(home)]
    assert sum("dask_scheduler" in line for line in lines) == 1


def test_every_socket_is_on_loopback_and_no_browser_is_served(home: Path) -> None:
    engine = connect()
    wait_until(lambda: len(engine.workers) == 2)
    list(engine.results([(f"p{i}", {"do": "echo"}) for i in range(4)]))
    found = sockets([process.pid for process in processes_of(home)] + [os.getpid()])
    listening = [one for one in found if one.listens]
    assert len(listening) >= 6 and all(one.on_loopback for one in found)
    for one in listening:
        answer = subprocess.run(
            ["curl", "-s", "-m", "2", f"http://127.0.0.1:{one.local[1]}/status"], capture_output=True, text=True
        )
        assert "<html" not in answer.stdout.lower() or "404" in answer.stdout
    engine.close()


def test_work_of_a_killed_worker_is_done_again_by_its_successor(home: Path, tmp_path: Path) -> None:
    engine = connect()
    wait_until(lambda: len(engine.workers) == 2)
    found = engine.results([(f"p{i}", {"do": "echo", "value": i, "seconds": 0.3}) for i in range(12)])
    first = next(found)
    os.kill(first.result["process"], 9)
    rest = list(found)
    assert sorted(answer.result["value"] for answer in (first, *rest)) == list(range(12))
    wait_until(lambda: len(engine.workers) == 2)
    engine.close()


def test_what_ends_three_workers_is_given_up_and_the_rest_is_fine(home: Path, tmp_path: Path) -> None:
    engine = connect()
    deadly = ("deadly", {"do": "die", "value": 0, "notes": str(tmp_path / "deadly")})
    unlucky = ("unlucky", {"do": "die", "value": 1, "times": 1, "notes": str(tmp_path / "unlucky")})
    fine = [(f"p{i}", {"do": "echo", "value": i}) for i in range(6)]
    errors = {answer.key: answer.error for answer in engine.results([deadly, unlucky, *fine])}
    assert len(notes(tmp_path / "deadly")) == 3
    assert [key for key, error in errors.items() if error] == ["deadly"] and len(errors) == 8
    assert_one_sentence(errors["deadly"], tmp_path)
    engine.close()


def test_it_is_gone_when_nobody_has_asked_anything_for_a_while(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKSCOPE_IDLE", "2")
    engine = connect()
    list(engine.results([("p", {"do": "echo"})]))
    engine.close()
    start = time.monotonic()
    assert processes_of(home)
    wait_until(lambda: not processes_of(home))
    assert time.monotonic() - start > 1.0


def test_it_does_not_outlive_the_process_that_was_using_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKSCOPE_IDLE", "2")
    code = (
        "from core.jobs.engine import connect\n"
        "for _ in connect().results([(str(i), {'do': 'echo', 'seconds': 0.2}) for i in range(1000)]):\n"
        "    print('one', flush=True)\n"
    )
    user = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None and user.stdout.readline() == "one\n"
    user.kill()
    user.communicate()
    wait_until(lambda: not processes_of(home))


@pytest.mark.parametrize("part", ["dask_scheduler", "dask_worker"])
def test_another_is_started_when_a_part_of_it_died(home: Path, part: str) -> None:
    first = local.join()
    found = [process for process in processes_of(home) if any(part in word for word in process.cmdline())]
    victim = min(found, key=lambda process: process.create_time())  # a child looks like its parent while it starts
    victim.kill()
    wait_until(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)
    second = local.join()
    assert second != first
    engine = connect()
    assert engine.address == second
    assert len(list(engine.results([("p", {"do": "echo"})]))) == 1
    engine.close()


def test_a_record_of_processes_long_gone_is_not_believed(home: Path) -> None:
    folder = home / "engine"
    folder.mkdir(parents=True)
    mine = psutil.Process()
    record = {"address": "tcp://127.0.0.1:1", "processes": [[mine.pid, mine.create_time() - 1000]]}
    for text in (json.dumps(record), "[]", "not json", "{}"):
        (folder / f"{local._name()}.json").write_text(text)
        assert local._record(folder) is None or not local._alive(record)
    assert local.join() != "tcp://127.0.0.1:1"


def test_one_that_is_just_ending_is_replaced(home: Path) -> None:
    local.join()
    path = home / "engine" / f"{local._name()}.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "address": "tcp://127.0.0.1:1"}))  # alive, but nobody listens any more
    engine = connect()
    assert engine.address not in ("tcp://127.0.0.1:1", record["address"])
    engine.close()


def test_why_it_cannot_start_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SETTINGS", {"PYTHONSAFEPATH": "1"})
    monkeypatch.setattr(local, "_command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(EngineError, match=r"engine\.log") as refusal:
        local.join()
    assert_one_sentence(str(refusal.value), home)
    home.joinpath("file").write_text("")
    monkeypatch.setenv("RANKSCOPE_CACHE", str(home / "file"))
    with pytest.raises(EngineError, match="cache folder") as refusal:
        local.join()
    assert_one_sentence(str(refusal.value), home)


def test_every_gpu_has_a_worker_that_sees_only_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 2")
    assert local.gpus() == ["0", "2"]
    made = local.commands(tmp_path / "s", 3, tmp_path)
    assert [extra.get("CUDA_VISIBLE_DEVICES") for extra, _ in made] == [None, "", "0", "2"]
    assert ["GPU=1" in words for _, words in made] == [False, False, True, True]
    for _, words in made:
        assert words[words.index("--host") + 1] == "127.0.0.1"
        assert words[words.index("--dashboard-address") + 1] == "127.0.0.1:0"
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert local.gpus() == [] and len(local.commands(tmp_path / "s", 1, tmp_path)) == 2


def test_workers_are_polite_and_think_with_one_thread(home: Path) -> None:
    engine = connect()
    (answer,) = engine.results([("p", {"do": "environment"})])
    assert answer.result["OMP_NUM_THREADS"] == "1"
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert all(process.nice() >= max(mine, 5) for process in processes_of(home))
    engine.close()


@pytest.mark.parametrize(("text", "seconds"), [("", 60.0), ("3.5", 3.5), ("soon", 60.0), ("-1", 60.0), ("inf", 60.0)])
def test_idle_seconds(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKSCOPE_IDLE", text)
    assert local.idle_seconds() == seconds


def test_all_of_a_family_is_seen(home: Path) -> None:
    """The look at processes itself: what is found by environment is what is found by descent."""
    local.join()
    wait_until(lambda: len(processes_of(home)) >= 4)
    found = {process.pid for process in processes_of(home)}
    assert found <= set(family(os.getpid()))
