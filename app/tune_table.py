"""The plan as a table to type into: a level for each layer, and its lock.

The truth stays in the plan. While edits come from the table itself it keeps its place in the page, so that one can go
on typing; when the plan changes elsewhere, or a typed value could not be taken as it is, the table is made anew.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import frame, state, tuning
from app.glossary import help_text
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.networks.forms import Dense, family_of

SHOWS, NUMBER, SAID = "table-shows", "table-number", "table-said"
WHOLE = ("level", "of", "break-even")


def editor(survey: Survey, plan: Plan, now: state.Selection) -> None:
    """Places the table, and below it why an edit was not taken."""
    quantity = tuning.counted(survey, now.mode, now.quantity)[0]
    columns = tuning.table(survey, plan, now.locked, quantity)
    if state.value(SHOWS) != _shown(now):
        state.keep(SHOWS, _shown(now))
        state.keep(NUMBER, state.value(NUMBER, 0) + 1)
    key = f"table-{state.value(NUMBER)}"
    error = st.column_config.NumberColumn
    st.data_editor(
        _data(columns),
        key=key,
        on_change=lambda: _take(survey, plan, state.value(key, {}).get("edited_rows", {})),
        disabled=[name for name in columns if name not in ("level", "locked")],
        column_config={
            "layer": st.column_config.TextColumn(pinned=True),
            "form": st.column_config.TextColumn(width="medium"),
            "of": st.column_config.NumberColumn(help="The largest level."),
            "break-even": st.column_config.NumberColumn(help=help_text("break-even rank")),
            "why not": st.column_config.TextColumn(width="large", help=help_text("obstacle")),
            "level": st.column_config.NumberColumn("level", help=help_text("rank"), min_value=1, step=1),
            f"{tuning.WORDS[quantity]} kept": st.column_config.NumberColumn(format="percent"),
            "weight error": error(format="percent", help=help_text("error")),
            "output error": error(format="percent", help=help_text("output error")),
        },
        hide_index=True,
        width="stretch",
        placeholder="–",
        alt=f"The form and level of every layer of {survey.model.name}; level and locked can be edited.",
    )
    if state.value(SAID):
        st.info(frame.literal(state.value(SAID)), icon=":material/info:")
    st.markdown("Type a level to give a dense layer its first form; clear it to make the layer dense.")


def edited(
    survey: Survey, plan: Plan, locked: tuple[str, ...], mode: str, edits: dict[int, dict[str, Any]]
) -> tuple[Plan, tuple[str, ...], str]:
    """Plan and locked layers after edits (row: column: value), and why one was not taken as typed, "" if all were."""
    said = ""
    for row, change in edits.items():
        layer = survey.layers[int(row)]
        name = layer.view.name
        if layer.obstacle:
            said = f"{name} stays dense: {layer.obstacle}."
            continue
        if "level" in change:
            wanted = int(change["level"] or 0)
            form = plan.form(name)
            offered = tuning.families_of(layer, mode, form)
            family = form.family if form.family in offered else (offered or ["dense"])[0]
            plan = tuning.edited(survey, plan, name, family if wanted else "dense", wanted, mode)
            made = plan.form(name)
            kind = None if isinstance(made, Dense) else family_of(made)
            got = kind.level(made, layer.view) if wanted and kind else 0
            if got != wanted and kind:
                said = f"{name} takes {kind.unit} {got}: it has {kind.full(layer.view)} at most."
        if "locked" in change:
            others = tuple(n for n in locked if n != name)
            locked = (*others, name) if change["locked"] else others
    return plan, locked, said


def _take(survey: Survey, plan: Plan, edits: dict[int, dict[str, Any]]) -> None:
    """Applies what was typed since the table was made; typing the same again changes nothing."""
    now = state.get()
    made, locked, said = edited(survey, now.plan or plan, now.locked, now.mode, edits)
    touched = [
        row.view.name for row in survey.layers if made.form(row.view.name) != (now.plan or plan).form(row.view.name)
    ]
    state.keep(SAID, said)
    state.put(locked=locked, primary=touched[-1] if touched else now.primary)
    state.bump()
    state.change_plan(made)
    state.keep(SHOWS, None if said else _shown(state.get()))


def _shown(now: state.Selection) -> int:
    """Stands for everything the table can edit."""
    return hash((now.model, now.arch, now.mode, now.plan, now.locked))


def _data(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """Columns whose types do not depend on which cells are empty, or the table would be made anew with every first
    value."""
    made = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    kinds = {name: "Int64" if name in WHOLE else "boolean" if name == "locked" else "string" for name in columns}
    kinds |= {name: "Float64" for name in columns if name.endswith(("kept", "error"))}
    return made.astype(kinds)
