"""Works off requests on dask.distributed: on this machine by default, on a cluster by its address, by the same code."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from core.errors import EngineError
from core.jobs import cluster, local
from core.jobs.batch import Answer, Batch, Told
from core.jobs.tasks import Request

log = logging.getLogger(__name__)


def connect(address: str = "") -> Engine:
    """The engine at that address, else at RANKSCOPE_SCHEDULER, else on this machine, started if need be.

    address  tcp://host:port, or tls://host:port with Dask's usual TLS settings. EngineError, one sentence, for one that
    is no such address, does not answer, has no workers, or runs other versions.
    """
    wanted = address or os.environ.get(cluster.VARIABLE, "")
    if wanted:
        return Engine(cluster.reach(wanted))
    first = local.join()
    try:
        return Engine(cluster.reach(first))
    except EngineError:  # it was just ending
        log.info("the engine at %s is gone, starting another", first)
    return Engine(cluster.reach(local.join(without=first)))


class Engine:
    """A connection to a scheduler that has workers; made by `connect`."""

    def __init__(self, line: cluster.Line) -> None:
        self._line = line

    @property
    def address(self) -> str:
        """Of its scheduler."""
        return self._line.address

    @property
    def workers(self) -> list[str]:
        """Addresses of the workers it has now. EngineLost if it has gone."""
        return sorted(self._line.workers())

    def results(
        self,
        requests: Sequence[tuple[str, Request]],
        cancelled: Callable[[], bool] = lambda: False,
        resources: Mapping[str, float] | None = None,
        run: str = "",
        told: Told | None = None,
    ) -> Iterator[Answer]:
        """Answers to (key, request) in the order they are ready, one for every key. `run` and key name the task for the
        whole engine: the same one asked twice is worked off once.

        Once `cancelled()`, what waits is dropped at once, what is under way is told to stop, and what was ready by then
        is still given. resources  what a worker must offer, such as {"GPU": 1}; EngineError at once if none does.
        told  hears, for a key, what its worker last said of it: {"step": [what, done, of], "found": ...}, about once a
        second. Raises EngineLost when the engine has gone; what was not answered can be asked again of another.
        """
        for what, amount in (resources or {}).items():
            if not any(worker.get("resources", {}).get(what, 0) >= amount for worker in self._line.workers().values()):
                raise EngineError(
                    f"No worker of the engine offers {what}={amount:g}; start one with --resources {what}={amount:g}, "
                    "or do without."
                )
        yield from Batch(self._line, dict(requests), resources, run, told).answers(cancelled)

    def close(self) -> None:
        """Lets go of the scheduler. The engine of this machine ends by itself when idle."""
        self._line.close()
