"""A PostgreSQL server of this test run alone: on loopback, in a folder that goes away with it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OWNER = "rankscope"


def obstacle() -> str:
    """Why no server can be started here, "" if it can."""
    missing = [name for name in ("initdb", "postgres") if shutil.which(name) is None]
    if missing:
        return f"PostgreSQL's {' and '.join(missing)} are not on the path"
    return "" if importlib.util.find_spec("psycopg") else "no package psycopg"


def unprivileged() -> dict[str, Any]:
    """What makes subprocess start a program as nobody where this is root, as which the server refuses to run."""
    return {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def server() -> Iterator[str]:
    """Address of a running server without a database of ours: postgresql+psycopg://rankscope@127.0.0.1:port/"""
    folder = Path(tempfile.mkdtemp(prefix="rankscope-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        make = ["initdb", "-D", "data", "-U", OWNER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(make, cwd=folder, check=True, capture_output=True, timeout=120, **unprivileged())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        serve = ["postgres", "-D", "data", *(f"--{name}={value}" for name, value in settings.items())]
        with (folder / "log").open("wb") as log:
            running = subprocess.Popen(
                serve, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **unprivileged()
            )
        try:
            _wait(running, port, folder / "log")
            yield f"postgresql+psycopg://{OWNER}@127.0.0.1:{port}/"
        finally:
            running.send_signal(signal.SIGINT)
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database(address: str, name: str) -> Iterator[str]:
    """URL of a new empty database of that server; it is dropped afterwards, whoever still uses it."""
    _execute(address, f'CREATE DATABASE "{name}"')
    try:
        yield f"{address}{name}"
    finally:
        _execute(address, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(address: str, command: str) -> None:
    import psycopg

    with psycopg.connect(f"{address.replace('+psycopg', '')}postgres", autocommit=True) as connection:
        connection.execute(command.encode())


def _wait(running: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import psycopg

    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(f"postgresql://{OWNER}@127.0.0.1:{port}/postgres", connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if running.poll() is not None or time.monotonic() > until:
                raise RuntimeError(log.read_text(errors="replace")) from None
            time.sleep(0.1)
