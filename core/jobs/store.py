"""The database of runs: what was asked, how far it is, and what was measured. Every method is one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from core.errors import StoreError
from core.jobs import rows
from core.jobs.database import connect, database_url, migrate, plain, refusal
from core.jobs.records import OVER, POINT_STATES, RUN_STATES, Point, Run
from core.jobs.schema import measurements, points, runs
from core.provenance import Measurement, revision

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Store", "database_url"]

LEASE = 30.0
"""Seconds a driver is believed alive without a word from it (chosen: several renewals of a busy machine)."""

Json = dict[str, Any]


class Store:
    """Open one with `Store.open`; threads may share it, processes open their own.

    Whoever works a run off holds its lease: `queue` makes it ready, `claim` takes it, `renew` keeps it, `release` gives
    it back. `cancel` is undone by nothing but `queue`. Leases compare the clocks of the machines that share a database,
    which should agree to a few seconds.

    Any method may raise StoreError, one sentence: a full disk, a folder that cannot be written to, a database that
    stays busy, a server that has gone away, a run that somebody deleted.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._reader = self._engine.execution_options(reading=True)

    @classmethod
    def open(cls, url: str = "") -> Store:
        """The database at `url`, else at `database_url()`, made and brought up to date where that is needed.

        StoreError, one sentence, where it cannot be: made by a newer version, read-only, full, no database, no answer.
        """
        where = url or database_url()
        store = cls(where)
        try:
            migrate(where, store._engine)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Lets go of its connections; the next call makes new ones."""
        self._engine.dispose()

    def add_run(self, run: Run, points: Sequence[tuple[str, Json]] = ()) -> Run:
        """The run as it is stored, with these points as (key, request). One that is there already stays as it is, state
        and results included, and gets the points it lacks."""
        if run.state not in RUN_STATES:
            raise ValueError(f"a run is one of {RUN_STATES}, not {run.state!r}")
        now = time.time()
        for last in (False, True):
            try:
                with self._writing() as connection:
                    if connection.execute(_locked(run.id)).first() is None:
                        connection.execute(insert(runs), rows.run_row(run, now, revision()))
                    _add_points(connection, run.id, points)
                    return rows.run_of(connection.execute(_with_counts(run.id)).mappings().one())
            except IntegrityError:  # another process added it in between; now it is there
                if last:
                    raise
        raise AssertionError

    def run(self, id: str) -> Run | None:
        """The run with the counts of its points."""
        with self._reading() as connection:
            row = connection.execute(_with_counts(id)).mappings().first()
        return rows.run_of(row) if row else None

    def runs(self, kind: str = "", limit: int = 500) -> list[Run]:
        """The newest `limit` runs, newest first, of one kind if one is named."""
        wanted = _with_counts().order_by(runs.c.created.desc(), runs.c.id).limit(limit)
        with self._reading() as connection:
            found = connection.execute(wanted.where(runs.c.kind == kind) if kind else wanted).mappings().all()
        return [rows.run_of(row) for row in found]

    def delete(self, id: str) -> None:
        """Forgets a run, its points and its measurements; its driver, if there is one, loses the lease."""
        with self._writing() as connection:
            connection.execute(_locked(id))
            connection.execute(delete(measurements).where(measurements.c.run == id))
            connection.execute(delete(points).where(points.c.run == id))
            connection.execute(delete(runs).where(runs.c.id == id))

    def add_points(self, id: str, points: Sequence[tuple[str, Json]]) -> None:
        """Adds the points, as (key, request), that the run lacks; those it has stay as they are."""
        with self._changing(id) as connection:
            _add_points(connection, id, points)

    def points(self, id: str, state: str = "") -> list[Point]:
        """The points of a run in the order they were added, of one state if one is named."""
        if state and state not in POINT_STATES:
            raise ValueError(f"a point is one of {POINT_STATES}, not {state!r}")
        wanted = select(points).where(points.c.run == id).order_by(points.c.id)
        with self._reading() as connection:
            found = connection.execute(wanted.where(points.c.state == state) if state else wanted).mappings().all()
        return [rows.point_of(row) for row in found]

    def measurements(self, id: str) -> dict[str, dict[str, Measurement]]:
        """point key -> name -> what was measured there."""
        wanted = select(measurements).where(measurements.c.run == id).order_by(measurements.c.id)
        with self._reading() as connection:
            found = connection.execute(wanted).mappings().all()
        made: dict[str, dict[str, Measurement]] = {}
        for row in found:
            made.setdefault(row["point"], {})[row["name"]] = rows.measurement_in(row)
        return made

    def frame(self, ids: Sequence[str]) -> pd.DataFrame:
        """One row a measurement of these runs, with its run, its point's request and its conditions, as
        `rows.frame_of` says."""
        wanted = (
            select(measurements, runs.c.kind, runs.c.title, runs.c.model, runs.c.digest)
            .add_columns(points.c.request, points.c.seconds, points.c.worker)
            .join(points, and_(points.c.run == measurements.c.run, points.c.key == measurements.c.point))
            .join(runs, runs.c.id == measurements.c.run)
            .where(measurements.c.run.in_(ids))
            .order_by(runs.c.created, runs.c.id, points.c.id, measurements.c.id)
        )
        with self._reading() as connection:
            return rows.frame_of(connection.execute(wanted).mappings().all())

    def set_state(self, id: str, state: str, error: str = "") -> None:
        """Says how a run stands. "running" does not undo a cancel; for "queued" see `queue`."""
        if state not in RUN_STATES:
            raise ValueError(f"a run is one of {RUN_STATES}, not {state!r}")
        with self._changing(id) as connection:
            change = update(runs).where(runs.c.id == id).values(state=state, error=plain(error))
            if state == "running":
                change = change.where(runs.c.state.not_in(("cancelling", "cancelled")))
            connection.execute(change)

    def set_stage(self, id: str, stage: str) -> None:
        """Says in words what the driver does now."""
        with self._changing(id) as connection:
            connection.execute(update(runs).where(runs.c.id == id).values(stage=plain(stage)))

    def set_progress(self, id: str, key: str, progress: Json | None) -> None:
        """Says how far a point is that is under way; None that nobody works on it. One with an answer has none."""
        with self._changing(id) as connection:
            here = and_(points.c.run == id, points.c.key == key, points.c.state == "waiting")
            connection.execute(update(points).where(here).values(progress=progress))

    def put_result(
        self, id: str, key: str, result: Json, measured: Mapping[str, Measurement], seconds: float, worker: str
    ) -> None:
        """Keeps the answer of a point and what it measured, in place of any earlier answer; adds the point if the run
        lacks it."""
        change = {"state": "done", "result": result, "error": "", "seconds": seconds, "worker": plain(worker)}
        change |= {"progress": None}
        made = revision()
        with self._changing(id) as connection:
            here = and_(points.c.run == id, points.c.key == key)
            done = connection.execute(update(points).where(here).values(attempts=points.c.attempts + 1, **change))
            if done.rowcount == 0:
                connection.execute(insert(points).values(run=id, key=key, request={}, attempts=1, **change))
            there = and_(measurements.c.run == id, measurements.c.point == key)
            connection.execute(delete(measurements).where(there))
            if measured:
                numbers = [rows.measured_row(id, key, name, number, made) for name, number in measured.items()]
                connection.execute(insert(measurements), numbers)

    def put_error(self, id: str, key: str, error: str, worker: str) -> None:
        """Keeps why a point failed, in one sentence; a point that has a result keeps that instead."""
        with self._changing(id) as connection:
            here = and_(points.c.run == id, points.c.key == key, points.c.state != "done")
            change = {"state": "failed", "error": plain(error), "worker": plain(worker), "progress": None}
            connection.execute(update(points).where(here).values(attempts=points.c.attempts + 1, **change))

    def retry_failed(self, id: str) -> int:
        """Lets the failed points of a run wait again; how many they are."""
        with self._changing(id) as connection:
            failed = and_(points.c.run == id, points.c.state == "failed")
            return connection.execute(update(points).where(failed).values(state="waiting", error="")).rowcount

    def queue(self, id: str) -> bool:
        """Makes a run ready for a driver, whatever became of it before: False while one is alive. Call it before a
        driver is started or a run resumed."""
        change = {"state": "queued", "error": "", "stage": "", "owner": "", "lease": 0.0, "updated": time.time()}
        with self._writing() as connection:
            idle = and_(runs.c.id == id, runs.c.lease < time.time())
            return connection.execute(update(runs).where(idle).values(**change)).rowcount == 1

    def claim(self, id: str, owner: str, seconds: float = LEASE) -> bool:
        """Takes a run that nobody drives, for `seconds`, and sets it running. False if it is another's, is cancelled or
        is not there; one that is being cancelled stays so, for the owner to finish."""
        with self._writing() as connection:
            now = time.time()
            free = or_(runs.c.lease < now, runs.c.owner == owner)
            state = case((runs.c.state == "cancelling", "cancelling"), else_="running")
            change = update(runs).where(runs.c.id == id, runs.c.state != "cancelled", free)
            change = change.values(owner=owner, lease=now + seconds, state=state, error="", updated=now)
            return connection.execute(change).rowcount == 1

    def renew(self, id: str, owner: str, seconds: float = LEASE) -> bool:
        """Keeps the run for another `seconds` from now. False if it is another's by now, or deleted: stop driving."""
        with self._writing() as connection:
            mine = update(runs).where(runs.c.id == id, runs.c.owner == owner)
            return connection.execute(mine.values(lease=time.time() + seconds)).rowcount == 1

    def release(self, id: str, owner: str) -> None:
        """Gives the run back, in whatever state it is."""
        with self._writing() as connection:
            mine = update(runs).where(runs.c.id == id, runs.c.owner == owner)
            connection.execute(mine.values(owner="", lease=0.0))

    def cancel(self, id: str) -> None:
        """Asks the driver to stop; where none is alive, the run is cancelled at once. One that is over stays so."""
        with self._changing(id) as connection:
            alive = runs.c.lease >= time.time()
            state = case((alive, "cancelling"), else_="cancelled")
            connection.execute(update(runs).where(runs.c.id == id, runs.c.state.not_in(OVER)).values(state=state))

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise refusal(error) from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._reader.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise refusal(error) from error

    @contextmanager
    def _changing(self, id: str) -> Iterator[Connection]:
        """A transaction that holds the run's row, so that two of them on one run follow each other on any database."""
        with self._writing() as connection:
            if connection.execute(_locked(id)).first() is None:
                raise StoreError("This run was deleted meanwhile, so nothing was kept; start it again if it is wanted.")
            yield connection
            connection.execute(update(runs).where(runs.c.id == id).values(updated=time.time()))


def _locked(id: str) -> Select[Any]:
    """The run's row, held until the transaction ends; on SQLite the whole transaction is held already."""
    return select(runs.c.id).where(runs.c.id == id).with_for_update()


def _with_counts(id: str | None = None) -> Select[Any]:
    """Runs, or one of them, each with `total`, `done` and `failed` points."""
    counts = select(
        points.c.run,
        func.count().label("total"),
        func.sum(case((points.c.state == "done", 1), else_=0)).label("done"),
        func.sum(case((points.c.state == "failed", 1), else_=0)).label("failed"),
    ).group_by(points.c.run)
    if id is not None:
        counts = counts.where(points.c.run == id)
    each = counts.subquery()
    joined = runs.outerjoin(each, each.c.run == runs.c.id)
    wanted = select(runs, each.c.total, each.c.done, each.c.failed).select_from(joined)
    return wanted if id is None else wanted.where(runs.c.id == id)


def _add_points(connection: Connection, id: str, added: Sequence[tuple[str, Json]]) -> None:
    if not added:
        return
    there = set(connection.execute(select(points.c.key).where(points.c.run == id)).scalars())
    fresh = {key: request for key, request in added if key not in there}
    blank = {"run": id, "state": "waiting", "attempts": 0, "error": "", "seconds": 0.0, "worker": ""}
    if fresh:
        connection.execute(insert(points), [{**blank, "key": key, "request": fresh[key]} for key in fresh])
