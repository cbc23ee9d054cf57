"""The point in hand on Trade-offs: its numbers, the way to Tune, training it, and what training gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app import frame, run_panels, services, state, tradeoffs, widgets
from app.glossary import help_text
from core.compression.survey import Survey
from core.compression.tradeoff import TradeoffPoint
from core.errors import InputError
from core.jobs.records import Point, Run
from core.training.recover_spec import SCHEDULES, RecoverSpec

DISTIL = {0.0: "labels alone", 0.5: "half labels, half the dense network", 1.0: "the dense network alone, no labels"}

SCHEDULE_WORDS = {"cosine": "a cosine down to 0", "constant": "constant"}


def trainings(point: TradeoffPoint, runs: Sequence[Run]) -> list[Run]:
    """Runs that train the plan of this point now; their progress stands beside it."""
    from core.jobs.recoveries import KIND

    return [run for run in runs if run.kind == KIND and not run.over and run.spec.get("plan") == point.plan]


def one(survey: Survey, point: TradeoffPoint, stored: Point, runs: Sequence[Run]) -> None:
    """One point with its numbers and what can be done with it."""
    plan = tradeoffs.plan_of(point, survey)
    st.markdown(f"**{frame.literal(point.label)}**, seed {point.seed}")
    if plan is not None:
        st.markdown(frame.literal(tradeoffs.forms_in_words(plan, survey)) + ".")
    _numbers(survey, point)
    with st.container(horizontal=True, vertical_alignment="center"):
        if plan is not None and st.button("Load into Tune", type="primary", icon=":material/tune:", key="load-plan"):
            state.change_plan(plan)
            st.switch_page("app/pages/tune.py")
        trained = [run for run in runs if run.spec.get("plan") == point.plan]  # a new one closes the form
        if point.before is None and point.accuracy is not None:
            with st.popover("Recover by training", key=f"recover-{len(trained)}", icon=":material/model_training:"):
                _training(survey, point)
    for run in trainings(point, runs):
        run_panels.progress(run)
    if stored.result and stored.result.get("curve"):
        _trained(survey, point, stored)


def _numbers(survey: Survey, point: TradeoffPoint) -> None:
    a, b, c, d = st.columns(4)
    a.metric("Parameters kept", frame.percent(point.cost.params / survey.dense.params), border=True, height="stretch")
    macs = frame.percent(point.cost.macs / survey.dense.macs) if survey.dense.macs else "unknown"
    b.metric("MACs kept", macs, border=True, height="stretch")
    value, words = frame.accuracy_words(point.accuracy)
    if point.before is not None:
        words = f"{words}; {frame.percent(point.before.value)} before training"
    c.metric("Accuracy, measured", value, words, delta_color="off", help=help_text("accuracy"), border=True)
    if point.latency is None or point.against is None:
        d.metric("Latency", "not measured", help=help_text("latency"), border=True, height="stretch")
    else:
        against = f"dense {point.against.value:.3g} ms, noise ± {point.against.spread:.2g} ms"
        value = f"{point.latency.value:.3g} ms"
        d.metric("Latency, measured", value, against, delta_color="off", help=help_text("latency"), border=True)


def _training(survey: Survey, point: TradeoffPoint) -> None:
    """How to train, and the button: a run like a sweep, which goes on without this page."""
    from core.jobs.recoveries import RecoverySpec, about_point

    with st.form("recover", border=False):
        left, right = st.columns(2)
        epochs = left.number_input("Epochs at most", 1, 500, 10)
        lr = right.number_input("Peak rate", 1e-6, 1.0, 1e-3, format="%.0e", help="Of AdamW.")
        distil = st.selectbox("Learns from", list(DISTIL), 1, format_func=DISTIL.__getitem__)
        schedule = left.selectbox("Schedule", list(SCHEDULES), format_func=SCHEDULE_WORDS.__getitem__)
        patience = right.number_input("Stop after", 0, 100, 3, help="Epochs without a better one; 0 never stops early.")
        seed = left.number_input("Seed", 0, 1_000_000, 0)
        samples = right.number_input("Training examples (0: all)", 0, 10_000_000, 0, 1000)
        pressed = st.form_submit_button("Train", type="primary")
    st.markdown("A tenth of the training examples chooses the epoch; the test examples are only measured on.")
    if not pressed:
        return
    training = RecoverSpec(
        epochs=int(epochs),
        lr=float(lr),
        schedule=schedule,
        distil=float(distil),
        patience=int(patience),
        seed=int(seed),
        samples=int(samples) or None,
    )
    try:
        services.recover(
            RecoverySpec(
                **services.subject(survey),
                plan=point.plan,
                about=about_point(point),
                training=training,
                limit=point.accuracy.n if point.accuracy else None,
                timed=point.latency is not None,
            )
        )
    except InputError as error:
        state.notice(str(error))
    st.rerun()


def _trained(survey: Survey, point: TradeoffPoint, stored: Point) -> None:
    """The curve of a trained point, and its bundle where it still lies here."""
    from app.figures.recovery import recovery_alt, recovery_figure, recovery_table

    assert stored.result is not None
    curve, check = stored.result["curve"], stored.result["bundle"]
    widgets.figure(
        recovery_figure(curve, look=widgets.look()),
        recovery_alt(curve),
        recovery_table(curve),
        f"{survey.model.name}-recovery",
    )
    if point.accuracy is not None:
        widgets.caption(f"{point.accuracy.provenance.conditions}; {point.accuracy.provenance.date}")
    folder = Path(stored.request.get("out", ""))
    if check and check["ok"] and folder.is_dir():
        name = f"{widgets.file_name(survey.model.name)}-trained"
        st.download_button(
            "Save the trained network as a zip",
            lambda: services.bundle_zip(folder, check["files"], name),
            f"{name}.zip",
            "application/zip",
            key="save-trained",
            icon=":material/download:",
            on_click="ignore",
        )
