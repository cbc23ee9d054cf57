"""The parts of the Trade-offs page: what to explore, runs under way, the plot with its readouts, the point in hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app import (
    explore_panel,
    frame,
    point_panel,
    run_panels,
    sensitivity_panel,
    services,
    state,
    tradeoffs,
    widgets,
)
from app.glossary import help_text
from app.views import IN_HAND, MOST_LOST
from core.compression.survey import Survey
from core.compression.tradeoff import TradeoffPoint
from core.errors import InputError
from core.jobs.records import Point, Run

FIGURE, CHOSEN, LOST = "tradeoff-figure", "tradeoff-chosen", "tradeoff-lost"
MORE = ("Closed", "Parallel coordinates", "Predicted", "Sensitivity of layers")
POLL = 2.0
"""Seconds between looks at runs under way: each look draws the plot again."""

WORDS = {**explore_panel.FORMS, **explore_panel.REPAIR_WORDS, "trained": "trained"}
BY = {"families": "Forms", "method": "Method", "repair": "Repair", "seed": "Seed"}


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database holds of this model on this data."""

    runs: list[Run]
    points: list[TradeoffPoint]
    stored: dict[str, Point]


def page(survey: Survey) -> None:
    """Everything below the heading."""
    if not survey.runnable:
        st.info(
            f"A trade-off needs measured accuracy, and this model cannot be run: {frame.literal(survey.reason)}. "
            "Spectra and Tune show what its weights alone tell."
        )
        return
    try:
        runs = _runs(survey)
    except InputError as error:
        st.error(frame.literal(str(error)), icon=":material/error:")
        return
    explore_panel.explore(survey, any(run.total for run in runs))
    going = any(run.going for run in runs)
    st.fragment(_results, run_every=POLL if going else None)(survey, going)
    _all(survey)


def _runs(survey: Survey) -> list[Run]:
    """Runs whose points are configurations of this model on this data, newest first."""
    from core.jobs import recoveries, sweeps

    return services.runs_of(survey, sweeps.KIND, recoveries.KIND)


def _known(survey: Survey) -> _Known:
    from core.jobs import sweeps

    runs = _runs(survey)
    stored = {point.key: point for point in services.run_points([run.id for run in runs])}
    return _Known(runs, sweeps.tradeoff_points(list(stored.values())), stored)


def _results(survey: Survey, going: bool) -> None:
    """Runs under way, the plot and the point in hand; drawn again while a run goes on, and once when it ends."""
    state.mirror()
    known = _known(survey)
    if going and not any(run.going for run in known.runs):
        st.rerun()
    chosen = _chosen(known)
    beside = point_panel.trainings(chosen[0], known.runs) if len(chosen) == 1 else []
    for run in known.runs:
        if not run.over and run not in beside:
            run_panels.progress(run)
        elif run.state == "failed" and run == known.runs[0]:
            st.error(frame.literal(run.error) or "No point of the last run could be measured.", icon=":material/error:")
    if not known.points:
        st.info(
            "No configuration of this model is measured on this data yet. Choose budgets above and press Explore: "
            "every plan is measured once and kept, whether or not this page stays open.",
            icon=":material/explore:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        axis = widgets.choice("Against", tradeoffs.AXES, "tradeoff-axis", term="MACs")
        by = widgets.choice("Colour", BY, "tradeoff-by")
        if not isinstance(state.value(LOST), float):
            state.keep(LOST, 1.0)
        lost = st.number_input(
            "Points of accuracy I may lose",
            0.0,
            MOST_LOST,
            step=0.5,
            key=LOST,
            help=help_text("accuracy"),
            persist_state="session",
        )
    words, key = tradeoffs.readout(known.points, axis, lost / 100, survey.dense)
    left, right = st.columns([5, 1], vertical_alignment="center")
    left.markdown(words)
    if key:
        right.button("Take it in hand", on_click=lambda: state.keep(CHOSEN, [key]), width="stretch")
    _plot(survey, known.points, axis, by)
    slow = tradeoffs.slower_words(known.points)
    if slow:
        st.warning(slow, icon=":material/timer:")
    _in_hand(survey, known, axis)


def _plot(survey: Survey, points: Sequence[TradeoffPoint], axis: str, by: str) -> None:
    from app.figures.predicted import tradeoff_table
    from app.figures.tradeoff import tradeoff_alt, tradeoff_figure

    pinned = state.get().pinned
    ringed = next((p.key for p in points if pinned and tradeoffs.plan_of(p, survey) == pinned), "")
    widgets.figure(
        tradeoff_figure(
            points,
            axis,
            survey.dense,
            by=by,
            words=WORDS,
            pinned=ringed,
            chosen=state.value(CHOSEN) or (),
            look=widgets.look(),
        ),
        tradeoff_alt(points, axis, survey.dense),
        tradeoff_table(points, survey.dense),
        f"{survey.model.name}-tradeoff",
        key=FIGURE,
        on_select=_clicked,
        many=True,
    )
    waiting = sum(1 for point in points if point.accuracy is None)
    timed = sum(1 for point in points if point.latency is not None)
    said = [f"{len(points) - waiting} measured"]
    said += [f"{waiting} not measured"] if waiting else []
    said += [f"{timed} timed"] if axis == "latency" else []
    widgets.caption(
        f"{', '.join(said)}. Bars: one standard error. Click a point to take it in hand, or draw around several to "
        "compare them."
    )


def _clicked() -> None:
    """Points clicked or circled are in hand; an empty click changes nothing."""
    found = (state.value(FIGURE) or {}).get("selection", {}).get("points", [])
    keys = [point["customdata"] for point in found if point.get("customdata")]
    keys = [one[0] if isinstance(one, list) else one for one in keys]
    if keys:
        state.keep(CHOSEN, list(dict.fromkeys(keys))[:IN_HAND])


def _chosen(known: _Known) -> list[TradeoffPoint]:
    """The points in hand that there are."""
    by_key = {point.key: point for point in known.points}
    return [by_key[key] for key in state.value(CHOSEN) or () if key in by_key]


def _in_hand(survey: Survey, known: _Known, axis: str) -> None:
    """One point with its numbers and the way to Tune, or several against one another, layer by layer."""
    chosen = _chosen(known)
    if not chosen:
        return
    with st.container(border=True):
        for point in chosen[:1] if len(chosen) == 1 else ():
            point_panel.one(survey, point, known.stored[point.key], known.runs)
        if len(chosen) > 1:
            _several(survey, chosen, axis)
        st.button("Put down", key="tradeoff-none", on_click=lambda: state.keep(CHOSEN, []))


def _several(survey: Survey, chosen: Sequence[TradeoffPoint], axis: str) -> None:
    from app.figures.compared import compared_alt, compared_figure, compared_table

    quantity = axis if axis != "latency" else "macs"
    plans = [(point, plan) for point in chosen if (plan := tradeoffs.plan_of(point, survey)) is not None]
    layers, rows = tradeoffs.kept_by_layer(survey, [plan for _, plan in plans], quantity)
    kept = {f"{i + 1}: {point.label}": row for i, ((point, _), row) in enumerate(zip(plans, rows, strict=True))}
    st.markdown(f"**{len(plans)} plans, layer by layer**")
    widgets.figure(
        compared_figure(layers, kept, tradeoffs.AXES[quantity], look=widgets.look()),
        compared_alt(layers, kept),
        compared_table(layers, kept),
        f"{survey.model.name}-compared",
    )


@st.fragment
def _all(survey: Survey) -> None:
    """Every configuration: over all its numbers, as predicted, and as a file. A fragment of its own, because its plot
    is slow to draw."""
    view = widgets.choice("More", {name: name for name in MORE}, "tradeoff-all")
    state.mirror()
    if view == "Closed":
        return
    if view == "Sensitivity of layers":
        sensitivity_panel.page(survey)
        return
    points, look = _known(survey).points, widgets.look()
    if not points:
        st.info("No configuration is measured yet: press Explore above.")
        return
    if view == "Predicted":
        from app.figures.predicted import predicted_figure

        figure: Any = predicted_figure(points, "macs" if survey.dense.macs else "params", survey.dense, look=look)
        alt = "What the allocators predicted for every configuration; nothing in this figure is measured."
    else:
        from app.figures.parallel import parallel_alt, parallel_figure

        figure, alt = parallel_figure(points, survey.dense, look=look), parallel_alt(points)
    from app.figures.predicted import tradeoff_table

    widgets.figure(figure, alt, tradeoff_table(points, survey.dense), f"{survey.model.name}-{view.split()[0].lower()}")
