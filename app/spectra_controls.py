"""The inputs of the spectra plot, as plain values, and what they have in common with the rest of the page."""

from __future__ import annotations

import streamlit as st

from app import references, services, sources, spectra_rows, state, widgets
from app.figures.spectra_view import SpectraView
from app.figures.thinning import POINTS
from app.glossary import help_text
from core.compression.survey import LayerSurvey, Survey

PLOT, TABLE, BELOW = "spectra-plot", "spectra-table", "spectra-below"
"""Keys of the page's three fragments."""

ENERGIES = {80: "80 %", 90: "90 %", 95: "95 %", 99: "99 %"}
QUANTITIES = {"S": "Spectrum", "energy": "Energy", "error": "Error"}
TERMS = {
    "plain": {"S": "singular value", "energy": "energy", "error": "error"},
    "whitened": {"S": "whitened spectrum", "energy": "output energy", "error": "output error"},
}
"""What explains a quantity of the matrix that is shown."""

AXES = {"log": "Logarithmic", "linear": "Linear"}


def shown(survey: Survey) -> list[LayerSurvey]:
    """Layers that the table shows under its filters."""
    wanted = set(state.value("spectra-kinds") or ()) & set(spectra_rows.kinds(survey))
    return spectra_rows.filtered(survey, wanted, state.value("spectra-search") or "")


def matrix_in_hand(survey: Survey) -> str:
    """The matrix whose spectra are drawn."""
    known = spectra_rows.matrices(survey)
    wanted = state.value("spectra-matrix")
    return wanted if wanted in known else next(iter(known))


def redraw(*parts: str) -> None:
    """In a callback: runs these fragments instead of the page."""
    st.rerun(list(parts))


def walk(survey: Survey) -> None:
    """The energy that is marked, and buttons to the previous and the next layer."""

    def step(by: int) -> None:
        now = state.get()
        names = [layer.view.name for layer in shown(survey)]
        selected, primary = spectra_rows.stepped(now.selected, now.primary, names, by)
        state.put(selected=selected, primary=primary)
        redraw(PLOT, TABLE, BELOW)

    def mark(energy: int) -> None:
        state.put(energy=energy)
        redraw(PLOT, TABLE)

    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        widgets.choice("Energy marked", ENERGIES, "spectra-energy", value=state.get().energy, term="energy", then=mark)
        with st.container(horizontal=True, gap="xsmall", width="content"):
            for key, by, label, icon in (("k", -1, "Previous", "upward"), ("j", 1, "Next", "downward")):
                st.button(
                    label,
                    icon=f":material/arrow_{icon}:",
                    shortcut=key,
                    key=f"spectra-{key}",
                    help=f"{label} layer, key {key}. With two or more layers ticked it moves among them.",
                    on_click=step,
                    args=(by,),
                )


def drawn(survey: Survey, longest: int) -> tuple[SpectraView, str, Survey | None]:
    """What is plotted, the kind of reference, and the other checkpoint if that is the reference. longest: spectrum."""
    known = spectra_rows.matrices(survey)
    widgets.forget("spectra-matrix", known)
    matrix = matrix_in_hand(survey)
    terms = TERMS["whitened" if matrix == "whitened" else "plain"]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
        quantity = widgets.choice(
            "Shown", QUANTITIES, "spectra-quantity", term=terms[state.value("spectra-quantity") or "S"]
        )
        st.selectbox(
            "Matrix",
            list(known),
            format_func=known.__getitem__,
            key="spectra-matrix",
            persist_state="session",
            help=help_text("whitened spectrum" if "whitened" in known else "plain spectrum"),
            width=135,
            on_change=lambda: redraw(PLOT, BELOW),
        )
        kind = st.selectbox(
            "Compared with",
            list(references.KINDS),
            format_func=references.KINDS.__getitem__,
            key="spectra-reference",
            persist_state="session",
            help=help_text("reference spectrum"),
            width=160,
        )
        if kind != "twin":
            state.keep("spectra-twin", None)
        twin = _twin(survey) if kind == "twin" else None
        with st.popover("Axes", key="spectra-axes", help="Scale and range of the axes"):
            normalise, log_x, indices = _axes(longest)
    view = SpectraView(
        quantity=quantity,
        normalise=normalise,
        log_x=log_x,
        unfolding=matrix,
        index_range=indices,
        points=points(),
    )
    return view, kind, twin


def points() -> int | None:
    """Points of a line at most, None for every one."""
    return None if state.value("spectra-all") else POINTS


def show_all(thinned: str) -> None:
    """A toggle that says how lines were thinned, or would be, and draws every point."""
    st.toggle(f"{thinned}: show all", key="spectra-all", persist_state="session", on_change=lambda: redraw(PLOT, BELOW))


def _axes(longest: int) -> tuple[bool, bool, tuple[int, int] | None]:
    """Normalised, logarithmic index, first and last index (None for all): what one sets once."""
    normalise = st.toggle(
        "Every line over its own largest value",
        key="spectra-normalise",
        persist_state="session",
        help="On, to compare shapes. Off, singular values are in units of the weights, or of the outputs if whitened.",
    )
    scale = widgets.choice("Index axis", AXES, "spectra-x")
    return normalise, scale == "log", _indices(longest) if longest > 2 else None


def _indices(longest: int) -> tuple[int, int] | None:
    """First and last index, None for all of them. What was asked for is kept whatever the longest spectrum is, and the
    slider shows what there is of it."""
    key, asked = f"spectra-range-{longest}", state.value("spectra-range") or (1, longest)
    shown = min(asked[0], longest - 1), min(asked[1], longest)
    if state.value(key) != shown:
        state.keep(key, shown)

    def ask(ends: tuple[int, int]) -> None:
        first = min(ends[0], longest - 1)
        state.keep("spectra-range", None if tuple(ends) == (1, longest) else (first, max(ends[1], first + 1)))

    st.slider("Indices shown", 1, longest, key=key, on_change=state.changed(key, ask))
    return None if shown == (1, longest) else shown


def _twin(survey: Survey) -> Survey | None:
    """Another checkpoint with layers of the same names and shapes: an embedded demo or one this tab has opened."""
    demos = [made for name in sources.demos() if (made := services.survey(name)) is not None]
    others = {
        found.model.digest[:12]: found
        for found in (*demos, *state.opened())
        if found.model.digest != survey.model.digest and references.alike(survey, found)
    }
    if state.value("spectra-twin") not in others:
        state.keep("spectra-twin", next(iter(others), None))
    if not others:
        st.markdown("No other open model has layers of these names and shapes: open one, then come back.")
        return None
    name = st.selectbox(
        "Checkpoint",
        list(others),
        format_func=lambda name: others[name].model.name,
        key="spectra-twin",
        persist_state="session",
        width=200,
    )
    return others.get(name)
