"""Clusters for tests: a scheduler and plain workers as real processes, as another machine would run them, and a look at
what processes are left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
FAKES = ROOT / "tests" / "core" / "jobs" / "fake_tasks.py"
AT_ONCE = 25.0
"""Seconds; what is not done at once takes a minute or more, and a busy machine is slow."""
LOOPBACK = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")


@dataclass
class Cluster:
    """A scheduler and its workers; a worker here has no guard, so killing one is losing a machine."""

    folder: Path
    words: tuple[str, ...] = ()
    worker_words: tuple[str, ...] = ()
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, port: int = 0) -> None:
        """Starts the scheduler, and waits until it says where it listens."""
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        words = (*LOOPBACK, "--port", str(port), "--scheduler-file", str(file), *self.words)
        self.scheduler = self._spawn("scheduler", *words)
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))
        self.address = json.loads(file.read_text())["address"]

    def staff(self, count: int = 2) -> None:
        """Starts workers until there are so many."""
        for _ in range(count - len(self.workers)):
            words = ("--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--death-timeout", "20s")
            space = ("--local-directory", str(self.folder / "space"), "--preload", str(FAKES))
            self.workers.append(self._spawn("worker", self.address, *LOOPBACK, *words, *space, *self.worker_words))

    def dismiss(self, which: int = -1) -> None:
        """Kills a worker without a word."""
        worker = self.workers.pop(which)
        worker.kill()
        worker.wait()

    def stop(self) -> None:
        """Ends all of it."""
        for process in (*self.workers, self.scheduler):
            if process is not None:
                process.kill()
                process.wait()
        self.workers, self.scheduler = [], None

    def _spawn(self, what: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *words]
        settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


@contextmanager
def cluster(
    folder: Path, workers: int = 2, words: tuple[str, ...] = (), of_workers: tuple[str, ...] = ()
) -> Iterator[Cluster]:
    """A running cluster, gone afterwards."""
    made = Cluster(folder, words, of_workers)
    try:
        made.start()
        made.staff(workers)
        yield made
    finally:
        made.stop()


def wait_until(true: Callable[[], object], seconds: float = 90.0) -> None:
    """Waits for it; fails the test if it does not come."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"still waiting after {seconds} s"
        time.sleep(0.05)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Live processes of an engine whose cache is that folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            here = process.environ().get("RANKSCOPE_CACHE") == str(folder)
            if here and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
    return found


def end(folder: Path) -> None:
    """Kills them all."""
    while found := processes_of(folder):
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)
