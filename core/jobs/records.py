"""A run and its points, as the database holds them and pages show them: plain values, no torch, no database."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from core.keys import key
from core.provenance import Provenance, here

RUN_STATES = ("queued", "running", "cancelling", "done", "failed", "cancelled")
OVER = ("done", "failed", "cancelled")
"""States in which nothing is to be done any more unless somebody queues the run again."""

STATE_WORDS = {
    "queued": "waiting to start",
    "running": "running",
    "cancelling": "being cancelled",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""RUN_STATES as people read them."""

POINT_STATES = ("waiting", "done", "failed")

GRACE = 10.0
"""Seconds after its lease until a driver is taken for dead (chosen: a third of a lease, as clocks differ a little)."""

START = 60.0
"""Seconds a queued run may wait for its driver (chosen: several times what one takes to start on a busy machine)."""


@dataclass(frozen=True, slots=True)
class Run:
    """One piece of work that outlives a page: a sweep, a training, a measurement.

    id          16 hexadecimal digits, see `run_id`. kind  what it is, which names the driver's preparation.
    title       for people. model  its name. digest  of its weights. spec  what to do, plain JSON values.
    state       one of RUN_STATES. error  one sentence if it failed. stage  what its driver does now, in words.
    created, updated  UTC, ISO 8601 to the second; updated by every change but a renewed lease.
    total, done, failed  numbers of points; total - done - failed are waiting.
    provenance  of the process that added it. owner  the driver's name, "" without one.
    lease       unix time in seconds until which that driver is believed alive, 0 without one.
    """

    id: str
    kind: str
    title: str = ""
    model: str = ""
    digest: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    state: str = "queued"
    error: str = ""
    stage: str = ""
    created: str = ""
    updated: str = ""
    total: int = 0
    done: int = 0
    failed: int = 0
    provenance: Provenance | None = None
    owner: str = ""
    lease: float = 0.0

    @classmethod
    def new(cls, kind: str, title: str, model: str, digest: str, spec: dict[str, Any]) -> Run:
        """A queued run that no database holds yet, made here and now."""
        return cls(run_id(kind, spec), kind, title, model, digest, spec, provenance=here())

    @property
    def over(self) -> bool:
        """Whether nothing is to be done any more: done, failed or cancelled."""
        return self.state in OVER

    @property
    def interrupted(self) -> bool:
        """Whether it should be going on but no driver is alive: killed, or never started. It can be resumed."""
        return is_interrupted(self, time.time())

    @property
    def going(self) -> bool:
        """Whether somebody works on it, or is about to: neither over nor interrupted."""
        return not self.over and not self.interrupted

    @property
    def words(self) -> str:
        """Its state as people read it."""
        return "interrupted, can be resumed" if self.interrupted else STATE_WORDS[self.state]


@dataclass(frozen=True, slots=True)
class Point:
    """One request of a run and what came of it.

    run, key    together they name it; a point has one row however often it was worked off.
    request     what a worker is asked, plain JSON values. state  one of POINT_STATES.
    attempts    how often an answer came, result or error. result  the answer, None until done.
    error       one sentence if it failed. seconds  the answer took. worker  who gave it.
    progress    what its worker last told of it while it is under way, see `tasks.Steps`; None otherwise.
    """

    run: str
    key: str
    request: dict[str, Any]
    state: str = "waiting"
    attempts: int = 0
    result: dict[str, Any] | None = None
    error: str = ""
    seconds: float = 0.0
    worker: str = ""
    progress: dict[str, Any] | None = None

    @property
    def share(self) -> float:
        """How much of it is done, in [0, 1]: all once it has an answer, else as its worker told."""
        if self.state != "waiting":
            return 1.0
        _, done, of = (self.progress or {}).get("step", ("", 0, 0))
        return min(1.0, done / of) if of else 0.0

    @property
    def label(self) -> str:
        """What it tries, in a few words."""
        return str((self.request.get("about") or {}).get("label") or self.request.get("do", ""))


def is_interrupted(run: Run, now: float) -> bool:
    """Whether at unix time `now` (s) nobody drives a run that is not over.

    A running or cancelling one is interrupted GRACE after its lease, a queued one START after its last change.
    """
    if run.over:
        return False
    until = run.lease + GRACE
    if run.state == "queued":
        changed = datetime.fromisoformat(run.updated).timestamp() if run.updated else now
        until = max(until, changed + START)
    return now > until


def run_id(kind: str, spec: dict[str, Any]) -> str:
    """16 hexadecimal digits: equal kind and specification, equal run, so starting the same sweep twice is one run."""
    return key({"kind": kind, "spec": spec})[:16]


def iso(seconds: float) -> str:
    """Unix time as UTC, ISO 8601 to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
