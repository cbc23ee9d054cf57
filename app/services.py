"""The only module with Streamlit's caches: surveys by content, and jobs.

Torch never enters this process. What needs it is a job of the worker pool; what a job made is found again by its key.
"""

from __future__ import annotations

import contextlib
import io
import math
import secrets
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import sources, state, tuning
from app.worker import Job, Pool
from core import journeys
from core.compression.allocate import Allocation, Budget, Rules, allocate
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError
from core.folders import cache_folder
from core.keys import key

EXPORTS_KEPT = 20
"""Exported bundles; the oldest are removed first (chosen)."""

AWAY = 5.0
"""Seconds without a look at a job after which a tab no longer counts as waiting for it."""

if TYPE_CHECKING:
    from core.jobs.additivities import AdditivitySpec
    from core.jobs.records import Point, Run
    from core.jobs.recoveries import RecoverySpec
    from core.jobs.sensitivities import SensitivitySpec
    from core.jobs.store import Store
    from core.jobs.sweeps import SweepSpec

Json = dict[str, Any]


@st.cache_resource
def pool() -> Pool:
    """The worker pool, one for all sessions."""
    return Pool()


@st.cache_resource
def store() -> Store:
    """The database of runs, one for all sessions. StoreError, one sentence, if it cannot be opened; then it is tried
    again at the next call."""
    from core.jobs.store import Store

    return Store.open()


@st.cache_resource
def _surveys() -> dict[str, Survey]:
    """Surveys by model source, made or read in this server's life."""
    return {}


@st.cache_resource
def _results() -> dict[str, Any]:
    """Results of finished jobs by the key of their request; equal requests have equal results."""
    return {}


def survey(source: str, data: str = "", arch: str | None = None) -> Survey | None:
    """The survey of an open model: the calibrated one for `data` if it was made, else that of the weights alone, else
    None. A demo's lies in the project; another model's appears when its job is done. arch as in `submit`."""
    known, start = _surveys(), f"{source}|{_arch(source, arch)}|"
    found = known.get(start + data) or known.get(start)
    if found is None and source in sources.demos() and not _arch(source, arch):
        with contextlib.suppress(InputError):  # it is made by a job then, as for any other model
            found = known[start] = journeys.demo_survey(source)
    return found


def learn(source: str, text: str, data: str = "", arch: str | None = None) -> Survey:
    """Takes in the survey a job has made."""
    made = Survey.from_json(text)
    _surveys()[f"{source}|{_arch(source, arch)}|{data}"] = made
    return made


def _arch(source: str, arch: str | None) -> str:
    """The network to build for a source: as given, else as chosen for the model that is open."""
    if arch is not None:
        return arch
    now = state.get()
    return now.arch if now.model == source else ""


def submit(do: str, source: str, arch: str | None = None, **arguments: Any) -> Job:
    """A job on a model; an equal request that is done or under way is not made again. arch: the network to build, ""
    to recognise it, None for what was chosen for the model that is open."""
    request = _request(do, source, arch, arguments)
    known, name = _results(), key(request)
    job = known.get(name)
    if job is None or job.state in ("failed", "cancelled"):
        job = known[name] = pool().submit(request)
    return _joined(job)


def export(source: str, plan: Plan, data: str) -> Job:
    """The job that writes, reads back and checks a bundle in a folder of its own; data "" measures and repairs nothing.
    An equal one that is there or under way is not made again."""
    request = _request("export", source, None, {"plan": plan.to_json(), "data": sources.path_of(data) if data else ""})
    known, name = _results(), key(request)
    job = known.get(name)
    gone = job is not None and job.state == "done" and not Path(job.request["out"]).is_dir()
    if job is None or job.state in ("failed", "cancelled") or gone:
        root = cache_folder() / "exports"
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            sources.prune(root, EXPORTS_KEPT - 1, each=True)
        job = known[name] = pool().submit({**request, "out": str(root / secrets.token_hex(8) / "bundle")})
    return _joined(job)


def bundle_zip(folder: Path, files: Sequence[Json], name: str) -> bytes:
    """The files of an exported bundle as a zip, under one folder called `name`. OSError if they are gone."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(folder / file["name"], f"{name}/{file['name']}")
    return made.getvalue()


def _joined(job: Job) -> Job:
    state.left(job.id, False)
    look(job)
    return job


def _request(do: str, source: str, arch: str | None, arguments: Json) -> Json:
    return {"do": do, "model": sources.path_of(source), "arch": _arch(source, arch), **arguments}


def look(job: Job) -> None:
    """Says that this tab waits for a job."""
    job.watchers[state.tab()] = time.monotonic()


def cancel(id: str) -> None:
    """This tab waits no more: ends the job, or only leaves it when another tab is waiting too."""
    found = job(id)
    if found is None:
        return
    found.watchers.pop(state.tab(), None)
    if any(time.monotonic() - seen < AWAY for seen in found.watchers.values()):
        state.left(id, True)
    else:
        pool().cancel(id)


def withdraw(id: str) -> None:
    """Takes back a job that has not begun; one that runs is left to finish."""
    found = job(id)
    if found is not None and found.state == "queued":
        pool().cancel(id)


def job(id: str) -> Job | None:
    """A job by its id, None if this server does not know it."""
    return pool().job(id) if id else None


def fits_digits(survey: Survey) -> bool:
    """Whether the digits (1 × 8 × 8, ten classes) can be put through a network."""
    return math.prod(survey.input_shape) == 64 and survey.num_classes in (0, 10)


def evaluation_request(plan: Plan, data: str, full: bool) -> Json:
    """Arguments of the job that measures a plan; `full` also measures after every repair step and times it."""
    return {"plan": plan.to_json(), "data": sources.path_of(data), "stages": full, "timed": full}


def evaluation(source: str, plan: Plan, data: str) -> Json | None:
    """What was measured of a plan, the fuller one if both were; None if nothing was."""
    for full in (True, False):
        try:
            request = _request("evaluate", source, None, evaluation_request(plan, data, full))
        except InputError:
            return None
        found = _results().get(key(request))
        if found is not None and found.state == "done":
            return found.result  # type: ignore[no-any-return]
    return None


@st.cache_data(max_entries=64, show_spinner=False)
def dial(_survey: Survey, _plan: Plan, name: str, quantity: str, mode: str, locked: tuple[str, ...]) -> Json:
    """`tuning.dial_path`, kept by what it depends on; `name` stands for the survey and the forms of locked layers."""
    return tuning.dial_path(_survey, quantity, mode, _plan, locked)


def dial_name(survey: Survey, plan: Plan, mode: str, locked: tuple[str, ...]) -> str:
    """The key of `dial`: the model as it is read here, its calibration, locked forms, and which extra family a layer
    shows."""
    extra = tuple((e.layer, e.form.family) for e in plan.layers if e.form.family not in tuning.MODES[mode])
    held = tuple((name, str(plan.form(name))) for name in locked)
    layers = tuple((view.name, view.kind) for view in survey.views)
    return key((survey.model, survey.arch, layers, survey.calibration, held, extra))


def solve(survey: Survey, quantity: str, keep: float, method: str, rules: Rules) -> Allocation:
    """The plan an allocator chooses for a kept fraction."""
    return allocate(survey, Budget.keep(survey, keep, quantity), method, rules)


def subject(survey: Survey) -> Json:
    """What every run's specification says of the model and data that are open."""
    now = state.get()
    return {
        "model": sources.path_of(now.model),
        "name": survey.model.name,
        "digest": survey.model.digest,
        "arch": now.arch,
        "data": sources.path_of(now.data),
    }


def start(spec: SweepSpec) -> Run:
    """A sweep in the database and a process of its own that drives it; one that is there already goes on where it was.
    InputError, one sentence, for one that cannot be run."""
    from core.jobs import sweeps

    return _started(sweeps.sweep_run(spec))


def recover(spec: RecoverySpec) -> Run:
    """A training of a plan as a run, with its driver started; see `start`."""
    from core.jobs import recoveries

    run, points = recoveries.recovery_run(replace(spec, out=str(cache_folder() / "recovered")))
    return _started(run, points)


def sensitivity(spec: SensitivitySpec) -> Run:
    """A measurement of every layer alone as a run, with its driver started; see `start`."""
    from core.jobs import sensitivities

    return _started(*sensitivities.sensitivity_run(spec))


def sensitivity_known(survey: Survey) -> Run | None:
    """The newest finished run that measured the damage of this model's layers on this data."""
    from core.jobs.sensitivities import KIND

    return next((run for run in runs_of(survey, KIND) if run.state == "done"), None)


def additivity(spec: AdditivitySpec) -> Run:
    """A measurement of plans' joint damage as a run, with its driver started; see `start`."""
    from core.jobs import additivities

    return _started(*additivities.additivity_run(spec))


def _started(run: Run, points: Sequence[tuple[str, Json]] = ()) -> Run:
    """The run in the database, ready, with its driver started."""
    from core.jobs import launch

    made = store().add_run(run, points)
    if made.going:
        launch.launch(made.id)
    else:
        resume(made.id)
    return made


def resume(id: str, failed: bool = False) -> None:
    """Goes on with an interrupted, cancelled or failed run; failed points are tried again if so asked."""
    from core.jobs import launch

    if failed:
        store().retry_failed(id)
    store().queue(id)
    launch.launch(id)


def runs(digest: str = "", data: str = "") -> list[Run]:
    """Runs in the database, newest first; of a model by its digest, on a data source as jobs know it."""
    found = store().runs()
    return [run for run in found if (not digest or run.digest == digest) and (not data or run.spec.get("data") == data)]


def runs_of(survey: Survey, *kinds: str) -> list[Run]:
    """Runs of these kinds on the model and data that are open, newest first."""
    found = runs(survey.model.digest, sources.path_of(state.get().data))
    return [run for run in found if run.kind in kinds]


def run_points(ids: Sequence[str]) -> list[Point]:
    """The points of these runs, in their order."""
    return [point for id in ids for point in store().points(id)]
