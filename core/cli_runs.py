"""The commands of runs: start a sweep, list, show, resume and cancel, and the driver's own."""

from __future__ import annotations

import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from core.console import ArchOption, JsonOption, Model, err, out, print_json, progress_bar, write_text
from core.errors import InputError

if TYPE_CHECKING:
    from core.jobs.records import Run
    from core.jobs.store import Store

Id = Annotated[str, typer.Argument(metavar="ID", help="of a run, or the beginning of it; `runs` lists them")]
DetachOption = Annotated[bool, typer.Option("--detach", help="start it, print its id and leave it to itself")]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.command()(sweep)
    app.command()(sensitivity)
    app.command("runs")(list_runs)
    app.command("run")(show_run)
    app.command()(resume)
    app.command()(cancel)
    app.command(hidden=True)(drive)


def sweep(
    model: Model,
    data: Annotated[str, typer.Option("--data", help="digits, or a path to data")],
    keep: Annotated[str, typer.Option(help="fractions of the dense cost to keep, such as .3,.5,.75")] = "",
    method: Annotated[str, typer.Option(help="allocators, comma-separated: greedy, exact, uniform")] = "greedy",
    quantity: Annotated[str, typer.Option(help="params, macs or bytes")] = "macs",
    families: Annotated[str, typer.Option(help="sets of forms, comma-separated")] = "factored",
    repair: Annotated[str, typer.Option(help="repairs, comma-separated: none, whitened, full")] = "full",
    seeds: Annotated[str, typer.Option(help="seeds of the draw of examples, comma-separated")] = "0",
    limit: Annotated[int | None, typer.Option(min=1, help="test examples to use; all by default")] = None,
    samples: Annotated[int, typer.Option(min=1, help="training inputs to calibrate on, no labels")] = 1000,
    timed: Annotated[bool, typer.Option("--latency", help="also time every plan against the dense network")] = False,
    floor: Annotated[float, typer.Option(min=0.0, max=1.0, help="least share of its cost that any layer keeps")] = 0.0,
    measured: Annotated[str, typer.Option("--sensitivity", help="allocate by the damages this run measured")] = "",
    arch: ArchOption = "",
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure every plan of a sweep over budgets, allocators, forms, repairs and seeds; kept in the database."""
    from core import journeys
    from core.jobs.store import Store
    from core.jobs.sweeps import KEEPS, SweepSpec, sweep_run

    opened, store = journeys.open_network(model, arch), Store.open()
    spec = SweepSpec(
        model=_lasting(model, opened.ref.source == "demo"),
        name=opened.ref.name,
        digest=opened.ref.digest,
        data=_lasting(data, data == "digits"),
        arch=arch,
        quantity=quantity,
        keeps=_numbers("--keep", keep) if keep else KEEPS,
        methods=_words(method),
        families=_words(families),
        repairs=_words(repair),
        seeds=tuple(int(seed) for seed in _numbers("--seeds", seeds, whole=True)),
        limit=limit,
        samples=samples,
        timed=timed,
        floors={view.name: floor for view in journeys.survey_of(opened).views} if floor else {},
        sensitivity=_found(store, measured).id if measured else "",
    )
    _start(store.add_run(sweep_run(spec)), store, detach, as_json)


def sensitivity(
    model: Model,
    data: Annotated[str, typer.Option("--data", help="digits, or a path to data")],
    families: Annotated[str, typer.Option(help="forms, comma-separated, such as lowrank,sparse")] = "lowrank",
    candidates: Annotated[int, typer.Option(min=1, help="levels of each layer")] = 10,
    samples: Annotated[int, typer.Option(min=1, help="training examples to measure on")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="of the draw of examples")] = 0,
    arch: ArchOption = "",
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what each layer, compressed alone, costs the network; `sweep --sensitivity` allocates by it."""
    from core import journeys
    from core.jobs.sensitivities import SensitivitySpec, sensitivity_run
    from core.jobs.store import Store

    opened = journeys.open_network(model, arch)
    survey = journeys.survey_of(opened)
    spec = SensitivitySpec(
        model=_lasting(model, opened.ref.source == "demo"),
        name=opened.ref.name,
        digest=opened.ref.digest,
        data=_lasting(data, data == "digits"),
        layers=tuple(layer.view.name for layer in survey.layers if not layer.obstacle),
        families=_words(families),
        candidates=candidates,
        samples=samples,
        seed=seed,
        arch=arch,
    )
    store = Store.open()
    run, points = sensitivity_run(spec)
    _start(store.add_run(run, points), store, detach, as_json)


def list_runs(as_json: JsonOption = False) -> None:
    """All runs, the newest first."""
    from core.jobs.store import Store

    found = Store.open().runs()
    if as_json:
        return print_json([_plain(run) for run in found])
    table = Table("run", "kind", "what", "state", "done", "failed", "of", "changed")
    for run in found:
        table.add_row(
            run.id, run.kind, run.title, _state(run), str(run.done), str(run.failed), str(run.total), run.updated
        )
    out.print(table)


def show_run(
    id: Id,
    csv: Annotated[Path | None, typer.Option("--csv", help="where to write all measurements as CSV")] = None,
    as_json: JsonOption = False,
) -> None:
    """One run and what it measured."""
    from core.jobs.store import Store

    store = Store.open()
    run = _found(store, id)
    if csv is not None:
        write_text(csv, store.frame([run.id]).to_csv(index=False), "--csv")
    _show(run, store, as_json)


def resume(
    id: Id,
    failed: Annotated[bool, typer.Option("--failed", help="try points that failed once more")] = False,
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was interrupted, cancelled or failed: only points without a result are worked off."""
    from core.jobs.store import Store

    store = Store.open()
    run = _found(store, id)
    if failed:
        store.retry_failed(run.id)
    _start(run, store, detach, as_json)


def cancel(id: Id, as_json: JsonOption = False) -> None:
    """Stop a run; what it has measured stays, and it can be resumed."""
    from core.jobs.store import Store

    store = Store.open()
    run = _found(store, id)
    store.cancel(run.id)
    _show(_found(store, run.id), store, as_json)


def drive(id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Drive a run to its end: the process that `--detach` and the app start."""
    from core.jobs import driver
    from core.jobs.store import Store

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("distributed").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    log = logging.getLogger(__name__)
    log.info("driving %s in process %d", id, os.getpid())
    run = driver.drive(id, Store.open())
    log.info("%s is %s: %d of %d points done, %d failed %s", id, run.state, run.done, run.total, run.failed, run.error)


def _start(run: Run, store: Store, detach: bool, as_json: bool) -> None:
    """Drives a run from here with a bar, or starts its driver."""
    from core.jobs import driver, launch

    finished = run.state == "done" and not store.points(run.id, "waiting")
    if not finished and not store.queue(run.id):
        err.print(f"Run {run.id} is already being worked off; follow it with: run {run.id}", soft_wrap=True)
    elif not finished and detach:
        launch.launch(run.id)
    elif not finished:
        try:
            with progress_bar(remaining=True) as progress:
                driver.drive(run.id, store, progress=progress)
        except KeyboardInterrupt:
            err.print(f"Interrupted; go on with: resume {run.id}", soft_wrap=True)
            raise
    found = _found(store, run.id)
    if found.state == "failed" and not detach:
        raise InputError(found.error)
    _show(found, store, as_json)


def _show(run: Run, store: Store, as_json: bool) -> None:
    points, measured = store.points(run.id), store.measurements(run.id)
    if as_json:
        each = [{**asdict(p), "measured": {n: asdict(m) for n, m in measured.get(p.key, {}).items()}} for p in points]
        return print_json({**_plain(run), "points": each})
    names = sorted({name for numbers in measured.values() for name in numbers})
    out.print(f"{run.id}  {run.title}: {_state(run)}, {run.done} of {run.total} done, {run.failed} failed")
    if run.error:
        out.print(run.error)
    table = Table("point", "what", "state", *names)
    for point in points:
        numbers = measured.get(point.key, {})
        cells = (f"{numbers[n].value:.4g} ± {numbers[n].spread:.2g}" if n in numbers else "" for n in names)
        table.add_row(point.key, point.label, point.error or point.state, *cells)
    if points:
        out.print(table)


def _found(store: Store, id: str) -> Run:
    """The run of that id, or the only one whose id begins so."""
    exact = store.run(id) if id else None
    if exact is not None:
        return exact
    found = [run for run in store.runs() if id and run.id.startswith(id)]
    if not found:
        raise InputError(f"There is no run {id!r}; `runs` lists those there are.")
    if len(found) > 1:
        raise InputError(f"{len(found)} runs begin with {id!r}; give more of the id.")
    return found[0]


def _plain(run: Run) -> dict[str, Any]:
    return {**asdict(run), "interrupted": run.interrupted}


def _state(run: Run) -> str:
    return f"{run.words} ({run.stage})" if run.stage and not run.interrupted else run.words


def _lasting(source: str, name: bool) -> str:
    """A path that means the same in every process; names of demos and of built-in data stay."""
    return source if name else str(Path(source).resolve())


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(option: str, text: str, whole: bool = False) -> tuple[float, ...]:
    try:
        return tuple(int(word) if whole else float(word) for word in _words(text))
    except ValueError:
        raise InputError(f"{option} takes numbers separated by commas, not {text!r}.") from None
