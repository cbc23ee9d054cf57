"""Runs torch elsewhere: a small pool of worker processes that answer JSON lines (`core.serve` says in what form).

The page's process imports no torch, stays responsive while a job computes, and survives a job that does not. Cancelling
a job ends its process; the next job gets a fresh one. Jobs outlive the page that started them.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

WORKERS = 2
"""Processes at once: one for what a person waits for beside one long job (chosen for two cores)."""

SERVE = (sys.executable, "-m", "core", "serve")

PATIENCE = 1800.0
"""Seconds without a look from any tab after which a job is ended: nobody waits for it (chosen)."""

KEPT = 200
"""Finished jobs remembered, the oldest forgotten first."""


@dataclass
class Job:
    """One piece of work. state: "queued", "running", "done", "failed" or "cancelled". progress: (what, done, of).
    watchers: when each tab last looked at it."""

    request: dict[str, Any]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: str = "queued"
    progress: tuple[str, int, int] = ("waiting for a free worker", 0, 0)
    result: Any = None
    error: str = ""
    started: float = field(default_factory=time.monotonic)
    watchers: dict[str, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @property
    def elapsed(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self.started

    @property
    def unwatched(self) -> float:
        """Seconds since a tab last looked at it."""
        return time.monotonic() - max(self.watchers.values(), default=self.started)


class Pool:
    """Hands jobs to at most `workers` processes, in the order they came. Safe to share between sessions.

    command: what to start as a worker; it must speak as `core.serve` does. patience: seconds after which a job that no
    tab looks at is ended."""

    def __init__(self, workers: int = WORKERS, command: Sequence[str] = SERVE, patience: float = PATIENCE) -> None:
        self._command = tuple(command)
        self._lock = threading.Condition()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: list[Job] = []
        self._running: dict[str, _Process] = {}
        self._idle: list[_Process] = []
        for _ in range(workers):
            threading.Thread(target=self._work, daemon=True).start()
        threading.Thread(target=self._tidy, args=(patience,), daemon=True).start()
        atexit.register(self.close)

    def submit(self, request: dict[str, Any]) -> Job:
        """Queues a request and returns its job at once."""
        job = Job(request)
        with self._lock:
            self._jobs[job.id] = job
            self._queue.append(job)
            while len(self._jobs) > KEPT and next(iter(self._jobs.values())).over:
                self._jobs.popitem(last=False)
            self._lock.notify()
        return job

    def job(self, id: str) -> Job | None:
        """The job of that id, None if it is not known here."""
        return self._jobs.get(id)

    def counts(self) -> dict[str, int]:
        """How many of the jobs it remembers are in each state."""
        with self._lock:
            return dict(Counter(job.state for job in self._jobs.values()))

    def cancel(self, id: str) -> None:
        """Ends a job that is not over; a running one by ending its process."""
        with self._lock:
            job = self._jobs.get(id)
            if job is None or job.over:
                return
            job.state = "cancelled"
            if job in self._queue:
                self._queue.remove(job)
            elif id in self._running:  # under the lock, or the process might have gone on to another job
                self._running[id].kill()

    def close(self) -> None:
        """Ends every worker process; jobs under way fail."""
        with self._lock:
            for process in (*self._idle, *self._running.values()):
                process.kill()

    def _tidy(self, patience: float) -> None:
        while True:
            time.sleep(patience / 10)
            with self._lock:
                left = [job.id for job in self._jobs.values() if not job.over and job.unwatched > patience]
            for id in left:
                self.cancel(id)

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._queue:
                    self._lock.wait()
                job = self._queue.pop(0)
                process = self._idle.pop() if self._idle else _Process(self._command)
                self._running[job.id] = process
                job.state = "running"
                job.progress = ("starting", 0, 0)
            try:
                answer = process.ask(job)
            except (OSError, ValueError, AttributeError, KeyError, TypeError):
                process.drop()
                answer = {"error": "The worker process ended before it was done; press the button again."}
            with self._lock:
                self._running.pop(job.id)
                if not job.over:
                    job.result, job.error = answer.get("result"), answer.get("error", "")
                    job.state = "failed" if job.error else "done"
                if process.alive:
                    self._idle.append(process)


class _Process:
    """One worker, started when first asked and again when it has ended."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._popen: subprocess.Popen[str] | None = None

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def ask(self, job: Job) -> dict[str, Any]:
        """Sends the job's request, follows its progress and returns the message that ends it. OSError or ValueError if
        the process ends first or answers nonsense."""
        popen = self._start()
        if job.over:  # cancelled before there was a process to end
            return {}
        assert popen.stdin is not None and popen.stdout is not None
        popen.stdin.write(json.dumps({**job.request, "id": job.id}) + "\n")
        popen.stdin.flush()
        for line in popen.stdout:
            message: dict[str, Any] = json.loads(line)
            if message.get("id") != job.id:
                continue
            if "progress" not in message:
                return message
            what, done, of = message["progress"]
            job.progress = (str(what), int(done), int(of))
        raise OSError("the worker closed its output")

    def kill(self) -> None:
        """Ends the process at once; whoever reads its answers sees them end. Any thread may call it."""
        popen = self._popen
        if popen is not None:
            popen.kill()
            popen.wait()

    def drop(self) -> None:
        """Ends the process and closes its pipes, so that the next job gets a fresh one."""
        self.kill()
        popen, self._popen = self._popen, None
        for pipe in (popen.stdin, popen.stdout) if popen is not None else ():
            with contextlib.suppress(OSError):  # the last request may still be in the buffer
                if pipe is not None:
                    pipe.close()

    def _start(self) -> subprocess.Popen[str]:
        if not self.alive:
            self.drop()
            self._popen = subprocess.Popen(
                self._command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            _polite(self._popen.pid)
        assert self._popen is not None
        return self._popen


def _polite(pid: int) -> None:
    """The interface comes first on a small machine."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, 5)
