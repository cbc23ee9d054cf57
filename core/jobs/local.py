"""The engine on this machine: a scheduler and its workers as processes of their own, on loopback only.

Drivers find it through a record in the cache folder and share it; it ends by itself once nobody has asked anything of
it for a while. Never start it inside a Streamlit script, which the workers would import again: only drivers and the
command line call this.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import __version__
from core.errors import EngineError
from core.folders import cache_folder
from core.keys import key

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"

IDLE = 60.0
"""Seconds without work after which the engine ends, unless RANKSCOPE_IDLE says otherwise (chosen)."""

DEATH = 30.0
"""Seconds after which a worker that finds no scheduler ends (chosen, several times what a scheduler takes to start)."""

PATIENCE = 60.0
"""Seconds that starting may take before it counts as failed (chosen for a busy machine)."""

MOST_WORKERS = 8

SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",  # `Engine` counts, and finds out which task was to blame
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",  # nothing is served to browsers
    "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",  # its sampling would disturb what is timed
}

_children: list[subprocess.Popen[bytes]] = []
"""What this process started, kept so that it can be reaped."""


def join(workers: int = 0, without: str = "") -> str:
    """The address of the engine of this machine, tcp://127.0.0.1:port; starts one if none runs.

    workers  processes, when one is started; 0 for RANKSCOPE_WORKERS, else all cores but one. without  an address that
    was found dead. Two processes that join at once share one engine. EngineError if it cannot be started.
    """
    from filelock import FileLock, Timeout

    try:
        folder = cache_folder() / "engine"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{_name()}.lock", timeout=2 * PATIENCE):
            known = _record(folder)
            if known is not None and known["address"] != without and _alive(known):
                return str(known["address"])
            return _start(folder, workers or _workers())
    except OSError as error:
        words = error.strerror or type(error).__name__
        raise EngineError(
            f"The engine keeps its address in the cache folder, which cannot be used ({words}); set RANKSCOPE_CACHE."
        ) from error
    except Timeout:
        raise EngineError("Another process is starting the engine and does not finish; try again.") from None


def idle_seconds() -> float:
    """Seconds without work after which the engine ends: RANKSCOPE_IDLE if that is a positive number, else IDLE."""
    return _positive("RANKSCOPE_IDLE") or IDLE


def gpus() -> list[str]:
    """Devices that CUDA would see here, as it names them; [] without any. Asks no driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [word.strip() for word in visible.split(",") if word.strip() not in ("", "-1")]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def commands(file: Path, workers: int, space: Path) -> list[tuple[dict[str, str], list[str]]]:
    """(environment, command line) of the scheduler, of the workers, and of one more worker for every GPU.

    Three arguments keep all sockets on loopback: the host, the scheduler's web address and each worker's.
    """
    from distributed.system import MEMORY_LIMIT

    loopback = ["--host", LOOPBACK, "--dashboard-address", f"{LOOPBACK}:0", "--scheduler-file", str(file)]
    devices = gpus()
    memory = int(0.9 * (MEMORY_LIMIT or 0) / (workers + len(devices)))  # 0: unknown, so unlimited
    work = [
        *("--nthreads", "1", "--memory-limit", str(memory)),
        *("--death-timeout", f"{DEATH}s", "--local-directory", str(space)),
    ]
    serve = ["--port", "0", "--idle-timeout", f"{idle_seconds()}s"]
    plain = {"CUDA_VISIBLE_DEVICES": ""} if devices else {}
    made = [
        ({}, _command("scheduler", *loopback, *serve)),
        (plain, _command("worker", *loopback, *work, "--nworkers", str(workers))),
    ]
    for device in devices:
        offer = ["--nworkers", "1", "--resources", "GPU=1"]
        made.append(({"CUDA_VISIBLE_DEVICES": device}, _command("worker", *loopback, *work, *offer)))
    return made


def _command(what: str, *words: str) -> list[str]:
    return [sys.executable, "-m", f"distributed.cli.dask_{what}", *words]


def _start(folder: Path, workers: int) -> str:
    """Starts everything at once; the workers wait for the scheduler's file."""
    file = folder / f"{_name()}.scheduler"
    file.unlink(missing_ok=True)
    logs = cache_folder() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / "engine.log").open("wb") as output:
        made = [_spawn(command, extra, output) for extra, command in commands(file, workers, folder / "space")]
    _children.extend(made)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and all(child.poll() is None for child in made):
        address = _address(file)
        if address:
            _write(folder, {"address": address, "processes": [[child.pid, _born(child.pid)] for child in made]})
            log.info("engine started at %s with %d workers", address, workers)
            return address
        time.sleep(0.02)
    for child in made:
        child.kill()
        child.wait()
    raise EngineError("The engine could not be started; engine.log in the folder logs of the cache folder says why.")


def _spawn(command: Sequence[str], extra: dict[str, str], output: Any) -> subprocess.Popen[bytes]:
    _reap()
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    environment = {**SETTINGS, **os.environ, **extra, "PYTHONPATH": paths}
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        env=environment,
    )
    polite(child.pid)
    return child


def polite(pid: int) -> None:
    """The interface comes first on a small machine; what the process starts later inherits this."""
    if hasattr(os, "setpriority"):
        try:
            os.setpriority(os.PRIO_PROCESS, pid, 5)
        except OSError:
            log.debug("process %d keeps its priority", pid)


def _name() -> str:
    """Another installation or version must not meet this one's workers."""
    return "engine-" + key([sys.executable, str(ROOT), __version__])[:8]


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / f"{_name()}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and {"address", "processes"} <= set(content) else None


def _write(folder: Path, content: dict[str, Any]) -> None:
    path = folder / f"{_name()}.json"
    path.with_suffix(".new").write_text(json.dumps(content), encoding="utf-8")
    path.with_suffix(".new").replace(path)


def _alive(known: dict[str, Any]) -> bool:
    """Whether all processes of a record are. A number that another process has by now does not count: each was noted
    with its time of birth."""
    import psutil

    _reap()
    try:
        found = [(psutil.Process(pid), born) for pid, born in known["processes"]]
        return all(abs(p.create_time() - born) < 0.1 and p.status() != psutil.STATUS_ZOMBIE for p, born in found)
    except psutil.Error:
        return False


def _born(pid: int) -> float:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def _address(file: Path) -> str:
    """What the scheduler wrote of itself; "" while it is not there or not whole."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError):
        return ""


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def _workers() -> int:
    from dask.system import CPU_COUNT

    return int(_positive("RANKSCOPE_WORKERS")) or max(1, min(MOST_WORKERS, CPU_COUNT - 1))


def _positive(variable: str) -> float:
    """The number in an environment variable; 0 for none, or for what is no positive number."""
    try:
        value = float(os.environ.get(variable, ""))
    except ValueError:
        return 0.0
    return value if 0.0 < value < float("inf") else 0.0
