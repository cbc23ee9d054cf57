"""What pages are built of: inputs that return plain values, a figure with its table twin, and a "why?"."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st

from app import state
from app.figures.theme import Theme, theme, toolbar
from app.glossary import help_text, term
from core import provenance

if TYPE_CHECKING:
    import plotly.graph_objects as go

Table = Mapping[str, Sequence[Any]]
T = TypeVar("T")

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet may take for a formula; names from a checkpoint must not become one."""


def look() -> Theme:
    """The look of figures: the browser's theme, and teaching mode. Light until the browser has said which it is."""
    return theme(dark=st.context.theme.type == "dark", teaching=state.teaching())


def figure(
    fig: go.Figure, alt: str, table: Table, name: str, *,
    key: str = "", on_select: Callable[[], None] | None = None, many: bool = False,
    config: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Places a figure, and under it "Show as table" with the same numbers and their CSV.

    alt     one sentence that says what the figure shows.       table   columns by name, equally long.
    name    of the files it can be saved to; one figure a page has it. key  of the widget, `name` if not given.
    on_select   called after a click on a marker: `state.value(key)` holds the points. many  also after a lasso or box.
    config  of the table's columns (`st.column_config`).
    """
    key, file = key or f"figure-{name}", file_name(name)
    clicks: dict[str, Any] = {
        "on_select": on_select,
        "selection_mode": ("points", "lasso", "box") if many else "points",
    }
    clicks = clicks if on_select else {}
    st.plotly_chart(fig, theme=None, config=toolbar(file), alt=alt, key=key, **clicks)
    twin = st.expander("Show as table", key=f"{key}-twin", icon=":material/table:", on_change="rerun")
    if twin.open:
        with twin:
            numbers(table, name, key=f"{key}-table", alt=f"The numbers of the figure. {alt}", config=config)


def numbers(table: Table, name: str, *, key: str = "", alt: str = "", config: Mapping[str, Any] | None = None) -> None:
    """A table and a button that saves it as CSV without running the page again."""
    key = key or f"table-{name}"
    st.dataframe(dict(table), hide_index=True, placeholder="–", column_config=dict(config or {}), alt=alt or None)
    st.download_button(
        "Save as CSV",
        lambda: csv_text(table),
        f"{file_name(name)}.csv",
        "text/csv",
        key=f"{key}-csv",
        icon=":material/download:",
        on_click="ignore",
    )


def caption(words: str) -> None:
    """Small print in the colour of text: Streamlit's own captions are too pale to read for some."""
    st.markdown(f":small[{words}]")


def why(key: str, label: str = "why?") -> None:
    """A quiet button that opens the glossary's entry: what the number is, its formula, unit and source."""
    with st.popover(label, type="tertiary", key=f"why-{key}", help=f"What {term(key).name} means"):
        st.markdown(help_text(key))


def choice(
    label: str, options: Mapping[T, str], key: str, *,
    value: T | None = None, term: str = "", then: Callable[[T], None] | None = None,
) -> T:  # fmt: skip
    """One of a few options, always set, the first at first; kept for the tab under `key`.

    value   what it must show where the truth lies elsewhere.   term   of the glossary that explains it.
    then    called with a new value."""
    shown = value if value in options else state.value(key)
    if shown not in options or state.value(key) != shown:
        state.keep(key, shown if shown in options else next(iter(options)))
    found: T = st.segmented_control(
        label,
        list(options),
        format_func=lambda option: options[option],
        required=True,
        key=key,
        help=help_text(term) if term else None,
        on_change=state.changed(key, then) if then else None,
        persist_state="session",
    )
    return found


def forget(key: str, options: Collection[Any]) -> None:
    """Drops what a menu kept from another model and does not offer here; called before the menu is placed."""
    kept = state.value(key)
    if isinstance(kept, list):
        state.keep(key, [option for option in kept if option in options])
    elif kept is not None and kept not in options:
        state.keep(key, next(iter(options)))


def csv_text(table: Table) -> str:
    """Columns as CSV with a header line and a last column that says what made it. A missing value is an empty cell,
    text that looks like a formula is quoted."""
    rows = len(next(iter(table.values()), ()))
    table = {**table, "made with": [provenance.line()] * rows}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(name) for name in table])
    writer.writerows([_cell(value) for value in row] for row in zip(*table.values(), strict=True))
    return out.getvalue()


def file_name(name: str) -> str:
    """A name from a checkpoint as a file name: letters of any script, digits, dots, hyphens; 80 at most."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-")[:80] or "rankscope"


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return value
