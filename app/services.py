"""The only module with Streamlit's caches: surveys by content, jobs, and where files from the browser may lie.

Torch never enters this process. What needs it is a job of the worker pool; what a job made is found again by its key.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import secrets
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import streamlit as st

from app import state, tuning
from app.worker import Job, Pool
from core import journeys
from core.compression.allocate import Allocation, Budget, Rules, allocate
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError
from core.folders import cache_folder
from core.keys import key
from core.networks.demo_files import demo_names

UPLOAD_LIMIT_MB = 64
UPLOADS_MB, EXPORTS_KEPT = 2000, 20
"""Of uploads in all and of exported bundles; the oldest are removed first (chosen)."""

AWAY = 5.0
"""Seconds without a look at a job after which a tab no longer counts as waiting for it."""

LONGEST_NAME = 200
"""Bytes of a file's name; file systems stop at 255."""

LISTED = 2000
"""Entries of the configured folder that are looked at."""

KINDS = (".safetensors", ".pt", ".pth", ".th", ".bin")
DATA_KINDS = (".npz", ".tar", ".gz", ".xz", ".tgz")
DATA_MARKS = ("test", "t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte")
"""A folder that holds one of these is offered as data."""

Json = dict[str, Any]


@st.cache_resource
def pool() -> Pool:
    """The worker pool, one for all sessions."""
    return Pool()


@st.cache_resource
def _surveys() -> dict[str, Survey]:
    """Surveys by model source, made or read in this server's life."""
    return {}


@st.cache_resource
def _results() -> dict[str, Any]:
    """Results of finished jobs by the key of their request; equal requests have equal results."""
    return {}


def demos() -> tuple[str, ...]:
    """Names of the embedded demos."""
    return demo_names()


def survey(source: str, data: str = "", arch: str | None = None) -> Survey | None:
    """The survey of an open model: the calibrated one for `data` if it was made, else that of the weights alone, else
    None. A demo's lies in the project; another model's appears when its job is done. arch as in `submit`."""
    known, start = _surveys(), f"{source}|{_arch(source, arch)}|"
    found = known.get(start + data) or known.get(start)
    if found is None and source in demos() and not _arch(source, arch):
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


def path_of(source: str) -> str:
    """What the worker opens for a model or data source: a demo's name, "digits", or a path that lies inside the upload
    folder or the configured one. InputError, one sentence without a path, otherwise."""
    if source in demos() or source == "digits":
        return source
    kind, _, name = source.partition(":")
    roots = {"upload": uploads(), "folder": models_folder()}
    root = roots.get(kind)
    if root is None or not name:
        raise InputError(f"There is no model or data set called {display_name(source)!r}; choose one under Open model.")
    try:
        path = (root / name).resolve()
        if root.resolve() not in path.parents or not path.exists():
            raise OSError("not inside, or not there")
    except (OSError, ValueError):
        raise InputError(f"{display_name(name)!r} is not there any more; open it again.") from None
    return str(path)


def display_name(source: str) -> str:
    """The last part of a source, fit for a sentence: printable and at most 80 characters."""
    text = "".join(c if c.isprintable() else "?" for c in source.replace("\\", "/").rstrip("/").rpartition("/")[2])
    text = text.partition(":")[2] or text
    return text if len(text) <= 80 else text[:60] + "..." + text[-17:]


def models_folder() -> Path | None:
    """The one folder on the server whose files a browser may open: RANKSCOPE_MODELS; None if it is not set."""
    chosen = os.environ.get("RANKSCOPE_MODELS")
    return Path(chosen) if chosen and Path(chosen).is_dir() else None


def uploads() -> Path:
    """Where uploaded files lie, named by their content."""
    return cache_folder() / "uploads"


def listed(kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    """(source, description with size and format) of every file of these kinds, and every checkpoint or image folder,
    inside the configured folder; of its first `LISTED` entries."""
    root = models_folder()
    if root is None:
        return []
    found = []
    for path in sorted(root.rglob("*"))[:LISTED]:
        if path.is_symlink() or not path.resolve().is_relative_to(root.resolve()):
            continue
        name = path.relative_to(root).as_posix()
        if path.is_file() and path.suffix.lower() in kinds and not path.name.endswith("-ubyte.gz"):
            kind = "safetensors" if path.suffix == ".safetensors" else path.suffix.lower().lstrip(".")
            found.append((f"folder:{name}", f"{name} · {path.stat().st_size / 1e6:,.1f} MB · {kind}"))
        elif path.is_dir() and kinds is KINDS and (path / "model.safetensors.index.json").is_file():
            found.append((f"folder:{name}", f"{name} · sharded checkpoint"))
        elif path.is_dir() and kinds is DATA_KINDS and any((path / mark).exists() for mark in DATA_MARKS):
            found.append((f"folder:{name}", f"{name} · folder"))
    return found


def store_upload(name: str, content: bytes) -> str:
    """Keeps an uploaded file and returns its source. The name is display text: its last part, without what a file
    system may not like. InputError when it cannot be stored."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    shown = display_name(name).replace(":", "?").lstrip(".") or "upload"
    if len(shown.encode()) > LONGEST_NAME:
        shown = "upload" + Path(shown).suffix[:20]
    folder = uploads() / digest
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / shown).exists():
            partial = folder / f".{secrets.token_hex(4)}.partial"
            partial.write_bytes(content)
            partial.replace(folder / shown)
        os.utime(folder)
        _prune(uploads(), UPLOADS_MB * 1e6)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"The file could not be stored on the server ({why}); ask whoever runs it.") from None
    return f"upload:{digest}/{shown}"


def _prune(root: Path, most: float, each: bool = False) -> None:
    """Removes the oldest folders of `root` until at most `most` bytes (each: folders) are left."""
    left = 0.0
    for folder in sorted(root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
        left += 1 if each else sum(path.stat().st_size for path in folder.rglob("*"))
        if left > most:
            shutil.rmtree(folder, ignore_errors=True)


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
    request = _request("export", source, None, {"plan": plan.to_json(), "data": path_of(data) if data else ""})
    known, name = _results(), key(request)
    job = known.get(name)
    gone = job is not None and job.state == "done" and not Path(job.request["out"]).is_dir()
    if job is None or job.state in ("failed", "cancelled") or gone:
        root = cache_folder() / "exports"
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            _prune(root, EXPORTS_KEPT - 1, each=True)
        job = known[name] = pool().submit({**request, "out": str(root / secrets.token_hex(8) / "bundle")})
    return _joined(job)


def bundle_zip(job: Job, name: str) -> bytes:
    """The files of an exported bundle as a zip, under one folder called `name`. OSError if they are gone."""
    folder, made = Path(job.request["out"]), io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in job.result["files"]:
            archive.write(folder / file["name"], f"{name}/{file['name']}")
    return made.getvalue()


def _joined(job: Job) -> Job:
    state.left(job.id, False)
    look(job)
    return job


def _request(do: str, source: str, arch: str | None, arguments: Json) -> Json:
    return {"do": do, "model": path_of(source), "arch": _arch(source, arch), **arguments}


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
    return {"plan": plan.to_json(), "data": path_of(data), "stages": full, "timed": full}


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
    """The key of `dial`: the model, its calibration, locked forms, and which extra family a layer shows."""
    extra = tuple((e.layer, e.form.family) for e in plan.layers if e.form.family not in tuning.MODES[mode])
    held = tuple((name, str(plan.form(name))) for name in locked)
    return key((survey.model, survey.calibration, held, extra))


def solve(survey: Survey, quantity: str, keep: float, method: str, rules: Rules) -> Allocation:
    """The plan an allocator chooses for a kept fraction."""
    return allocate(survey, Budget.keep(survey, keep, quantity), method, rules)
