"""Writers that are killed, that write at once, and that open or claim at once: as processes of their own, on both
databases. What they were told is kept is compared with what a driver of its own reads afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.jobs.records import Run
from core.jobs.store import Store

ROOT = Path(__file__).resolve().parents[3]
RUN = Run.new("sweep", "A sweep", "net", "d", {})

HEAD = """
import json, os, sys, time
from core.jobs.records import Run
from core.jobs.store import Store
from core.provenance import Measurement, here
url, me, path = sys.argv[1:]
def say(**words):
    print(json.dumps(words), flush=True)
run = Run.new("sweep", "A sweep", "net", "d", {})
made = here()
def put(store, i):
    numbers = {name: Measurement(name, i, 0.1, 10, 0, made) for name in ("a", "b", "c")}
    store.put_result(run.id, f"{me}-{i}", {"i": i, "pad": "x" * 5000}, numbers, 0.1, me)
def start_together():
    say(ready=me)
    while not os.path.exists(path):
        time.sleep(0.005)
"""

WRITER = "store = Store.open(url)\nfor i in range(100000):\n    put(store, i)\n    say(kept=f'{me}-{i}')\n"
FORTY = "store = Store.open(url)\nstart_together()\nfor i in range(40):\n    put(store, i)\n    say(kept=f'{me}-{i}')\n"
FIRST = "start_together()\nstore = Store.open(url)\nstore.add_run(run, [(me, {})])\nsay(added=me)\n"
CLAIMS = """
store = Store.open(url)
start_together()
for i in range(30):
    if store.claim(f"run{i}", me, 60):
        say(claimed=f"run{i}")
"""


def process(body: str, url: str, me: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", HEAD + body, url, me, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def together(body: str, url: str, path: Path, how_many: int) -> list[list[dict[str, str]]]:
    """What each of these processes said, after all stood ready at one line."""
    running = [process(body, url, f"p{i}", path) for i in range(how_many)]
    try:
        for one in running:
            assert one.stdout is not None and json.loads(one.stdout.readline())["ready"]
        path.touch()
        told = [one.communicate(timeout=100)[0] for one in running]
        assert [one.returncode for one in running] == [0] * how_many
        return [[json.loads(line) for line in lines.splitlines()] for lines in told]
    finally:
        for one in running:
            one.kill()
            one.wait()


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query, without SQLAlchemy."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)
    else:
        import psycopg

        connection = psycopg.connect(url.replace("+psycopg", ""))  # type: ignore[assignment]
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def require_whole(url: str, acknowledged: Sequence[str]) -> None:
    """Everything acknowledged is there, every point is whole, and the file is sound."""
    there = dict(ask(url, "SELECT key, state FROM points"))
    assert set(acknowledged) <= set(there) and set(there.values()) <= {"done"}
    counted = dict(ask(url, "SELECT point, count(*) FROM measurements GROUP BY point"))
    assert counted == dict.fromkeys(there, 3), "a point and its three measurements are one transaction"
    if url.startswith("sqlite"):
        assert ask(url, "PRAGMA integrity_check") == [("ok",)]
        assert ask(url, "PRAGMA foreign_key_check") == []


def test_a_writer_killed_five_times_loses_nothing_acknowledged(store: Store, url: str, tmp_path: Path) -> None:
    store.add_run(RUN)
    chance = random.Random(0)
    acknowledged: list[str] = []
    for attempt in range(5):
        writer = process(WRITER, url, f"w{attempt}", tmp_path / "unused")
        assert writer.stdout is not None
        for _ in range(chance.randrange(2, 25)):
            acknowledged.append(json.loads(writer.stdout.readline())["kept"])
        time.sleep(chance.random() * 0.02)
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.communicate(timeout=20)[0].splitlines(keepends=True)
        acknowledged += [json.loads(line)["kept"] for line in rest if line.endswith("\n")]
        assert writer.returncode == -signal.SIGKILL
        require_whole(url, acknowledged)
        before = store.run(RUN.id)
        store.put_error(RUN.id, "nothing", "it goes on", "test")
        assert before is not None and before.done >= len(acknowledged)
    assert len({key.split("-")[0] for key in acknowledged}) == 5


def test_four_writers_at_once(store: Store, url: str, tmp_path: Path) -> None:
    store.add_run(RUN)
    told = together(FORTY, url, tmp_path / "go", 4)
    acknowledged = [words["kept"] for lines in told for words in lines]
    assert len(acknowledged) == len(set(acknowledged)) == 160
    require_whole(url, acknowledged)
    run = store.run(RUN.id)
    assert run is not None and (run.total, run.done) == (160, 160)


def test_three_processes_open_a_new_database_at_once(url: str, tmp_path: Path) -> None:
    """Each adds the same run with a point of its own: one run, three points, one row that says the version."""
    told = together(FIRST, url, tmp_path / "go", 3)
    assert told == [[{"added": f"p{i}"}] for i in range(3)]
    assert ask(url, "SELECT count(*) FROM runs") == [(1,)]
    assert sorted(ask(url, "SELECT key FROM points")) == [("p0",), ("p1",), ("p2",)]
    assert len(ask(url, "SELECT * FROM rankscope_version")) == 1


def test_three_processes_claim_and_none_gets_what_another_has(store: Store, url: str, tmp_path: Path) -> None:
    for i in range(30):
        store.add_run(Run(f"run{i}", "sweep"))
    told = together(CLAIMS, url, tmp_path / "go", 3)
    claimed = [words["claimed"] for lines in told for words in lines]
    assert sorted(claimed) == sorted(f"run{i}" for i in range(30))
    owners = {words["claimed"]: f"p{i}" for i, lines in enumerate(told) for words in lines}
    assert {run.id: run.owner for run in store.runs()} == owners


def test_sqlite_is_set_to_survive_a_power_cut(tmp_path: Path) -> None:
    """What a killed process cannot show: the setting that has every commit reach the disk."""
    store = Store.open(f"sqlite:///{tmp_path}/rankscope.db")
    with store._reading() as connection:
        told = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert [*told, connection.exec_driver_sql("PRAGMA busy_timeout").scalar()] == ["wal", 2, 10_000]
    store.close()
