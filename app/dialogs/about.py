"""About and diagnostics: versions, settings, shortcuts, and what is sent where."""

from __future__ import annotations

import platform
from importlib import metadata

import streamlit as st

from app import services, sources, state
from app.dialogs import parts
from core.provenance import here

NAME = "about"

SHORTCUTS = (
    ("o", "Open a model", "every page"),
    ("s", "Share and export", "every page"),
    ("h", "Shortcuts and about", "every page"),
    ("u", "Undo", "Tune"),
    ("y", "Redo", "Tune"),
    ("p", "Pin the plan to compare with", "Tune"),
    ("e", "Measure accuracy and latency", "Tune"),
    ("j, k", "Next and previous layer", "Spectra"),
)
"""Key, what it does, where; `tests/app/test_dialogs.py` compares them with the pages. None fires while you type."""

BARS = (
    ("← →", "Previous and next layer"),
    ("↑ ↓", "Rank up and down; with Shift by 8"),
)

SETTINGS = (
    "server.address",
    "server.allowedHosts",
    "server.maxUploadSize",
    "browser.gatherUsageStats",
    "client.showErrorDetails",
)


def about() -> None:
    """Opens the dialog, or keeps it open."""
    state.dialog(NAME)
    _dialog()


@st.dialog("Shortcuts and about", width="medium", on_dismiss=parts.closed)
def _dialog() -> None:
    if state.dialog() != NAME:
        st.rerun()
    keys, privacy, report = st.tabs(["Shortcuts", "What is sent where", "Diagnostics"])
    with keys:
        st.table(
            {
                "Key": [f"`{row[0]}`" for row in SHORTCUTS] + [f"`{row[0]}`" for row in BARS],
                "Does": [row[1] for row in SHORTCUTS] + [row[1] for row in BARS],
                "Where": [row[2] for row in SHORTCUTS] + ["the bars, when they have the focus"] * len(BARS),
            }
        )
    with privacy:
        st.markdown(
            "**Nothing is sent anywhere.** The page talks only to this server, the server to nobody; no statistics are "
            "gathered. An uploaded file stays in this server's cache until newer ones take its place. A link holds the "
            "model's name, the layers' names and your choices, never weights or data."
        )
    with report:
        st.markdown("Copy this into a question or an error report. It holds no names of files and no paths.")
        st.code(diagnostics(), language=None)


def diagnostics() -> str:
    """Versions, settings and the state of the worker pool, one fact a line."""
    versions = (*here().versions, *(f"{name} {metadata.version(name)}" for name in ("streamlit", "plotly")))
    jobs = services.pool().counts()
    return "\n".join(
        [
            "Rankscope",
            *versions,
            f"system {platform.system()} {platform.machine()}",
            *(f"{name} = {st.get_option(name)}" for name in SETTINGS),
            f"folder on the server: {'set' if sources.models_folder() else 'not set'}",
            "jobs: " + (", ".join(f"{count} {name}" for name, count in sorted(jobs.items())) or "none"),
        ]
    )
