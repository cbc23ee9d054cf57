"""The upper half of the Spectra page: spectra on the left, the table of layers on the right, linked both ways.

Each is a fragment of its own, so that a tick redraws the lines and not the table.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from app import frame, references, spectra_rows, state, widgets
from app.figures.spectra import MOST_REFERENCES, spectra_alt, spectra_figure, spectra_note, spectra_table
from app.figures.spectra_view import SpectraView
from app.figures.thinning import POINTS
from app.glossary import help_text
from app.spectra_controls import BELOW, PLOT, TABLE, drawn, matrix_in_hand, redraw, show_all, shown, walk
from app.views import SEARCH
from core.compression.survey import LayerSurvey, Survey

FIGURE = "spectra-figure"

TALL, ROWS, EDGE = 420, (35, 43), 38
"""Pixels: of the table at most, so that with its controls it is as tall as the plot with its own (measured); of a row,
which grows where there are few; of the heading and the border."""

RINGS = 4
"""Lines up to which each has its rank marked; of more only the one in hand, as labels would collide (chosen)."""


@st.fragment(key=PLOT)
def plot(survey: Survey) -> None:
    """Spectra of the ticked layers over all others, with everything that says how they are drawn."""
    now, matrix = state.get(), matrix_in_hand(survey)
    place = st.container()  # the figure stands above its controls, so that a phone shows it first
    layers = {layer.view.name: spectra_rows.seen_as(layer, matrix) for layer in survey.layers}
    longest = max((layer.spectrum.k for layer in layers.values() if layer.spectrum), default=2)
    view, kind, twin = drawn(survey, longest)
    state.mirror()
    selected = [layers[name] for name in now.selected]
    first = [survey.layer(name) for name in sorted(now.selected, key=lambda name: name != now.primary)]
    room = min(MOST_REFERENCES, spectra_rows.MOST - len(selected))
    compared, missing = references.references(kind, first, matrix, room, twin)
    marked = [layer for layer in selected if len(selected) <= RINGS or layer.view.name == now.primary]
    cuts = {layer.view.name: spectra_rows.energy_level(layer.spectrum, now.energy) or 0 for layer in marked}
    context = list(layers.values())
    others = [spectra_rows.stand_in(label, spectrum) for label, spectrum in compared]
    with place:
        widgets.figure(
            spectra_figure(selected, context, view, reference=compared, cuts=cuts, look=widgets.look(), height=420),
            spectra_alt(selected, view),
            spectra_table([*(selected or context[: spectra_rows.MOST]), *others], view),
            f"{survey.model.name}-spectra",
            key=FIGURE,
            on_select=_clicked,
        )
    _remarks(selected, view, missing)


@st.fragment(key=TABLE)
def table(survey: Survey) -> None:
    """Every layer as a row: filters above, ticks on the left, what a number means in its heading."""
    now = state.get()
    walk(survey)
    _filters(survey)
    state.mirror()
    layers = shown(survey)
    if not layers:
        st.info("No layer has that name and kind. Clear the search to see all of them.")
        return
    names = [layer.view.name for layer in layers]
    key = table_key(survey, names)
    wanted = [i for i, name in enumerate(names) if name in now.selected]
    if sorted(_rows(key)) != wanted:
        state.keep(key, {"selection": {"rows": wanted, "columns": [], "cells": []}})
    columns = spectra_rows.table(survey, layers, now.energy)
    tall = min(max((TALL - EDGE) // len(names), ROWS[0]), ROWS[1])
    st.dataframe(
        columns,
        key=key,
        hide_index=True,
        height=min(EDGE + tall * len(names), TALL),
        row_height=tall,
        placeholder="–",
        column_config=_columns(survey, now.energy, spectra_rows.spark_low(columns["log σ"])),
        on_select=lambda: _ticked(names, key),
        selection_mode="multi-row",
        alt=f"Layers of {survey.model.name}: tick a row to draw its spectrum.",
    )
    st.markdown("Further right in the table: MACs, other ranks, alpha, and why a layer stays dense.")
    if not survey.runnable:
        st.markdown(f"MACs are unknown: {frame.literal(survey.reason)}.")
    if len(now.selected) >= spectra_rows.MOST:
        st.markdown(f"{spectra_rows.MOST} layers are drawn, the most at once: another tick replaces the oldest.")


def table_key(survey: Survey, names: list[str]) -> str:
    """The key of the table that shows these layers: another filter, another table, so that rows keep their meaning."""
    return f"spectra-rows-{survey.model.digest[:12]}-{hash(tuple(names)) % 2**32}"


def _filters(survey: Survey) -> None:
    """Kinds and a part of the name."""
    found = spectra_rows.kinds(survey)
    widgets.forget("spectra-kinds", found if len(found) > 1 else ())
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if len(found) > 1:
            st.pills("Kinds", found, selection_mode="multi", key="spectra-kinds", persist_state="session")
        st.text_input(
            "Search layers",
            type="search",
            live=True,
            key="spectra-search",
            max_chars=SEARCH,
            persist_state="session",
            placeholder="part of a name",
        )


def _remarks(selected: list[LayerSurvey], view: SpectraView, missing: str) -> None:
    """What the figure does not show, and how to see it."""
    if not selected:
        st.info(
            "Grey are all layers. To colour one, tick a row, press j, or click a grey line.",
            icon=":material/touch_app:",
        )
    for layer in selected:
        if layer.spectrum is None:
            why = layer.obstacle or "it has no such matrix"
            st.warning(f"{frame.literal(layer.view.name)} has no spectrum here: {frame.literal(why)}.")
        elif not layer.spectrum.S[0]:
            st.warning(f"{frame.literal(layer.view.name)} is all zeros: there is nothing to draw on this axis.")
    if missing:
        st.markdown(frame.literal(missing))
    if thinned := spectra_note(selected, replace(view, points=POINTS)):
        show_all(thinned)


def _clicked() -> None:
    """A click on a line: its layer is ticked and in hand. A second click on the same point takes nothing away."""
    points = (state.value(FIGURE) or {}).get("selection", {}).get("points", [])
    found = [point.get("customdata") for point in points]
    names = [name[0] if isinstance(name, list) else name for name in found if name]
    if names:
        state.put(selected=spectra_rows.added(state.get().selected, names[0]), primary=names[0])
        redraw(PLOT, TABLE, BELOW)


def _ticked(names: list[str], key: str) -> None:
    """Ticks as the table has them now. The table itself is drawn again only where it must take one back."""
    now, rows = state.get(), _rows(key)
    selected, primary = spectra_rows.ticked(now.selected, now.primary, names, rows)
    state.put(selected=selected, primary=primary)
    full = spectra_rows.MOST in (len(selected), len(now.selected))
    redraw(PLOT, *([BELOW] if primary != now.primary else []), *([TABLE] if full else []))


def _rows(key: str) -> list[int]:
    """Rows that are ticked in the browser."""
    return list((state.value(key) or {}).get("selection", {}).get("rows", []))


def _columns(survey: Survey, energy: int, low: float) -> dict[str, Any]:
    """Headings with what each number means, and how it is written."""
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    macs = help_text("MACs") if survey.runnable else f"Unknown, because {frame.literal(survey.reason)}."
    return {
        "layer": text("layer", width=112, help="Where the layer stands in the network."),
        "log σ": st.column_config.LineChartColumn(
            "log σ", width=52, y_min=low, y_max=0, help=help_text("singular value")
        ),
        "kind": text("kind", width=56, help="What the layer is; hf_conv1d is a linear layer stored transposed."),
        "shape": text("shape", width=142, help="Outputs × inputs; for a convolution inputs → outputs and its kernel."),
        "parameters": number("parameters", width=84, format="localized", help=help_text("parameters")),
        "MACs": number("MACs", format="localized", help=macs) if survey.runnable else text("MACs", help=macs),
        "rank": number(f"rank {energy} %", width=72, help=help_text("energy rank")),
        "break-even": number("break-even", width=78, help=help_text("break-even rank")),
        "stable rank": number("stable rank", format="%.1f", help=help_text("stable rank")),
        "entropy rank": number("entropy rank", format="%.1f", help=help_text("entropy rank")),
        "numerical rank": number("numerical rank", help=help_text("numerical rank")),
        "alpha": number("alpha", format="%.2f", help=help_text("alpha")),
        "alpha distance": number("fit distance", format="%.2f", help=help_text("alpha distance")),
        "spikes": number("spikes", help=help_text("spikes")),
        "compressible": text("compressible", width="medium", help=help_text("obstacle")),
    }
