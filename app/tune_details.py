"""The panels under the bars: before and after, the layer in hand."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import frame, services, state, tune_removal, tuning, widgets
from app.glossary import help_text
from core.catalogue import rank_marks
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError
from core.networks.forms import FAMILIES, Dense, family_of

Json = dict[str, Any]


def before_and_after(survey: Survey, plan: Plan, now: state.Selection) -> None:
    """Costs dense and under the plan; accuracy after every repair step; latency."""
    from app.figures.cost import cost_alt, cost_figure, cost_table

    quantity = tuning.counted(survey, now.mode, now.quantity)[0]
    counted = tune_removal.counted(plan, now)
    cost = counted or tuning.effective_cost(survey, plan, quantity)
    look = widgets.look()
    left, right = st.columns(2)
    with left:
        how = "counted on the smaller network" if counted else "predicted and exact"
        st.markdown(f"**Cost**, {how}", help=help_text("kept fraction"))
        args = (survey.dense, cost)
        widgets.figure(cost_figure(*args, look=look), cost_alt(*args), cost_table(*args), f"{survey.model.name}-cost")
        tune_removal.notes(plan, now)
    found = services.evaluation(now.model, plan, now.data) if plan.layers else None
    with right:
        if not survey.runnable:
            st.info(f"Accuracy and latency need a network that can be run: {frame.literal(survey.reason)}.")
        elif found is None or not found["stages"]:
            if plan.layers:
                st.info("Repair steps and latency are not measured for this plan: press Measure.")
            else:
                st.info("Nothing is compressed yet: drag a bar, then press Measure.")
        else:
            _repair(found, survey, look)
    if survey.runnable and found is not None and found["stages"]:
        with left:
            _latency(found, survey, look)


def layer_in_hand(survey: Survey, plan: Plan, now: state.Selection) -> None:
    """Every family's error curve of the primary layer, its rank rules, and its form for similar layers."""
    from app.figures.curves import error_curves_alt, error_curves_figure, error_curves_table

    layer = survey.layer(now.primary)
    if layer.obstacle:
        st.info(f"{frame.literal(now.primary)} stays dense: {frame.literal(layer.obstacle)}.")
        return
    view, form = layer.view, plan.form(now.primary)
    quantity = tuning.counted(survey, now.mode, now.quantity)[0]
    whole = Dense().cost(view).of(quantity)
    share = {
        curve.family: [FAMILIES[curve.family].make(r, view).cost(view).of(quantity) / whole for r in curve.at]
        for curve in layer.curves
        if curve.family != "sparse24"
    }
    share = {family: shares for family, shares in share.items() if min(shares) < max(shares)}  # masks keep every MAC
    cuts = {} if isinstance(form, Dense) else {form.family: family_of(form).level(form, view)}
    left, right = st.columns([3, 2])
    with left:
        name = frame.literal(view.name)
        st.markdown(f"**{name}**, {view.shape_text}: error of every form", help=help_text("output error"))
        widgets.figure(
            error_curves_figure(layer, cuts=cuts, share=share, quantity=tuning.WORDS[quantity], look=widgets.look()),
            error_curves_alt(layer, share),
            error_curves_table(layer),
            f"{survey.model.name}-{view.name}-errors",
        )
        if survey.runnable and survey.input_shape:
            staircase(survey, now, form.family if form.family in FAMILIES else "lowrank")
    with right:
        st.markdown("**Rank rules** on its singular values", help=help_text("rank"))
        spectrum = layer.spectrum
        if spectrum is not None:
            cost = {r: FAMILIES["lowrank"].make(r, view).cost(view).of(quantity) for r in range(1, spectrum.k + 1)}
            marks = [mark for mark in rank_marks(spectrum) if mark.rank >= 1]
            chosen = st.selectbox(
                "Rule",
                marks,
                format_func=lambda mark: (
                    f"{mark.label}: rank {mark.rank}{' (costs more)' if cost[mark.rank] > whole else ''}"
                ),
                help="Where a rule comes from and what it assumes is on the Spectra page.",
            )
            st.button(
                "Use this rank",
                on_click=lambda: state.change_plan(
                    tuning.edited(survey, plan, view.name, "lowrank", chosen.rank, now.mode)
                ),
            )
        others = tuning.alike(survey, view.name)
        if others:
            st.button(
                f"Same form for {len(others)} similar layer{'' if len(others) == 1 else 's'}",
                key="same-form",
                help="Layers of the same kind, shape and stride.",
                on_click=lambda: state.change_plan(tuning.similar(survey, plan, view.name)),
            )


def staircase(survey: Survey, now: state.Selection, family: str) -> None:
    """Measured time of the layer in hand against its rank, made by a button."""
    from app.figures.staircase import staircase_alt, staircase_figure, staircase_table

    if not FAMILIES[family].unfolding:
        return
    name, job = frame.literal(now.primary), services.job(state.job("layer-time"))
    asked = (now.model, now.arch, now.primary, family)
    if job is not None and state.value("layer-time-of") == asked:
        if job.state == "done":
            made = job.result
            times = [tuple(row) for row in made["times"]]
            args = (made["at"], times, tuple(made["dense"]))
            marks = (made["measured"], made["counted"])
            st.markdown(f"**{name}**: time against rank, measured on this machine", help=help_text("latency"))
            widgets.figure(
                staircase_figure(*args, made["noise"], *marks, look=widgets.look()),
                staircase_alt(*marks),
                staircase_table(*args),
                f"{survey.model.name}-{now.primary}-time",
            )
            where = made["provenance"]
            widgets.caption(
                f"{made['repeats']} passes of {made['batch']} sample; {where['conditions']}; {where['device']}, one "
                f"thread; {', '.join(where['versions'])}; {where['date']}. Shaded: how far dense is from itself."
            )
            return
        if not job.over:
            frame.follow(job, "Timing", lambda _: None)
            return
        if job.state == "failed":
            st.error(frame.literal(job.error), icon=":material/error:")
    if st.button("Time this layer against its rank", icon=":material/timer:", key="time-layer"):
        state.keep("layer-time-of", asked)
        try:
            state.job("layer-time", services.submit("time_layer", now.model, layer=now.primary, family=family).id)
        except InputError as error:
            state.notice(str(error))
        st.rerun()


def _repair(found: Json, survey: Survey, look: Any) -> None:
    from app.figures.repair import RepairStep, repair_alt, repair_figure, repair_table

    kept = {gain["step"]: gain for gain in found["gains"]}
    steps = []
    for name, measured in found["stages"]:
        gain = kept[name]
        steps.append(
            RepairStep(name, measured["value"], measured["spread"], measured["n"], gain["distance"], gain["kept"])
        )
    dense = found["dense"]["value"]
    st.markdown("**Accuracy after each repair step**, measured", help=help_text("repair"))
    widgets.figure(
        repair_figure(steps, dense, look=look), repair_alt(steps), repair_table(steps), f"{survey.model.name}-repair"
    )
    widgets.caption(frame.conditions(found["compressed"]))


def _latency(found: Json, survey: Survey, look: Any) -> None:
    from app.figures.latency import Quartiles, latency_alt, latency_figure, latency_table

    times = found["latency"]
    if not times:
        return
    dense, plan = (Quartiles(*times[name][1:], times["repeats"]) for name in ("dense", "compressed"))
    spread = times["noise"] * times["dense"][2]
    st.markdown("**Latency of one sample**, measured", help=help_text("latency"))
    args = (dense, plan, spread)
    widgets.figure(
        latency_figure(*args, look=look), latency_alt(*args), latency_table(*args), f"{survey.model.name}-latency"
    )
    st.markdown(latency_alt(*args))
