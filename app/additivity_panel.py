"""Additivity on Trade-offs: whether the damages of layers alone add up to those of the plans that were measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from app import frame, run_panels, services, state, widgets
from app.glossary import help_text
from core.compression.plans import LayerPlan, Plan
from core.compression.sensitivity import LayerSensitivity
from core.compression.survey import Survey
from core.errors import InputError
from core.jobs.records import Run


def panel(survey: Survey, measured: Run, found: tuple[LayerSensitivity, ...]) -> None:
    """The latest joint damages beside the layers' alone of the run `measured`, or the button that measures them."""
    from core.jobs.additivities import additive_in

    st.markdown("**Do damages add up?** Each plan's joint damage against the sum of its layers' alone")
    run = _latest(survey, measured.id)
    if run is not None and not run.over:
        run_panels.progress(run)
    if run is None or run.over:
        _offer(survey, measured, run)
    points = services.run_points([run.id]) if run is not None else []
    rows = additive_in(points, survey, found)
    if not rows:
        return
    from app.figures.additivity import additivity_alt, additivity_figure, additivity_table

    unit = "nats" if survey.num_classes else "relative squared error"
    name = f"{survey.model.name}-additivity"
    figure = additivity_figure(rows, unit, look=widgets.look())
    widgets.figure(figure, additivity_alt(rows), additivity_table(rows), name)
    left = len(points) - len(rows) - sum(1 for point in points if not point.result)
    widgets.caption(
        f"Both on {found[0].samples} training examples, factors {found[0].fit}, no further repair."
        + (f" {left} plans have a form whose damage alone is not known." if left else "")
    )
    parted = [row for row in rows if row.warning]
    if parted:
        worst = max(parted, key=lambda row: max(row.ratio, 1 / row.ratio if row.ratio else math.inf))
        more = f" It is the worst of {len(parted)} plans that part so." if len(parted) > 1 else ""
        st.warning(frame.literal(worst.warning + more), icon=":material/call_split:")


def going(survey: Survey, sensitivity: str) -> bool:
    """Whether the joint damages that go with a run of sensitivity are being measured."""
    run = _latest(survey, sensitivity)
    return run is not None and run.going


def _latest(survey: Survey, sensitivity: str) -> Run | None:
    from core.jobs.additivities import KIND

    return next((run for run in services.runs_of(survey, KIND) if run.spec.get("sensitivity") == sensitivity), None)


def _offer(survey: Survey, measured: Run, before: Run | None) -> None:
    """The button, with how many plans there are; nothing where the last run has them all."""
    plans = _plans(survey)
    if before is not None and before.state == "done" and len(plans) <= before.total:
        return
    if before is not None and before.error:
        st.error(frame.literal(before.error), icon=":material/error:")
    if not plans:
        st.info("There are no plans to try yet: press Explore above, then come back.", icon=":material/explore:")
        return
    words = "plan" if len(plans) == 1 else "plans"
    pressed = st.button(
        f"Measure the joint damage of {len(plans)} {words}",
        icon=":material/call_merge:",
        key="additivity",
        help=help_text("additivity"),
    )
    if pressed:
        from core.jobs.additivities import AdditivitySpec

        asked = {name: measured.spec[name] for name in ("samples", "seed", "fit")}
        try:
            services.additivity(
                AdditivitySpec(**services.subject(survey), plans=plans, sensitivity=measured.id, **asked)
            )
        except InputError as error:
            state.notice(str(error))
        st.rerun()


def _plans(survey: Survey) -> tuple[tuple[str, str], ...]:
    """(label, JSON) of what sweeps of this model on this data do to its layers, whatever the repair; at most as many as
    one run takes, spread evenly."""
    from core.jobs.additivities import MOST
    from core.jobs.sweeps import KIND

    points = services.run_points([run.id for run in services.runs_of(survey, KIND)])
    found: dict[tuple[LayerPlan, ...], tuple[str, str]] = {}
    for point in points:
        plan, about = point.request["plan"], point.request["about"]
        label = about["label"].partition(", repair")[0]
        found.setdefault(Plan.from_json(plan).layers, (label, plan))
    return _spread(list(found.values()), MOST)


def _spread(plans: Sequence[tuple[str, str]], most: int) -> tuple[tuple[str, str], ...]:
    if len(plans) <= most:
        return tuple(plans)
    return tuple(plans[round(i * (len(plans) - 1) / (most - 1))] for i in range(most))
