"""Reaches a scheduler by its address, and makes sure before any work that it has workers like this process."""

from __future__ import annotations

import logging
import platform
import socket
import struct
import time
import warnings
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from core import __version__
from core.errors import EngineError, EngineLost

log = logging.getLogger(__name__)

VARIABLE = "RANKSCOPE_SCHEDULER"
PORT = 8786
"""Where a scheduler listens if its address names no port: Dask's own default."""

PATIENCE = 10.0
"""Seconds a scheduler may take to answer (chosen)."""

WORKERS_PATIENCE = 30.0
"""Seconds without any worker after which an engine is of no use (chosen: a worker that died is back within five)."""

GREETING = 2**20
"""Bytes that a scheduler's greeting has at most (chosen; it has some hundred)."""

EQUAL = ("dask", "distributed", "torch")
"""Packages whose versions must be the same on all machines; so must Rankscope's own, and Python's first two numbers."""


LOOK = 5.0
"""Seconds between looks at whether there are workers, while no answer comes."""


class Line:
    """A connection to a scheduler, made by `reach`. client: Dask's."""

    def __init__(self, client: Any, address: str) -> None:
        self.client, self.address = client, address
        self._looked = self._seen = time.monotonic()

    def workers(self) -> dict[str, dict[str, Any]]:
        """Every worker by its address, as Dask describes it. EngineLost if the scheduler does not say."""
        try:
            return dict(self.client.scheduler_info(n_workers=-1)["workers"])
        except OSError as error:
            raise self.lost() from error

    def check_alive(self) -> None:
        """EngineLost if the scheduler has gone, or has had no worker for WORKERS_PATIENCE. Cheap: call it often."""
        comm = self.client.scheduler_comm
        if self.client.status != "running" or comm is None or comm.comm.closed():
            raise self.lost()
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        if self.workers():
            self._seen = now
        elif now - self._seen > WORKERS_PATIENCE:
            raise EngineLost(f"The engine at {self.address} has lost all its workers; start some, then resume the run.")

    def lost(self) -> EngineLost:
        """What to raise when it has gone."""
        return EngineLost(f"The engine at {self.address} has gone; resume the run.")

    def close(self) -> None:
        """Lets go of the scheduler, whatever state it is in."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.client.close(timeout=2)
        except Exception:
            log.debug("closing a lost connection", exc_info=True)


def reach(address: str) -> Line:
    """A connection to the scheduler at tcp://host:port or tls://host:port, which has at least one worker.

    EngineError, one sentence, for what is no such address, does not answer, has no workers or runs other versions.
    """
    _knock(address)
    line = Line(_client(address), address)
    try:
        _check_versions("Its scheduler", _scheduler_versions(line.client))
        line.client.wait_for_workers(1, timeout=WORKERS_PATIENCE)
        for worker, found in line.client.run(versions, on_error="return").items():
            _check_versions(f"Its worker {worker}", found)
    except EngineError:
        line.close()
        raise
    except TimeoutError:
        line.close()
        raise EngineError(f"The engine at {address} has no workers; start some, then try again.") from None
    except Exception as error:
        line.close()
        raise EngineError(f"The engine at {address} stopped answering ({type(error).__name__}); try again.") from error
    return line


def versions() -> dict[str, str]:
    """Versions, in the process that calls this, of what must be equal on all machines. Imports none of it."""
    found = {"python": _two(platform.python_version()), "rankscope": __version__}
    for package in EQUAL:
        try:
            found[package] = metadata.version(package).partition("+")[0]
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def _scheduler_versions(client: Any) -> dict[str, str]:
    """Those of Dask alone, as it tells them itself: a scheduler needs no Rankscope."""
    packages = client.get_versions()["scheduler"]["packages"]
    found = {name: str(packages[name]) for name in ("python", "dask", "distributed")}
    return {**found, "python": _two(found["python"])}


def _check_versions(where: str, found: dict[str, str] | BaseException) -> None:
    if isinstance(found, BaseException):
        raise EngineError(
            f"{where} cannot import Rankscope ({type(found).__name__}); install the same version on all machines."
        )
    mine = versions()
    other = [name for name in found if found[name] != mine[name]]
    if other:
        theirs, ours = (", ".join(f"{name} {of[name]}" for name in other) for of in (found, mine))
        raise EngineError(f"{where} has {theirs}, this machine has {ours}; install the same versions on all machines.")


def _client(address: str) -> Any:
    from distributed import Client, Security

    try:
        safe = not address.startswith("tls") or Security().get_connection_args("client")["ssl_context"] is not None
    except Exception as error:  # files that are not there, or no certificates
        raise _stranger(address) from error
    if not safe:  # Dask finds out too, and then waits for twenty seconds when the process ends
        raise EngineError(
            f"{address} needs credentials; say where they are in Dask's settings distributed.comm.tls, then try again."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unequal versions, which are checked here
            return Client(address, timeout=PATIENCE, set_as_default=False, name="rankscope")
    except Exception as error:  # handshakes and TLS settings fail in many ways
        log.info("no connection to %s", address, exc_info=True)
        raise _stranger(address) from error


def _knock(address: str) -> None:
    """A refused connection is known at once, which Dask would try again until its patience ends."""
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port or PORT
    except ValueError:
        scheme, host, port = "", None, 0
    if scheme not in ("tcp", "tls") or not host:
        raise EngineError(f"{VARIABLE} takes tcp://host:port or tls://host:port, not {address!r}; change or unset it.")
    try:
        line = socket.create_connection((host, port), timeout=PATIENCE)
    except OSError:
        raise EngineError(
            f"No scheduler can be reached at {address}; start one there, or unset {VARIABLE} to work on this machine."
        ) from None
    with line:
        if scheme == "tcp" and not _greets(line):
            raise _stranger(address)


def _greets(line: socket.socket) -> bool:
    """Whether the other end begins as Dask does, with the bytes of a short greeting; a client of Dask's would wait for
    that without end."""
    try:
        (nbytes,) = struct.unpack("<Q", line.recv(8, socket.MSG_WAITALL))
        return 0 < int(nbytes) < GREETING
    except (OSError, struct.error):
        return False


def _stranger(address: str) -> EngineError:
    return EngineError(
        f"What listens at {address} is no Dask scheduler, or one with other TLS settings; check {VARIABLE}."
    )


def _two(version: str) -> str:
    return ".".join(version.split(".")[:2])
