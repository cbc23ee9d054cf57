"""The app's worker process: one JSON request a line on standard input, JSON lines as answers on standard output.

    request   {"id": "...", "do": a task of `core.jobs.tasks` | "stop", ...arguments}
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
from typing import Any

from core.errors import RankscopeError
from core.jobs.tasks import TASKS, perform, sentence_of

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
    if isinstance(content, dict) and "id" in content and content.get("do") in (*TASKS, "stop"):
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
        send({"id": request["id"], "result": perform(request, progress)})
    except Exception as error:  # the app shows one sentence; the log has the rest
        if not isinstance(error, RankscopeError | MemoryError):
            log.exception("job %s failed", request["id"])
        send({"id": request["id"], "error": sentence_of(error)})


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
