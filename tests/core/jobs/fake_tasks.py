"""Tasks for tests of the engine. A worker that is told to preload this file can do them; so can a process that imports
it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.jobs.tasks import TASKS


def _echo(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Says it back, after `seconds` in steps of 20 ms and when the file `until` is there; notes its start, and its end
    if it gets there, in `notes`."""
    _note(request, "start")
    end, gate = time.monotonic() + request.get("seconds", 0.0), Path(request.get("until", "/"))
    looks = 0
    while time.monotonic() < end or not gate.exists():
        looks += 1
        progress("sleeping", 0, 1)
        progress.found({"looks": looks})
        time.sleep(0.02)
    _note(request, "end")
    return {"value": request.get("value"), "process": os.getpid()}


def _die(request: dict[str, Any], progress: Any) -> None:
    """Ends its process without a word, `times` times; later it answers."""
    _note(request, "start")
    if _count(request, "start") <= request.get("times", 10**6):
        os.kill(os.getpid(), signal.SIGKILL)


def _refuse(request: dict[str, Any], progress: Any) -> None:
    raise DataError("These data are sour; bring others.")


def _break(request: dict[str, Any], progress: Any) -> None:
    raise ZeroDivisionError


def _environment(request: dict[str, Any], progress: Any) -> dict[str, str]:
    return dict(os.environ)


def _note(request: dict[str, Any], what: str) -> None:
    if request.get("notes"):
        with Path(request["notes"]).open("a") as file:
            file.write(f"{what} {request.get('value')}\n")


def _count(request: dict[str, Any], what: str) -> int:
    return notes(Path(request["notes"])).count(f"{what} {request.get('value')}")


def notes(path: Path) -> list[str]:
    """What tasks noted so far."""
    return path.read_text().splitlines() if path.exists() else []


TASKS.update(echo=_echo, die=_die, refuse=_refuse, environment=_environment)
TASKS["break"] = _break
