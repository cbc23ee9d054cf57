"""Opening a database so that nothing acknowledged is lost, bringing it up to date, and its refusals in a sentence each.

SQLite runs with a write-ahead log, synchronous FULL, a busy wait of WAIT and an explicit "begin immediate" before every
transaction that writes, migrations included: so a migration that fails half-way leaves nothing behind.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)

from core.errors import StoreError
from core.folders import user_folder
from core.jobs.schema import REVISION, VERSION_TABLE

VARIABLE = "RANKSCOPE_DATABASE_URL"
SCRIPTS = "core.jobs:migrations"

WAIT = 10.0
"""Seconds a writer waits for another one, and for a server to answer (chosen in the comparison of stores)."""

ALONE = 7_265_110
"""Number of the PostgreSQL lock under which one process migrates (chosen)."""

_ELSE = f"set {VARIABLE} to another one"
READ_ONLY = f"The folder of results cannot be written to; set RANKSCOPE_HOME to one that can, or {VARIABLE}."
FULL = "The disk that holds the results is full or failing, so this was not kept; make room there and resume the run."
BUSY = f"Another process has kept the database of results busy for {WAIT:.0f} seconds; try again in a moment."
NOT_ONE = f"The file of results is damaged or no database; move it away, or {_ELSE}."
NEWER = f"The database of results was made by a newer Rankscope; update this one, or {_ELSE}."
FOREIGN = f"The database of {VARIABLE} holds tables of another program; {_ELSE}."
FORBIDDEN = f"The user of {VARIABLE} may not make or change tables there; ask for that right, or {_ELSE}."
UNREACHABLE = f"The server of {VARIABLE} does not answer or turns its user away; check the address and try again."
BAD_URL = f"{VARIABLE} is not a database address such as postgresql://user@host/name; correct it, or unset it."
NO_DRIVER = f"The package that talks to the database of {VARIABLE} is missing; install it (PostgreSQL: psycopg)."

_SAID = (
    (("readonly database", "unable to open database", "permission denied: "), READ_ONLY),
    (("disk is full", "disk i/o error", "no space left"), FULL),
    (("is locked", "lock timeout"), BUSY),
    (("not a database", "malformed"), NOT_ONE),
    (("already exists",), FOREIGN),
    (("permission denied", "read-only transaction", "must be owner"), FORBIDDEN),
)
"""What a database says, in lower case, and what we say."""


def database_url() -> str:
    """RANKSCOPE_DATABASE_URL, else the SQLite file rankscope.db in the user's folder."""
    path = user_folder() / "rankscope.db"
    return os.environ.get(VARIABLE) or URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def connect(url: str, foreign_keys: bool = True) -> Engine:
    """An engine for `url`; a SQLite file's folder is made. StoreError for an address that cannot be used.

    foreign_keys  SQLite checks them; not while tables are rebuilt by a migration.
    """
    try:
        target = make_url(url)
        if target.drivername in ("postgres", "postgresql"):
            target = target.set(drivername="postgresql+psycopg")
        lite = target.get_backend_name() == "sqlite"
        wait: dict[str, Any] = {"timeout": WAIT} if lite else {}
        if target.get_backend_name() == "postgresql":
            wait = {"connect_timeout": int(WAIT)}
        engine = create_engine(
            target,
            connect_args=wait,
            pool_pre_ping=not lite,
            hide_parameters=True,
            json_serializer=dumps,
            json_deserializer=loads,
        )
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise StoreError(BAD_URL) from None
    except ImportError:
        raise StoreError(NO_DRIVER) from None
    if lite:
        try:
            Path(target.database or ".").absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            raise StoreError(READ_ONLY) from None
        _harden(engine, foreign_keys)
    return engine


def migrate(url: str, engine: Engine) -> None:
    """Brings the database up to date, in one transaction. StoreError, one sentence, where it cannot be."""
    try:
        with engine.execution_options(reading=True).connect() as connection:
            if _revision(connection) == REVISION:
                return
        own = connect(url, foreign_keys=False)
        try:
            with own.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(select(func.pg_advisory_xact_lock(ALONE)))
                _upgrade(connection)
        finally:
            own.dispose()
    except SQLAlchemyError as error:
        raise refusal(error) from error


def refusal(error: SQLAlchemyError) -> BaseException:
    """The StoreError for what a database refused, or the error itself if nothing outside the program can cause it."""
    if not isinstance(error, DBAPIError):
        return (error.orig if isinstance(error, StatementError) else None) or error
    words = str(error.orig).lower()
    for signs, sentence in _SAID:
        if any(sign in words for sign in signs):
            return StoreError(sentence)
    local = isinstance(error.orig, sqlite3.Error)
    if error.connection_invalidated or (isinstance(error, OperationalError) and not local):
        return StoreError(UNREACHABLE)
    return error


def dumps(value: Any) -> str:
    """JSON of plain values; NaN and infinities, which JSON has not, become {"$float": "nan"}."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def loads(content: str) -> Any:
    """What `dumps` was given."""
    return json.loads(content, object_hook=_number)


def plain(words: str) -> str:
    """Text that every database takes: without NUL, and without what UTF-8 cannot encode."""
    return words.replace("\0", "").encode("utf-8", "replace").decode()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _number(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.keys() == {"$float"} else value


def _revision(connection: Connection) -> str | None:
    """The migration a database is at, None for one without our tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", SCRIPTS)
    at = _revision(connection)
    steps = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if at is not None and at not in steps:
        raise StoreError(NEWER)
    command.upgrade(config, "head")


def _harden(engine: Engine, foreign_keys: bool) -> None:
    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _write_ahead(connection: Any) -> None:
    """Turns the write-ahead log on. SQLite does not wait for others here, so we do."""
    until = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)
