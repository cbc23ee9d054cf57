"""Runs as panels and as a table: how far each is, and buttons to cancel, go on, try again and forget."""

from __future__ import annotations

import io
from collections.abc import Sequence

import streamlit as st

from app import frame, services, state, tradeoffs, widgets
from core.errors import InputError
from core.jobs.records import Point, Run

POLL = 1.0

MEASURED = ("sweep", "recover")
"""Kinds of runs whose points are configurations with an accuracy."""


def progress(run: Run) -> None:
    """One run under way: what it does, how far it is, what is left, and Cancel; or that it was interrupted."""
    points = services.run_points([run.id])
    with st.container(border=True):
        left, right = st.columns([5, 1], vertical_alignment="center")
        share = sum(point.share for point in points) / len(points) if points else 0.0
        words = f"{frame.literal(run.title)}: {run.words}"
        counted = tradeoffs.progress_of(run, points)
        stage = f" · {frame.literal(run.stage)}" if run.stage and run.total else ""
        left.progress(share, f"{words} · {counted}{stage}{tradeoffs.at_work(points)}")
        if run.interrupted:
            right.button("Go on", key=f"resume-{run.id}", on_click=_do, args=("resume", run.id), width="stretch")
        elif run.state != "cancelling":
            right.button("Cancel", key=f"stop-{run.id}", on_click=_do, args=("cancel", run.id), width="stretch")
        _curves(points, run)


def _curves(points: Sequence[Point], run: Run) -> None:
    """Trainings as far as they came, epoch by epoch: those under way, and those that were cancelled."""
    for point in points:
        curve = ((point.progress or {}).get("found") or {}).get("curve", ())
        if len(curve) > 1:
            from app.figures.recovery import recovery_alt, recovery_figure, recovery_table

            figure = recovery_figure(curve, kept=False, look=widgets.look())
            widgets.figure(figure, recovery_alt(curve), recovery_table(curve), f"{run.model}-recovery")


def page() -> None:
    """The table of all runs, and the ones ticked in detail."""
    try:
        runs = services.runs()
    except InputError as error:
        st.error(frame.literal(str(error)), icon=":material/error:")
        return
    going = any(run.going for run in runs)
    st.fragment(_list, run_every=POLL if going else None)(going)


def _list(going: bool) -> None:
    state.mirror()
    runs = services.runs()
    if going and not any(run.going for run in runs):
        st.rerun()
    if not runs:
        st.info("No run yet. Trade-offs starts one: choose budgets there and press Explore.", icon=":material/list:")
        st.page_link("app/pages/tradeoffs.py", label="Open Trade-offs", icon=":material/scatter_plot:")
        return
    for run in runs:
        if not run.over:
            progress(run)
    table = tradeoffs.runs_table(runs)
    found = st.dataframe(
        table,
        key="runs-table",
        hide_index=True,
        placeholder="–",
        on_select="rerun",
        selection_mode="multi-row",
        column_config={"id": st.column_config.TextColumn(help="Names the run on the command line.")},
        alt="All runs, newest first: tick some to see them in detail.",
    )
    chosen = [runs[i] for i in found["selection"]["rows"] if i < len(runs)]
    if not chosen:
        st.markdown("Tick a row to see a run, several to compare them.")
    if len(chosen) > 1:
        _compare(chosen)
    for run in chosen:
        _detail(run)


def _compare(runs: Sequence[Run]) -> None:
    """The measured points of several runs in one figure, and each run in a row."""
    from app.figures.runs import runs_alt, runs_best, runs_figure, runs_table
    from core.jobs.sweeps import tradeoff_points

    names = [f"{i}: {run.model}, {run.title}" for i, run in enumerate(runs, 1)]
    found = {
        name: tradeoff_points(services.run_points([run.id]))
        for name, run in zip(names, runs, strict=True)
        if run.kind in MEASURED
    }
    if not any(point.accuracy for points in found.values() for point in points):
        st.info("None of these runs has measured an accuracy, so there is nothing to compare in a figure.")
        return
    quantity = widgets.choice("Against", {"macs": "MACs", "params": "Parameters", "bytes": "Bytes"}, "runs-against")
    alt = runs_alt(found)
    figure = runs_figure(found, quantity, look=widgets.look())
    widgets.figure(figure, alt, runs_table(found, quantity), "rankscope-runs")
    percent = st.column_config.NumberColumn(format="percent")
    columns = ("least kept", "most kept", "worst", "best", "within 1 point")
    widgets.numbers(
        runs_best(found, quantity),
        "rankscope-runs-best",
        config=dict.fromkeys(columns, percent),
        alt="Each run in a row: what its points keep and how accurate they are.",
    )


def _detail(run: Run) -> None:
    with st.container(border=True):
        st.markdown(f"**{frame.literal(run.model)}** · {frame.literal(run.title)} · {run.words}")
        if run.error:
            st.error(frame.literal(run.error), icon=":material/error:")
        points = services.run_points([run.id])
        _curves(points, run)
        errors = {point.error for point in points if point.error}
        for error in sorted(errors)[:3]:
            st.warning(frame.literal(error), icon=":material/warning:")
        table = tradeoffs.points_table(points)
        if points:
            widgets.numbers(table, f"run-{run.id}", key=f"points-{run.id}", alt=f"Points of {run.title}.")
        with st.container(horizontal=True):
            if run.over and run.state != "done":
                st.button("Go on", key=f"go-{run.id}", on_click=_do, args=("resume", run.id))
            if run.failed:
                st.button("Try failed points again", key=f"retry-{run.id}", on_click=_do, args=("retry", run.id))
            if run.over:
                st.button("Forget this run", key=f"forget-{run.id}", on_click=_do, args=("delete", run.id))
            st.download_button(
                "Save measurements as Parquet",
                lambda: _parquet(run.id),
                f"rankscope-{run.id}.parquet",
                key=f"parquet-{run.id}",
                icon=":material/download:",
                on_click="ignore",
            )


def _parquet(id: str) -> bytes:
    out = io.BytesIO()
    services.store().frame([id]).to_parquet(out)
    return out.getvalue()


def _do(what: str, id: str) -> None:
    try:
        if what == "cancel":
            services.store().cancel(id)
        elif what == "delete":
            services.store().delete(id)
        else:
            services.resume(id, failed=what == "retry")
    except InputError as error:
        state.notice(str(error))
