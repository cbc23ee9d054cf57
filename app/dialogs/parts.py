"""What the dialogs have in common: an error that stays, and the progress of a job inside an open dialog."""

from __future__ import annotations

import streamlit as st

from app import frame, services, state
from app.worker import Job


def closed() -> None:
    """A dialog was closed by its cross, Escape or a click beside it."""
    state.dialog("")


def error(key: str) -> None:
    """The card of the last thing that failed under `key`, until it is dismissed."""
    text = state.value(key, "")
    if not text:
        return
    with st.container(horizontal=True, vertical_alignment="center", key=f"{key}-card"):
        st.error(frame.literal(text), icon=":material/error:")
        st.button("Dismiss", key=f"{key}-dismiss", on_click=fail, args=(key, ""))


def fail(key: str, text: str) -> None:
    """Something failed under `key`; "" forgets it."""
    state.keep(key, text)


def progress(job: Job, title: str) -> None:
    """What a job does, how far it is, the time so far and Cancel; the dialog is drawn anew when the job is over."""

    @st.fragment(run_every=frame.POLL)
    def panel() -> None:
        if job.over or state.left(job.id):
            st.rerun()
        services.look(job)
        what, done, of = job.progress
        with st.container(border=True, key="job"):
            counted = f" {done:,} of {of:,}" if of else ""
            st.progress(min(done / of, 1.0) if of else 0.0, f"{title}: {what}{counted} · {job.elapsed:.0f} s")
            st.button("Cancel", key=f"cancel-in-dialog-{job.id}", on_click=services.cancel, args=(job.id,))

    panel()
