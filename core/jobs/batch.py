"""Requests at work on a scheduler: handed in together, answered in the order they are ready.

A request whose worker dies is done again. Dask blames such a death on everything that waited at that worker; so what it
blames is done again alone, at the end, and only what ends its workers then is given up.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import Cancelled, EngineLost, RankscopeError
from core.jobs.cluster import PATIENCE, Line
from core.jobs.tasks import Request, perform, sentence_of

log = logging.getLogger(__name__)

TICK = 0.2
"""Seconds between looks at whether work was cancelled."""

FETCH = 2.0
"""Seconds in which a finished answer has to arrive; its worker may have died with it, then it is made again."""

STOPPING = 10.0
"""Seconds that requests under way get to notice that they were cancelled."""

DEATHS = 3
"""Workers that a request may end before it is given up. A cluster whose scheduler allows more per trial has its way."""

DEADLY = "This ended every worker that tried it, most likely for want of memory; make it smaller, then retry."


TELLING = 1.0
"""Seconds between two words of a worker about one request, so that a thousand of them do not drown the scheduler."""

Told = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request. key names it. result: plain values, None where there is an error, one sentence.

    seconds  it took its worker, whose address is `worker`; 0 and "" where no worker lived to tell."""

    key: str
    result: Any
    error: str
    seconds: float
    worker: str


class Batch:
    """Requests by key, to be answered once each. run  names them for the scheduler, together with their keys. told  as
    `Engine.results` says."""

    def __init__(
        self,
        line: Line,
        requests: dict[str, Request],
        resources: Mapping[str, float] | None,
        run: str,
        told: Told | None = None,
    ) -> None:
        self._line, self._requests, self._run = line, requests, run
        self._resources = dict(resources) if resources else None
        self._ready: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._told, self._words = told, queue.SimpleQueue[dict[str, Any]]()
        self._pending: dict[str, Any] = {}
        self._tries: dict[str, int] = {}
        self._deaths: dict[str, int] = {}
        self._blamed: list[str] = []

    def answers(self, cancelled: Callable[[], bool]) -> Iterator[Answer]:
        """As `Engine.results` says."""
        from distributed import Event

        stop = Event(f"rankscope-stop-{self._run}", client=self._line.client)
        try:
            stop.clear()
            if self._told is not None:
                self._line.client.subscribe_topic(self._topic, lambda event: self._words.put(event[1]))
            self._submit(self._requests, stop.name)
            while self._pending or self._blamed:
                if cancelled():
                    yield from self._stopped(stop)
                    return
                if not self._pending:
                    self._submit({key: self._requests[key] for key in [self._blamed.pop(0)]}, stop.name)
                self._pass_on()
                yield from self._next()
        except OSError as error:
            raise self._line.lost() from error
        finally:
            self._drop(self._pending)
            if self._told is not None and self._line.client.status == "running":
                self._line.client.unsubscribe_topic(self._topic)

    @property
    def _topic(self) -> str:
        """Under which workers speak of these requests; "" where nobody listens."""
        return f"rankscope-told-{self._run}" if self._told is not None else ""

    def _pass_on(self) -> None:
        """What workers have said since the last time, of requests that are still open."""
        while self._told is not None and not self._words.empty():
            words = self._words.get()
            if words["key"] in self._pending:
                self._told(words["key"], words["told"])

    def _submit(self, requests: dict[str, Request], stop: str) -> None:
        names = [f"rankscope-{self._run}-{key}-{self._tries.get(key, 0)}" for key in requests]
        futures = self._line.client.map(
            work,
            list(requests.values()),
            list(requests),
            key=names,
            stop=stop,
            topic=self._topic,
            resources=self._resources,
        )
        self._pending.update(zip(requests, futures, strict=True))
        for key in requests:
            self._tell(key, self._pending[key])

    def _tell(self, key: str, future: Any) -> None:
        ready = self._ready
        future.add_done_callback(lambda done: ready.put((key, done)))

    def _next(self) -> Iterator[Answer]:
        """The next answer, if one is ready soon."""
        try:
            key, future = self._ready.get(timeout=TICK)
        except queue.Empty:
            self._line.check_alive()
            return
        found = self._found(key, future)
        if found is None:  # its result died with a worker, and is being made again
            self._tell(key, future)
            return
        del self._pending[key]
        future.release()
        if found.get("cancelled"):
            raise EngineLost("Part of this was cancelled from elsewhere; resume the run.")
        if not found.get("again"):
            yield _answer(key, found)
        elif self._deaths.get(key, 0) >= DEATHS:
            yield Answer(key, None, DEADLY, 0.0, "")
        else:
            self._tries[key] = self._tries.get(key, 0) + 1
            self._blamed.append(key)

    def _found(self, key: str, future: Any) -> dict[str, Any] | None:
        """What `work` returned, or as if it had; None if that has to be waited for once more."""
        from distributed import KilledWorker

        if future.status in ("pending", "lost"):
            return None
        if future.status == "finished":
            try:
                return dict(future.result(timeout=FETCH))
            except TimeoutError:
                return None
            except Exception as error:
                raise self._line.lost() from error
        if future.status != "error":  # cancelled: by a scheduler that goes away, or late, by an earlier batch like this
            self._line.check_alive()
            return {"again": True}
        wrong = future.exception(timeout=PATIENCE)
        if isinstance(wrong, KilledWorker):
            self._deaths[key] = self._deaths.get(key, 0) + wrong.allowed_failures + 1
            return {"again": True}
        log.error("a task failed outside its worker", exc_info=wrong)
        return {"error": sentence_of(wrong)}

    def _stopped(self, stop: Any) -> Iterator[Answer]:
        """Tells what runs to stop, waits for that, and gives what was ready by then."""
        stop.set()
        running = {name for names in self._line.client.processing().values() for name in names}
        self._drop({key: future for key, future in self._pending.items() if future.key not in running})
        until = time.monotonic() + STOPPING
        while self._pending and time.monotonic() < until:
            try:
                key, future = self._ready.get(timeout=TICK)
            except queue.Empty:
                self._line.check_alive()
                continue
            found = self._found(key, future) if future.status in ("finished", "error") else None
            del self._pending[key]
            if found and not found.get("cancelled") and not found.get("again"):
                yield _answer(key, found)

    def _drop(self, futures: dict[str, Any]) -> None:
        if futures and self._line.client.status == "running":
            try:
                self._line.client.cancel(list(futures.values()))
            except OSError:
                log.debug("cancelling on a lost connection", exc_info=True)


def work(request: Request, name: str, stop: str, topic: str = "") -> dict[str, Any]:
    """What a worker runs: performs the request unless the event called `stop` is set. What the request causes is not
    raised but told; how far it is, under `topic` and its name."""
    from distributed import Event, get_worker

    event, looked, is_set = Event(stop), 0.0, False
    worker, told, words = get_worker(), 0.0, {}

    def say(**more: Any) -> None:
        nonlocal told
        words.update(more)
        if topic and time.monotonic() - told >= TELLING:
            told = time.monotonic()
            worker.log_event(topic, {"key": name, "told": dict(words)})

    def stopped() -> bool:
        nonlocal looked, is_set
        now = time.monotonic()
        if not is_set and now - looked >= TICK:
            looked, is_set = now, bool(event.is_set())
        return is_set

    found: dict[str, Any] = {"worker": str(worker.address)}
    start = time.perf_counter()
    try:
        found["result"] = perform(
            request, lambda *step: say(step=list(step)), stopped, lambda so_far: say(found=so_far)
        )
    except Cancelled:
        found["cancelled"] = True
    except Exception as error:  # the page shows one sentence; the worker's log has the rest
        if not isinstance(error, RankscopeError | MemoryError):
            log.exception("a task failed")
        found["error"] = sentence_of(error)
    return {**found, "seconds": time.perf_counter() - start}


def _answer(key: str, found: dict[str, Any]) -> Answer:
    return Answer(key, found.get("result"), found.get("error", ""), found.get("seconds", 0.0), found.get("worker", ""))
