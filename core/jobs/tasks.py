"""The one table of what a worker can do: a request, plain JSON values with the task's name under "do", to plain values.

The app's worker process (`core.serve`) and the engine's workers both call `perform`, so the two cannot drift apart.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import journeys, layer_functions, layer_measures
from core.compression.plans import Plan
from core.errors import Cancelled, InputError, RankscopeError
from core.networks.demo_files import demo_names, demo_path
from core.networks.tensor_files import INDEX_NAME

if TYPE_CHECKING:
    from core.networks.checkpoints import Opened
    from core.provenance import Measurement
    from core.training.data import Data
    from core.training.recover_spec import EpochLog

Progress = journeys.Progress
Request = dict[str, Any]


class Steps:
    """What a task tells while it is at work: its steps, by being called, and what it has found so far, by `found`.

    Either raises Cancelled once `cancelled()` says so."""

    def __init__(self, progress: Progress | None, cancelled: Callable[[], bool] | None, found: Found | None) -> None:
        self._progress, self._cancelled, self._found = progress, cancelled, found

    def __call__(self, what: str, done: int, of: int) -> None:
        self.check()
        if self._progress is not None:
            self._progress(what, done, of)

    def found(self, so_far: dict[str, Any]) -> None:
        """All that is found so far, plain values."""
        self.check()
        if self._found is not None:
            self._found(so_far)

    def check(self) -> None:
        """Raises Cancelled if it is to stop."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("This was cancelled.")


Found = Callable[[dict[str, Any]], None]
Task = Callable[[Request, Steps], Any]

KEPT = 2
"""Opened models, and opened data, that a worker process keeps: a sweep asks for the same pair again and again."""

KEPT_BYTES = 2**29
"""A model of more bytes on disk is opened anew each time, so that two of them never fill the memory (chosen)."""


def perform(
    request: Request,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    found: Found | None = None,
) -> Any:
    """Does what `request["do"]` names and returns its result, plain values.

    progress hears of every step, found of what there is so far, from tasks that have something to show before the end.
    cancelled is asked before the work and at every step it reports. Raises Cancelled once that says so, InputError for
    a task this version does not know, and whatever the task raises.
    """
    task = TASKS.get(request.get("do", ""))
    if task is None:
        raise InputError(
            f"This version of Rankscope has no task {request.get('do')!r}; use the same version on all machines."
        )
    steps = Steps(progress, cancelled, found)
    steps.check()
    return task(request, steps)


def sentence_of(error: Exception) -> str:
    """What to tell a person of an error in `perform`: one sentence."""
    if isinstance(error, RankscopeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "This needs more memory than is allowed; use a smaller model or fewer data."
    return f"This failed inside Rankscope ({type(error).__name__}); see the log."


def opened_model(request: Request) -> Opened:
    """The network that the request names under "model" and "arch"; the same again while its file stays as it is."""
    source, arch = request["model"], request.get("arch", "")
    demo = source in demo_names()
    stamp, nbytes = _stamp(demo_path(source) if demo else Path(source))
    name = (source, arch, stamp) if stamp and nbytes <= KEPT_BYTES else None
    found: Opened = _kept(_models, name, lambda: journeys.open_network(source, arch))
    return found


def opened_data(request: Request) -> Data:
    """The data that the request names under "data"; the same again while their files stay as they are."""
    from core.training.data import open_data

    source = request["data"]
    stamp, _ = ("digits", 0) if source == "digits" else _stamp(Path(source))
    found: Data = _kept(_data, (source, stamp) if stamp else None, lambda: open_data(source))
    return found


def _survey(request: Request, progress: Steps) -> Any:
    return {"survey": journeys.survey_of(opened_model(request), progress).to_json()}


def _calibrate(request: Request, progress: Steps) -> Any:
    opened, data = opened_model(request), opened_data(request)
    survey = journeys.calibrated_survey(opened, data, request.get("samples", 1000), request.get("seed", 0), progress)
    return {"survey": survey.to_json()}


def _evaluate(request: Request, progress: Steps) -> Any:
    opened, data = opened_model(request), opened_data(request)
    plan = Plan.from_json(request["plan"]) if request.get("plan") else None
    limit, seed = request.get("limit"), request.get("seed", 0)
    same = (opened.ref.digest, opened.arch, data.ref.digest, limit, seed)
    stages, timed = request.get("stages", False), request.get("timed", False)
    found = journeys.evaluate(opened, data, plan, limit, seed, stages, timed, progress, _dense.get(same))
    _dense[same] = found.dense
    return journeys.as_dict(found)


def _time_layer(request: Request, progress: Steps) -> Any:
    found = layer_measures.time_layer(opened_model(request), request["layer"], request["family"], progress=progress)
    return {**asdict(found), "noise": found.noise, "measured": found.measured}


def _iso_budget(request: Request, progress: Steps) -> Any:
    asked = {name: request[name] for name in ("layer", "quantity", "keep")}
    return asdict(layer_measures.iso_budget_curve(opened_model(request), **asked, progress=progress))


def _sensitivity(request: Request, progress: Steps) -> Any:
    names = ("layer", "families", "candidates", "samples", "seed", "fit")
    asked = {name: request[name] for name in names}
    found = layer_measures.layer_sensitivity(opened_model(request), opened_data(request), **asked, progress=progress)
    return {"found": [asdict(entry) for entry in found]}


def _function_curves(request: Request, progress: Steps) -> Any:
    asked = {name: request[name] for name in ("layer", "objective")}
    return asdict(layer_functions.function_curves(opened_model(request), **asked, progress=progress))


def _network_start(request: Request, progress: Steps) -> Any:
    asked = {name: request[name] for name in ("fraction", "method", "scale")}
    return layer_functions.network_start(opened_model(request), **asked)


def _joint_damage(request: Request, progress: Steps) -> Any:
    asked = {name: request[name] for name in ("samples", "seed", "fit")}
    plan = Plan.from_json(request["plan"])
    return {"joint": layer_measures.plan_damage(opened_model(request), opened_data(request), plan, **asked)}


def _recover(request: Request, progress: Steps) -> Any:
    from core import recovery
    from core.training.recover_spec import RecoverSpec

    plan, spec = Plan.from_json(request["plan"]), RecoverSpec(**request["training"])
    folder = Path(request["out"]) if request.get("out") else None
    opened, data = opened_model(request), opened_data(request)
    curve: list[dict[str, Any]] = []

    def told(log: EpochLog) -> None:
        curve.append(asdict(log))
        progress.found({"curve": list(curve)})

    limit, timed = request.get("limit"), request.get("timed", False)
    return recovery.as_dict(recovery.recover_plan(opened, plan, data, spec, limit, folder, timed, progress, told))


def _export(request: Request, progress: Steps) -> Any:
    opened = opened_model(request)
    data = opened_data(request) if request.get("data") else None
    plan, folder = Plan.from_json(request["plan"]), Path(request["out"])
    return asdict(journeys.export(opened, plan, data, folder, request.get("limit"), progress))


TASKS: dict[str, Task] = {
    "survey": _survey,
    "calibrate": _calibrate,
    "evaluate": _evaluate,
    "time_layer": _time_layer,
    "iso_budget": _iso_budget,
    "recover": _recover,
    "sensitivity": _sensitivity,
    "joint_damage": _joint_damage,
    "function_curves": _function_curves,
    "network_start": _network_start,
    "export": _export,
}

_dense: dict[Hashable, Measurement] = {}
"""Accuracy of dense networks that this process has measured, by network, data, limit and seed: a sweep's points share
it."""

_models: OrderedDict[Hashable, Any] = OrderedDict()
_data: OrderedDict[Hashable, Any] = OrderedDict()


def _kept(shelf: OrderedDict[Hashable, Any], name: Hashable, make: Callable[[], Any]) -> Any:
    """What the shelf has under that name, else made; None for a name is never kept. Room is made before making."""
    if name is None:
        return make()
    if name not in shelf:
        while len(shelf) >= KEPT:
            shelf.popitem(last=False)
        shelf[name] = make()
    shelf.move_to_end(name)
    return shelf[name]


def _stamp(path: Path) -> tuple[Hashable, int]:
    """What changes when the file or folder there does, and its bytes; (None, 0) if it cannot be looked at."""
    try:
        whole = path.parent if path.name == INDEX_NAME else path
        files = tuple(sorted(_files(str(whole))))
    except OSError:
        return None, 0
    return (str(path.resolve()), files), sum(size for _, size, *_ in files)


def _files(path: str) -> Iterator[tuple[str, int, int, int]]:
    """(path, bytes, time of change of content, of inode) of a file, or of every file in a folder."""
    if os.path.isdir(path):
        for entry in os.scandir(path):
            yield from _files(entry.path)
    else:
        found = os.stat(path)
        yield path, found.st_size, found.st_mtime_ns, found.st_ctime_ns
