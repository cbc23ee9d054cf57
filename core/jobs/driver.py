"""Drives one run from start to end: prepares its points, hands them to the engine, and keeps what comes back.

One driver a run, by a lease it renews; only the driver writes results. Whatever ends it, the next one goes on with the
points that have no result.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from core.errors import Cancelled, EngineError, EngineLost, InputError, RankscopeError
from core.jobs import engine as engines
from core.jobs.records import Run
from core.jobs.store import Store
from core.journeys import Progress
from core.provenance import Measurement

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between looks at whether somebody cancelled or deleted the run, and between words about the stage."""

RENEWAL = 8.0
"""Seconds between renewals of the lease: chosen, three fit into one lease."""

TRIES = 3
"""Engines in a row that may be lost without one answer before a run fails."""

PAUSE = 2.0
"""Seconds before another engine is looked for, times the number of the try."""


def _sweep(run: Run, store: Store, progress: Progress) -> None:
    from core.jobs import sweeps

    sweeps.prepare(run, store, progress)


def _evaluated(result: dict[str, Any]) -> dict[str, Measurement]:
    from core.jobs import sweeps

    return sweeps.measured(result)


def _recovered(result: dict[str, Any]) -> dict[str, Measurement]:
    from core.provenance import measurement_of

    return {**_evaluated(result), "accuracy_before": measurement_of(result["before"])}


PREPARE: dict[str, Callable[[Run, Store, Progress], None]] = {"sweep": _sweep}
"""By kind of run, what adds its points. It runs at every start, so it leaves points alone that are there."""

MEASURED: dict[str, Callable[[dict[str, Any]], dict[str, Measurement]]] = {
    "evaluate": _evaluated,
    "recover": _recovered,
}
"""By task, what its result says was measured."""


def measured_of(task: str, result: dict[str, Any]) -> dict[str, Measurement]:
    """What a task's result says was measured, by name; {} for a task that measures nothing that belongs in a table."""
    read = MEASURED.get(task)
    return read(result) if read is not None else {}


def drive(id: str, store: Store, engine: engines.Engine | None = None, progress: Progress | None = None) -> Run:
    """Works off the run and returns it as it then is; at once, unchanged, if another driver has it or it was cancelled.

    engine  the first to use, else one is connected to when there is work. InputError if there is no such run. What goes
    wrong with the run itself is its state "failed" and a sentence; what interrupts this process leaves it resumable.
    """
    owner = f"{platform.node()}:{os.getpid()}:{secrets.token_hex(4)}"
    if store.claim(id, owner):
        with _Lease(store, id, owner) as lease:
            _end(id, store, lease, *_outcome(id, store, lease, engine, progress))
    found = store.run(id)
    if found is None:
        raise InputError(f"There is no run {id!r}; `runs` lists those there are.")
    return found


def _outcome(
    id: str, store: Store, lease: _Lease, engine: engines.Engine | None, progress: Progress | None
) -> tuple[str, str]:
    """(state, error) in which the run ends."""
    try:
        return _work_off(id, store, lease, engine, progress)
    except Cancelled:
        return "cancelled", ""
    except RankscopeError as error:
        return "failed", str(error)
    except Exception as error:
        log.exception("run %s failed", id)
        return "failed", f"This failed inside Rankscope ({type(error).__name__}); see the log, then resume the run."


def _work_off(
    id: str, store: Store, lease: _Lease, engine: engines.Engine | None, progress: Progress | None
) -> tuple[str, str]:
    stage = _Stage(id, store, lease, progress)
    run = store.run(id)
    if run is None:
        raise Cancelled("The run was deleted.")
    prepare = PREPARE.get(run.kind)
    if prepare is not None:
        stage("preparing", 0, 0)
        prepare(run, store, stage)
    given, tries, lost = engine, 0, False
    while not lease.cancelled and store.points(id, "waiting"):
        tries += 1
        try:
            if engine is None:
                stage.say("starting the engine")
                engine = engines.connect()
            stage.say("measuring")
            for _ in _answers(id, store, lease, engine, progress):
                tries = 0
        except EngineError as error:
            lost = lost or isinstance(error, EngineLost)
            if not lost or tries == TRIES:  # one that never was there is not waited for
                raise
            log.warning("%s", error)
            stage.say("the engine was lost, connecting again")
            lease.wait(tries * PAUSE)
        finally:
            if engine is not None and engine is not given:
                engine.close()
            engine = None
    if lease.cancelled:
        return "cancelled", ""
    points = store.points(id)
    errors = [point.error for point in points if point.state == "failed"]
    if points and len(errors) == len(points):
        return "failed", errors[0] if len(set(errors)) == 1 else f"Every point failed, the first one so: {errors[0]}"
    return "done", ""


def _answers(id: str, store: Store, lease: _Lease, engine: engines.Engine, progress: Progress | None) -> Any:
    """Keeps every answer as it comes, and yields when it has."""
    run = store.run(id)
    waiting = {}
    for point in store.points(id, "waiting"):
        waiting[point.key] = point.request
        if point.progress is not None:  # of a worker that is gone
            store.set_progress(id, point.key, None)
    if run is None:
        return
    over, of = run.total - len(waiting), run.total
    resources = (run.spec or {}).get("resources")

    def told(key: str, words: dict[str, Any]) -> None:
        if not lease.lost:
            store.set_progress(id, key, words)
        if progress is not None and of == 1 and "step" in words:
            progress(*words["step"])

    for answer in engine.results(list(waiting.items()), lambda: lease.cancelled, resources, id, told):
        if lease.lost:  # another driver has the run by now, and will ask for this again
            return
        if answer.error:
            store.put_error(id, answer.key, answer.error, answer.worker)
        else:
            measured = measured_of(waiting[answer.key].get("do", ""), answer.result)
            store.put_result(id, answer.key, answer.result, measured, answer.seconds, answer.worker)
        over += 1
        if progress is not None:
            progress("measuring", over, of)
        yield


def _end(id: str, store: Store, lease: _Lease, state: str, error: str) -> None:
    """Writes how it ended, unless the run is another's by now, or deleted."""
    if lease.lost or store.run(id) is None:
        return
    store.set_stage(id, "")
    store.set_state(id, state, error)


class _Stage:
    """Progress of the preparation: into the database, to the caller, and Cancelled out of it."""

    def __init__(self, id: str, store: Store, lease: _Lease, progress: Progress | None) -> None:
        self._id, self._store, self._lease, self._progress = id, store, lease, progress
        self._told = 0.0

    def __call__(self, what: str, done: int, of: int) -> None:
        if self._lease.cancelled:
            raise Cancelled("The run was cancelled.")
        if self._progress is not None:
            self._progress(what, done, of)
        if time.monotonic() - self._told >= LOOK:
            self.say(f"{what} {done} of {of}" if of else what)

    def say(self, words: str) -> None:
        self._told = time.monotonic()
        self._store.set_stage(self._id, words)


class _Lease:
    """Keeps the run this driver's while it lasts, and learns from the database that the run is to stop.

    cancelled  the run is to stop. lost  because it is no longer this driver's."""

    def __init__(self, store: Store, id: str, owner: str) -> None:
        self.cancelled = self.lost = False
        self._store, self._id, self._owner = store, id, owner
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> _Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            self._store.release(self._id, self._owner)
        except RankscopeError as error:  # the lease ends by itself
            log.warning("%s", error)

    def wait(self, seconds: float) -> None:
        """Until then, or the run is to stop."""
        until = time.monotonic() + seconds
        while not self.cancelled and time.monotonic() < until:
            time.sleep(0.1)

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._over.wait(LOOK):
            try:
                if time.monotonic() - renewed >= RENEWAL:
                    renewed = time.monotonic()
                    self.lost = not self._store.renew(self._id, self._owner)
                run = self._store.run(self._id)
            except RankscopeError as error:  # a busy or full database: the next look may be luckier
                log.warning("%s", error)
                continue
            self.lost = self.lost or run is None or run.owner != self._owner
            self.cancelled = self.cancelled or self.lost or (run is not None and run.state == "cancelling")
