"""What a sweep is to try: budgets, forms, methods, repairs, seeds; and the button that starts it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import frame, services, state, tuning
from app.glossary import help_text
from core.catalogue import ALLOCATORS
from core.compression.coupling import missing
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError
from core.jobs.sweeps import FAMILY_SETS, KEEPS, REMOVED, REPAIRS, SweepSpec

FORMS = {
    "factored": "best low-rank form per layer",
    "lowrank": "k × k, then 1 × 1",
    "spatial": "k × 1, then 1 × k",
    "masks": "largest weights",
    "2:4": "2:4 sparsity",
    "rows": "whole rows or filters",
    "rows removed": "whole rows or filters, removed for real",
    "random": "random weights (baseline)",
}
REPAIR_WORDS = {"none": "none (plain truncation)", "whitened": "whitened fits", "full": "every step that helps"}
FEW = 2000
"""Test examples asked for at first where the network is not a small demo."""

STEPS = tuple(round(0.05 * i, 2) for i in range(1, 20))


def explore(survey: Survey, known: bool) -> None:
    """The form, open where nothing is known yet."""
    now = state.get()
    fits = now.data != "digits" or services.fits_digits(survey)
    if not fits:
        shape = " × ".join(map(str, survey.input_shape))
        st.info(f"Inputs of this model are {shape}, which the digits do not fit: choose data under Open model.")
        return
    with st.expander("Explore", expanded=not known, icon=":material/explore:"), st.form("explore", border=False):
        keeps = st.pills(
            "Budgets: what to keep",
            STEPS,
            selection_mode="multi",
            default=KEEPS,
            format_func=lambda keep: f"{100 * keep:.0f} %",
            help=help_text("kept fraction"),
        )
        left, right = st.columns(2)
        words = {q: w for q, w in tuning.WORDS.items() if survey.dense.of(q)}
        quantity = left.selectbox("Counted in", list(words), format_func=words.__getitem__, help=help_text("MACs"))
        labels = {row.name: row.label for row in ALLOCATORS}
        methods = left.multiselect(
            "Methods", list(labels), ["greedy"], format_func=labels.__getitem__, help=help_text("budget")
        )
        offered = [name for name in FAMILY_SETS if name != REMOVED or not missing()]
        forms = left.multiselect("Forms", offered, ["factored"], format_func=FORMS.__getitem__, help=help_text("form"))
        repairs = right.multiselect(
            "Repair", list(REPAIRS), ["full"], format_func=REPAIR_WORDS.__getitem__, help=help_text("repair")
        )
        seeds = right.number_input("Seeds", 1, 10, 1, help="Each draws other calibration examples.")
        small = now.data == "digits"
        limit = right.number_input(
            "Test examples (0: all)", 0, 1_000_000, 0 if small else FEW, 500, help="Fewer are quicker and less sure."
        )
        floor = right.number_input(
            "Least share of every layer, %", 0, 90, 0, 5, help="No layer keeps less of its own cost."
        )
        timed = right.toggle("Measure latency too", value=True, help=help_text("latency"))
        known = services.sensitivity_known(survey)
        informed = known is not None and right.toggle(
            "Allocate by measured damage", value=False, key="explore-informed", help=help_text("damage")
        )
        if now.locked:
            st.markdown(f"Layers locked in Tune keep their form: {frame.literal(', '.join(now.locked))}.")
        if st.form_submit_button("Explore", type="primary", icon=":material/play_arrow:"):
            _start(
                survey,
                quantity=quantity,
                keeps=tuple(sorted(keeps)),
                methods=tuple(methods),
                families=tuple(forms),
                repairs=tuple(repairs),
                seeds=tuple(range(int(seeds))),
                limit=int(limit) or None,
                timed=timed,
                floors={view.name: floor / 100 for view in survey.views} if floor else {},
                sensitivity=known.id if known is not None and informed else "",
            )


def _start(survey: Survey, **choices: Any) -> None:
    now = state.get()
    plan = now.plan or Plan(survey.model)
    pins = {name: plan.form_json(name) for name in now.locked}
    try:
        services.start(SweepSpec(**services.subject(survey), pins=pins, **choices))
    except InputError as error:
        state.notice(str(error))
    st.rerun()
