"""The parts of the Tune page: controls, the bars with their totals, and the panels below. Wiring only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from app import frame, projector, services, sources, state, tune_removal, tuning, widgets
from app.components import last_message, rank_bars, share_percent, unseen
from app.glossary import help_text
from app.worker import Job
from core.catalogue import ALLOCATORS
from core.compression.allocate import Rules
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError
from core.provenance import measurement_of

AT_ONCE = 2_000_000
"""Dense MACs up to which a plan is measured without being asked (chosen: about a second with its repair)."""

MODE_WORDS = {"rank": "Rank", "sparsity": "Sparsity", "both": "Both"}


@st.fragment
def tune(survey: Survey) -> None:
    """All of it in one fragment: a message of the component reruns this and nothing else of the page. Who teaches gets
    the bars first."""
    for part in (_hero, _controls) if state.teaching() else (_controls, _hero):
        part(survey)
    _details(survey, state.get())


def _controls(survey: Survey) -> None:
    """One row: what to turn, in which unit, the solver, undo, redo, pin."""
    now = state.get()
    offered = tuning.counted(survey, now.mode, now.quantity)
    units = {quantity: words for quantity, words in tuning.WORDS.items() if quantity in offered}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        widgets.choice("Turn", MODE_WORDS, "tune-mode", value=now.mode, term="form", then=lambda mode: _set(mode=mode))
        widgets.choice(
            "Counted in",
            units,
            "tune-quantity",
            value=offered[0],
            term="MACs",
            then=lambda quantity: _set(quantity=quantity),
        )
        with st.popover("Budget solver", icon=":material/calculate:"):
            _solver(survey)
        st.button("Undo", icon=":material/undo:", shortcut="u", on_click=state.undo, disabled=not state.can_undo())
        st.button("Redo", icon=":material/redo:", shortcut="y", on_click=state.redo, disabled=not state.can_redo())
        pinned = now.pinned is not None
        st.button(
            "Unpin" if pinned else "Pin",
            icon=":material/push_pin:",
            shortcut="p",
            on_click=lambda: state.put(pinned=None if pinned else now.plan),
            help="Keep the plan in hand as the reference that costs and energy are compared with.",
        )
        st.button(
            "All dense",
            icon=":material/restart_alt:",
            on_click=lambda: state.change_plan(replace(now.plan or Plan(survey.model), layers=())),
            help="Start again from the model as it is; Undo brings the plan back.",
        )
    if now.mode != "rank":
        st.markdown("Masked weights are still multiplied, so sparsity saves parameters and bytes here, never MACs.")
    tune_removal.toggle(now.plan)
    if survey.runnable and not survey.calibration and not state.fresh():  # a model just opened has the offer above
        _calibration(survey)
    elif not survey.runnable:
        st.markdown("Weights only: errors are of weights; MACs, accuracy and latency need a network that can be run.")


def _hero(survey: Survey) -> None:
    """The bars, the four numbers, and what was measured."""
    now = state.get()
    plan = now.plan or Plan(survey.model)
    mode, locked = now.mode, now.locked
    quantity = tuning.counted(survey, mode, now.quantity)[0]
    data = {
        "view": "tune",
        "mode": mode,
        "quantity": quantity,
        "layers": tuning.bars(survey, plan, mode, locked),
        "other": tuning.other_cost(survey),
        "path": _path(survey, plan, now),
        "dial": now.dial,
        "primary": now.primary,
        "revision": state.revision(),
        "scale": projector.SCALE if state.teaching() else 1.0,
        "filename": f"{survey.model.name}-tune.png",
    }
    height = projector.TUNE_HEIGHT if state.teaching() else 360
    rank_bars(data, key="bars", height=height, on_change=_heard(survey))
    _numbers(survey, plan, quantity)


def _path(survey: Survey, plan: Plan, now: state.Selection) -> dict[str, Any]:
    """What the dial walks along."""
    quantity = tuning.counted(survey, now.mode, now.quantity)[0]
    name = services.dial_name(survey, plan, now.mode, now.locked)
    found = services.dial(survey, plan, name, quantity, now.mode, now.locked)
    return {**found, "name": f"{name}-{quantity}"}


def _heard(survey: Survey) -> Any:
    """Acts on every message of the component that was not acted on yet. The dial walks along the path as it is by then:
    a lock may have changed it since the hand moved, and then the bars have to be told."""

    def act() -> None:
        for message in unseen(last_message("bars"), state.seen()):
            state.seen(message["seq"])
            now = state.get()
            plan = now.plan or Plan(survey.model)
            if message["kind"] == "edit":
                state.put(primary=message["layer"])
                new = tuning.edited(survey, plan, message["layer"], message["family"], message["level"], now.mode)
                state.change_plan(new, from_component=True)
            elif message["kind"] == "dial":
                path = _path(survey, plan, now)
                stop = min(range(len(path["keep"])), key=lambda i: abs(path["keep"][i] - message["keep"]))
                state.put(dial=path["keep"][stop])
                new = tuning.with_choice(survey, plan, path["choice"][stop], now.mode, now.locked)
                state.change_plan(new, from_component=path["name"] == message["path"])
            elif message["kind"] == "lock":
                others = tuple(name for name in now.locked if name != message["layer"])
                state.put(primary=message["layer"], locked=(*others, message["layer"]) if message["locked"] else others)
            else:
                state.put(primary=message["layer"])

    return act


def _numbers(survey: Survey, plan: Plan, quantity: str) -> None:
    """Parameters, MACs, energy, accuracy; the first three against the pinned plan if there is one."""
    now = state.get()
    found = tune_removal.counted(plan, now)
    cost, how = (found, ", counted") if found else (tuning.effective_cost(survey, plan, quantity), "")
    pinned = tuning.effective_cost(survey, now.pinned, quantity) if now.pinned else None
    columns, framed = st.columns(4), not state.teaching()
    for column, kind, label, term in (
        (columns[0], "params", f"Parameters kept{how}", "parameters"),
        (columns[1], "macs", f"MACs kept{how}", "MACs"),
    ):
        share = share_percent(cost.of(kind), survey.dense.of(kind))
        against = None
        if pinned is not None and survey.dense.of(kind):
            against = f"{100 * (cost.of(kind) - pinned.of(kind)) / survey.dense.of(kind):+.1f} points against pinned"
        column.metric(
            label, share, against, delta_color="inverse", help=help_text(term), border=framed, height="stretch"
        )
    energy, against = tuning.energy_kept(survey, tuning.effective(survey, plan, quantity)), None
    if now.pinned is not None:
        former = tuning.energy_kept(survey, tuning.effective(survey, now.pinned, quantity))
        against = f"{100 * (energy - former):+.1f} points against pinned"
    bounded = any(not tuning.predictable(entry.form) for entry in tuning.effective(survey, plan, quantity).layers)
    columns[2].metric(
        "Energy kept, at least" if bounded else "Energy kept, predicted",
        frame.percent(energy),
        against,
        help=help_text("energy"),
        border=framed,
        height="stretch",
    )
    with columns[3]:
        _accuracy(survey, plan)
    more = tuning.costs_more(survey, plan, quantity)
    if more:
        named = ", ".join(frame.literal(name) for name in more[:3]) + (" and others" if len(more) > 3 else "")
        st.warning(
            f"{len(more)} layer{'s' if len(more) > 1 else ''} past break-even ({named}): dense is cheaper and exact "
            f"there, so {'they count' if len(more) > 1 else 'it counts'} as dense above. "
            f"{tuning.remedy(survey, plan, more, quantity)}",
            icon=":material/warning:",
        )


def _accuracy(survey: Survey, plan: Plan) -> None:
    """The measured accuracy, "measuring" while a job runs, or "not measured" with its button."""
    now, framed = state.get(), not state.teaching()
    if not survey.runnable:
        st.metric("Accuracy", "cannot be run", help=frame.literal(survey.reason), border=framed, height="stretch")
        return
    if not plan.layers:
        found = None if survey.accuracy else services.evaluation(now.model, plan, now.data)
        words = frame.accuracy_words(measurement_of(found["dense"]) if found else survey.accuracy)
        why = help_text("accuracy")
        st.metric("Accuracy, dense", *words, delta_color="off", help=why, border=framed, height="stretch")
        return
    found = services.evaluation(now.model, plan, now.data)
    job = services.job(state.job("measure")) if found is not None else _measuring(survey, plan, now)
    if found is None and job is not None and not job.over:
        frame.watch(job, "Accuracy")
        return
    text, conditions = frame.accuracy_words(measurement_of(found["compressed"]) if found else None)
    st.metric(
        "Accuracy, measured" if found else "Accuracy",
        text,
        conditions or "press Measure",
        delta_color="off",
        delta_arrow="off",
        help=help_text("accuracy"),
        border=framed,
        height="stretch",
    )


def _measuring(survey: Survey, plan: Plan, now: state.Selection) -> Job | None:
    """The job that measures this plan unasked, which a small network on the digits gets once: one that failed is not
    tried again."""
    if survey.dense.macs > AT_ONCE or now.data != "digits" or not services.fits_digits(survey):
        return None
    job, wanted = services.job(state.job("measure")), (now.model, now.arch, plan)
    if state.value("measure-of") != wanted or job is None or job.state == "cancelled":
        services.withdraw(state.job("measure"))
        state.keep("measure-of", wanted)
        try:
            job = services.submit("evaluate", now.model, **services.evaluation_request(plan, now.data, False))
            state.job("measure", job.id)
        except InputError as error:
            _tell(str(error))
    elif job.state == "failed" and state.value("measure-told") != job.id:
        state.keep("measure-told", job.id)
        _tell(job.error)
    return job


def _details(survey: Survey, now: state.Selection) -> None:
    """Everything that is looked at after the drag: measured numbers, the typed editor, the layer in hand."""
    from app import lowrank_sparse_panel, tune_details, tune_table

    state.mirror()
    plan = now.plan or Plan(survey.model)
    with st.container(horizontal=True, vertical_alignment="center"):
        if survey.runnable and st.button(
            "Measure accuracy and latency",
            icon=":material/play_arrow:",
            type="primary",
            shortcut="e",
            disabled=not plan.layers and survey.accuracy is not None,
            help="Applies the plan with its repair, measures accuracy after every step, and times it against dense.",
        ):
            try:
                job = services.submit("evaluate", now.model, **services.evaluation_request(plan, now.data, True))
                state.job("full", job.id)
            except InputError as error:
                _tell(str(error))
        view = st.segmented_control(
            "Below",
            ("Before and after", "Layer in hand", "Low rank + sparse", "Edit as a table"),
            label_visibility="collapsed",
            key="tune-below",
            persist_state="session",
        )
    job = services.job(state.job("full"))
    if job is not None and not job.over:
        frame.follow(job, "Measuring", lambda _: None)
    elif job is not None and job.state == "failed":
        state.job("full", "")
        _tell(job.error)
    if view == "Layer in hand":
        tune_details.layer_in_hand(survey, plan, now)
    elif view == "Low rank + sparse":
        lowrank_sparse_panel.panel(survey, plan, now)
    elif view == "Edit as a table":
        tune_table.editor(survey, plan, now)
    else:
        tune_details.before_and_after(survey, plan, now)


def _solver(survey: Survey) -> None:
    """Target, method and rules; the outcome with its remedy."""
    now = state.get()
    with st.form("solver", border=False):
        keep = st.slider("Keep", 5, 100, 50, 1, format="%d %%", help=help_text("kept fraction"))
        labels = {row.name: row.label for row in ALLOCATORS}
        method = st.selectbox("Method", list(labels), format_func=labels.__getitem__, help=help_text("budget"))
        multiple = st.selectbox("Ranks are multiples of", (1, 2, 4, 8, 16), help="8 suits tensor cores.")
        floor = st.slider("Least share of every layer", 0, 50, 0, 5, format="%d %%", help="A floor under each layer.")
        pressed = st.form_submit_button("Choose ranks", type="primary")
    quantity = tuning.counted(survey, now.mode, now.quantity)[0]
    st.markdown(f"Of the {tuning.WORDS[quantity]}. Locked layers keep their form. Predicted, not measured.")
    if not pressed:
        return
    plan = now.plan or Plan(survey.model)
    rules = Rules(
        pins={name: plan.form(name) for name in now.locked},
        floors={view.name: floor / 100 for view in survey.views} if floor else {},
        multiple=multiple,
        families=tuning.MODES[now.mode],
    )
    made = services.solve(survey, quantity, keep / 100, method, rules)
    state.change_plan(replace(made.plan, repair=plan.repair, remove=plan.remove))
    if made.outcome != "OK":
        state.notice(made.remedy)
    state.put(dial=keep / 100)
    st.rerun()


def _calibration(survey: Survey) -> None:
    """Offers to look at real inputs, which is what whitened errors and damage come from."""
    now = state.get()
    job = services.job(state.job("calibrate"))
    if job is not None:
        frame.follow(job, "Calibrating", lambda made: services.learn(now.model, made["survey"], now.data))
        if not job.over:
            return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            "Errors shown are of weights. **Calibrate** on 1,000 training inputs (no labels) to predict errors of "
            "outputs."
        )
        if st.button("Calibrate", icon=":material/science:"):
            try:
                state.job("calibrate", services.submit("calibrate", now.model, data=sources.path_of(now.data)).id)
            except InputError as error:
                state.notice(str(error))
            st.rerun()


def _tell(text: str) -> None:
    """A notice, in a run of the whole page: notices stand outside of this fragment."""
    state.notice(text)
    st.rerun()


def _set(**changes: Any) -> None:
    state.put(**changes)
    state.bump()
