"""Removing masked rows for real, on the Tune page: the choice, and what was counted once it was measured."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import frame, services, state, widgets
from app.glossary import help_text
from core.compression.coupling import missing
from core.compression.plans import Plan
from core.networks.costs import Cost
from core.networks.forms import Filters

KEY = "remove-rows"


def toggle(plan: Plan | None) -> None:
    """The choice, where a layer of the plan masks whole rows; it is off and says why where it cannot be made."""
    if plan is None or not any(isinstance(entry.form, Filters) for entry in plan.layers):
        return
    why = missing()
    state.keep(KEY, plan.remove)  # undo changes it too
    st.toggle(
        "Remove masked rows for real",
        key=KEY,
        disabled=bool(why) and not plan.remove,
        help=frame.literal(why) if why else f"{help_text('removed rows')}\n\n{help_text('coupled layers')}",
        on_change=state.changed(KEY, lambda value: state.change_plan(replace(plan, remove=value))),
    )
    if why:
        widgets.caption(f"{frame.literal(why)}.")
    elif plan.remove:
        st.markdown("The bars show masks; what removing their rows leaves is counted when the plan is measured.")


def counted(plan: Plan, now: state.Selection) -> Cost | None:
    """What was counted on the network without the rows; None if nothing is removed or it was not measured."""
    found = services.evaluation(now.model, plan, now.data) if plan.remove else None
    return Cost(**found["cost"]) if found and found.get("cost") else None


def notes(plan: Plan, now: state.Selection) -> None:
    """Which rows stayed masked, and what else removing the others meant."""
    found = services.evaluation(now.model, plan, now.data) if plan.remove else None
    for note in (found or {}).get("notes") or ():
        st.markdown(f"- {frame.literal(note)}")
