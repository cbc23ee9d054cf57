"""The app's worker process: one JSON request a line on standard input, JSON lines as answers on standard output.

    request   {"id": "...", "do": "survey" | "calibrate" | "evaluate" | "export" | "stop", ...arguments}
    answers   {"id", "progress": [what, done, of]}  any number of times, at most ten a second
              {"id", "result": ...}  or  {"id", "error": "one sentence"}  exactly once

A line that is no request is logged and passed over. The user's own code (`--model`) cannot be asked for here.
Torch lives here and not in the page's process. Cancelling is ending this process; the app starts another.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core import journeys
from core.compression.plans import Plan
from core.errors import RankscopeError

log = logging.getLogger(__name__)

MEMORY_BYTES = 8 * 2**30
"""Most memory this process may map (chosen: a third of the smallest machine this was tried on)."""


def main(lines: Any = None, out: Any = None) -> None:
    """Serves until end of input or a "stop" request. Nothing but answers goes to `out`."""
    out = out or sys.stdout
    sys.stdout = sys.stderr
    _limit_memory()
    _warm()
    for line in lines or sys.stdin:
        request = _request(line)
        if request is None:
            continue
        if request["do"] == "stop":
            return
        _answer(request, lambda message: _send(out, message))


def _request(line: str) -> dict[str, Any] | None:
    """The request of a line, None for anything else."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and "id" in content and content.get("do") in (*_JOBS, "stop"):
        return content
    log.warning("not a request: %.100r", line)
    return None


def _answer(request: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    last = [0.0]

    def progress(what: str, done: int, of: int) -> None:
        now = time.monotonic()
        if now - last[0] > 0.1:
            last[0] = now
            send({"id": request["id"], "progress": [what, done, of]})

    try:
        send({"id": request["id"], "result": _JOBS[request["do"]](request, progress)})
    except RankscopeError as error:
        send({"id": request["id"], "error": str(error)})
    except MemoryError:
        sentence = "This needs more memory than is allowed; use a smaller model or fewer data."
        send({"id": request["id"], "error": sentence})
    except Exception as error:  # the app shows one sentence; the log has the rest
        log.exception("job %s failed", request["id"])
        send({"id": request["id"], "error": f"This failed inside Rankscope ({type(error).__name__}); see the log."})


def _survey(request: dict[str, Any], progress: journeys.Progress) -> Any:
    opened = journeys.open_network(request["model"], request.get("arch", ""))
    return {"survey": journeys.survey_of(opened, progress).to_json()}


def _calibrate(request: dict[str, Any], progress: journeys.Progress) -> Any:
    from core.training.data import open_data

    opened = journeys.open_network(request["model"], request.get("arch", ""))
    data = open_data(request["data"])
    survey = journeys.calibrated_survey(opened, data, request.get("samples", 1000), request.get("seed", 0), progress)
    return {"survey": survey.to_json()}


def _evaluate(request: dict[str, Any], progress: journeys.Progress) -> Any:
    from core.training.data import open_data

    opened = journeys.open_network(request["model"], request.get("arch", ""))
    plan = Plan.from_json(request["plan"]) if request.get("plan") else None
    found = journeys.evaluate(
        opened,
        open_data(request["data"]),
        plan,
        request.get("limit"),
        request.get("seed", 0),
        request.get("stages", False),
        request.get("timed", False),
        progress,
    )
    return journeys.as_dict(found)


def _export(request: dict[str, Any], progress: journeys.Progress) -> Any:
    from core.training.data import open_data

    opened = journeys.open_network(request["model"], request.get("arch", ""))
    data = open_data(request["data"]) if request.get("data") else None
    check = journeys.export(
        opened, Plan.from_json(request["plan"]), data, Path(request["out"]), request.get("limit"), progress
    )
    return asdict(check)


_JOBS: dict[str, Callable[[dict[str, Any], journeys.Progress], Any]] = {
    "survey": _survey,
    "calibrate": _calibrate,
    "evaluate": _evaluate,
    "export": _export,
}


def _send(out: Any, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    except (ImportError, ValueError, OSError):
        log.warning("no memory limit on this system")


def _warm() -> None:
    """Imports what every job needs, so that the first one does not wait for it."""
    import torch

    import core.compression.fitting
    import core.compression.surveying  # noqa: F401

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))  # one core belongs to the interface
