"""The panels under the bars: before and after, the layer in hand, the typed editor."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import frame, services, state, tuning, widgets
from app.glossary import help_text
from core.catalogue import rank_marks
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.networks.forms import FAMILIES, Dense

Json = dict[str, Any]


def before_and_after(survey: Survey, plan: Plan, now: state.Selection) -> None:
    """Costs dense and under the plan; accuracy after every repair step; latency."""
    from app.figures.cost import cost_alt, cost_figure, cost_table

    cost = tuning.effective_cost(survey, plan, tuning.counted(survey, now.mode, now.quantity)[0])
    look = widgets.look()
    left, right = st.columns(2)
    with left:
        st.markdown("**Cost**, predicted and exact", help=help_text("kept fraction"))
        args = (survey.dense, cost)
        widgets.figure(cost_figure(*args, look=look), cost_alt(*args), cost_table(*args), f"{survey.model.name}-cost")
    found = services.evaluation(now.model, plan, now.data) if plan.layers else None
    with right:
        if not survey.runnable:
            st.info(f"Accuracy and latency need a network that can be run: {frame.literal(survey.reason)}.")
        elif found is None or not found["stages"]:
            st.info("Repair steps and latency are not measured for this plan yet: press Measure.")
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
    cuts = {} if isinstance(form, Dense) else {form.family: FAMILIES[form.family].level(form, view)}
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
    with right:
        st.markdown("**Rank rules** on its singular values", help=help_text("rank"))
        spectrum = layer.spectrum
        if spectrum is not None:
            even = FAMILIES["lowrank"].break_even(view, quantity)
            marks = [mark for mark in rank_marks(spectrum) if mark.rank >= 1]
            chosen = st.selectbox(
                "Rule",
                marks,
                format_func=lambda mark: f"{mark.label}: rank {mark.rank}{' (costs more)' if mark.rank > even else ''}",
                help="Where a rule comes from and what it assumes is on the Spectra page.",
            )
            st.button(
                "Use this rank",
                on_click=lambda: state.change_plan(
                    tuning.edited(survey, plan, view.name, "lowrank", chosen.rank, now.mode)
                ),
            )
        others = tuning.alike(survey, view.name)
        st.button(
            f"Same form for {len(others)} similar layer{'' if len(others) == 1 else 's'}",
            key="same-form",
            disabled=not others,
            help="Layers of the same kind, shape and stride.",
            on_click=lambda: state.change_plan(tuning.similar(survey, plan, view.name)),
        )


def editor(survey: Survey, plan: Plan, now: state.Selection) -> None:
    """Ranks typed by hand; the truth stays in the plan, so an edit is applied and the table made anew."""
    quantity = tuning.counted(survey, now.mode, now.quantity)[0]
    columns = tuning.table(survey, plan, now.locked, quantity)
    names = columns["layer"]
    key = f"editor-{state.revision()}-{hash(plan)}"

    def apply() -> None:
        state.keep("editor-said", "")
        edits: dict[int, Json] = state.value(key, {}).get("edited_rows", {})
        made, locked = state.get().plan or plan, list(state.get().locked)
        for row, change in edits.items():
            name = names[int(row)]
            if survey.layer(name).obstacle:
                state.keep("editor-said", f"{name} stays dense: {survey.layer(name).obstacle}.")
                continue
            if "level" in change:
                family = made.form(name).family
                wanted = change["level"]
                default = tuning.families_of(survey.layer(name), now.mode, made.form(name))
                family = family if family != "dense" else (default or ["dense"])[0]
                made = tuning.edited(survey, made, name, family if wanted else "dense", int(wanted or 0), now.mode)
            if "locked" in change:
                locked = [n for n in locked if n != name] + ([name] if change["locked"] else [])
        state.put(locked=tuple(locked))
        state.bump()
        state.change_plan(made)

    st.data_editor(
        columns,
        key=key,
        on_change=apply,
        disabled=[name for name in columns if name not in ("level", "locked")],
        column_config={
            "layer": st.column_config.TextColumn(pinned=True),
            "form": st.column_config.TextColumn(width="medium"),
            "of": st.column_config.NumberColumn(help="The largest level."),
            "break-even": st.column_config.NumberColumn(help=help_text("break-even rank")),
            "why not": st.column_config.TextColumn(width="large", help=help_text("obstacle")),
            "level": st.column_config.NumberColumn("level", help=help_text("rank"), min_value=1, step=1),
            f"{tuning.WORDS[quantity]} kept": st.column_config.NumberColumn(format="percent"),
            "weight error": st.column_config.NumberColumn(format="percent", help=help_text("error")),
            "output error": st.column_config.NumberColumn(format="percent", help=help_text("output error")),
        },
        hide_index=True,
        width="stretch",
        placeholder="–",
        alt=f"The form and level of every layer of {survey.model.name}; level and locked can be edited.",
    )
    if state.value("editor-said"):
        st.info(frame.literal(state.value("editor-said")), icon=":material/info:")
    st.markdown("Type a level to give a dense layer its first form; clear it to make the layer dense.")


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
    st.caption(frame.conditions(found["compressed"]))


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
