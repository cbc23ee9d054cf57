"""What every page has: its place in the session, the bar under the navigation, notices, a panel for a running job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from app import services, sources, state
from app.worker import Job
from core.compression.survey import Survey
from core.errors import InputError
from core.provenance import Measurement, measurement_of

_STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding-top: 4.25rem; padding-bottom: 2rem; }
[data-testid="stMetricDelta"] svg { display: none; }
[data-selected="true"] p, [data-testid="stSliderThumbValue"] * { color: CanvasText; }
[data-testid="stHeader"] a:focus-visible { outline: 3px solid currentColor; }
</style>"""
"""Less empty space above the heading: on a projector every line counts. No arrow beside conditions. The chosen segment
and the value of a slider in the colour of text: in the dark theme the primary colour, which carries white, is too dark
to be read on it. A visible focus in the navigation."""

POLL = 0.5
"""Seconds between looks at a running job."""


def begin(title: str) -> Survey | None:
    """Heading, bar and notices; the survey of the open model, or None if it is still to be made (and the page must
    stop)."""
    state.followed()
    now = state.get()
    found = services.survey(now.model, now.data)
    if found is None:
        _open_link(now)
        return None
    state.fit(found)
    state.mirror()
    st.html(_STYLE)
    _bar(title, found)
    _notices()
    _calibrating(now, found)
    _opened(now, found)
    return found


def _open_link(now: state.Selection) -> None:
    """Opens the model that the address names; the demo, with a notice, when that cannot be done or was cancelled."""
    job = services.job(state.job("link"))
    if job is None:
        try:
            job = services.submit("survey", now.model)
        except InputError as error:
            _fall_back(now, str(error))
            return
        state.job("link", job.id)

    def done(made: Any) -> None:
        services.learn(now.model, made["survey"])
        state.job("link", "")

    title = f"Opening {literal(sources.display_name(now.model))}"
    follow(job, title, done, lambda why: _fall_back(now, why))
    if job.state == "cancelled" or state.left(job.id):
        _fall_back(now, "Opening the model of this link was cancelled.")


def _fall_back(now: state.Selection, why: str) -> None:
    """The demo instead of a model that cannot be opened."""
    state.job("link", "")
    if now.model == state.DEFAULT_MODEL and not now.arch:
        st.error(literal(why), icon=":material/error:")
        st.stop()
    state.notice(f"{why} Showing the demo instead.")
    state.reset()
    st.rerun()


def follow(job: Job, title: str, then: Callable[[Any], Any], failed: Callable[[str], Any] | None = None) -> None:
    """A panel that follows a job: what it does, how far it is, time so far and Cancel; `then(result)` once it is done,
    followed by a full run. Touches nothing when the job was cancelled, or has its panel in this run already."""

    @st.fragment(run_every=None if job.over else POLL)
    def panel() -> None:
        if job.over or state.left(job.id):
            st.rerun()
        services.look(job)
        what, done, of = job.progress
        with st.container(border=True):
            left, right = st.columns([5, 1], vertical_alignment="center")
            share = min(done / of, 1.0) if of else 0.0
            counted = f" {done:,} of {of:,}" if of else ""
            left.progress(share, f"{title}: {what}{counted} · {job.elapsed:.0f} s")
            right.button("Cancel", key=f"cancel-{job.id}", on_click=services.cancel, args=(job.id,), width="stretch")

    if state.followed(job.id) or state.left(job.id):
        return
    if not job.over:
        panel()
        return
    handled = f"handled-{job.id}"
    if state.value(handled):
        return
    state.keep(handled, True)
    if job.state == "done":
        then(job.result)
        st.rerun()
    elif job.state == "failed":
        (failed or state.notice)(job.error)
        st.rerun()


def watch(job: Job, label: str) -> None:
    """A metric that stands for a number still being measured, and gives way to it."""

    @st.fragment(run_every=POLL)
    def panel() -> None:
        if job.over:
            st.rerun()
        services.look(job)
        what, done, of = job.progress
        counted = f"{what} {done:,} of {of:,}" if of else what
        st.metric(
            label, "measuring", f"{counted}, {job.elapsed:.0f} s", delta_color="off", delta_arrow="off", border=True
        )

    panel()


def conditions(content: dict[str, Any]) -> str:
    """The conditions of a measurement in one line."""
    m = measurement_of(content)
    made = m.provenance
    return (
        f"{m.what}; n = {m.n:,}, seed {m.seed}; {made.conditions}; {made.device}, {made.threads} threads; "
        f"{', '.join(made.versions)}; {made.date}"
    )


def _bar(title: str, survey: Survey) -> None:
    """Title, what is open, and the dialogs (imported when asked for: the first page opens sooner without)."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader(title, anchor=False)
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right", width="content"):
            kinds = sum(1 for layer in survey.layers if not layer.obstacle)
            runs = "" if survey.runnable else " · weights only"
            st.markdown(
                f"**{literal(survey.model.name)}** · {kinds} of {len(survey.layers)} layers compressible · "
                f"{survey.dense.params:,} parameters{runs}"
            )
            asked = {
                "open_model": st.button("Open model", icon=":material/folder_open:", shortcut="o", key="open-model"),
                "share": st.button("Share and export", icon=":material/share:", shortcut="s", key="share"),
                "about": st.button("?", help="Shortcuts, versions, and what is sent where", shortcut="h", key="about"),
            }
    name = next((name for name, pressed in asked.items() if pressed), state.dialog())
    if name:
        from app import dialogs

        getattr(dialogs, name)()


def _notices() -> None:
    for text in state.notices():
        left, right = st.columns([12, 1], vertical_alignment="center")
        left.warning(literal(text), icon=":material/info:")
        right.button("Dismiss", key=f"dismiss-{hash(text)}", on_click=state.dismiss, args=(text,))


def _calibrating(now: state.Selection, survey: Survey) -> None:
    """Follows the calibration of the open model on whatever page the visitor is."""
    job = services.job(state.job("calibrate"))
    if job is not None and not survey.calibration:
        follow(job, "Calibrating", lambda made: services.learn(now.model, made["survey"], now.data))


def _opened(now: state.Selection, survey: Survey) -> None:
    """What opening the model said, and the offer to calibrate it, until either is used or dismissed."""
    job = services.job(state.job("calibrate"))
    offer = survey.runnable and not survey.calibration and (job is None or job.over)
    if not state.fresh() or not (survey.notes or survey.reason or offer):
        return
    with st.container(border=True, key="opened"):
        name = f"**Opened {literal(survey.model.name)}**{f', {literal(survey.arch)}' if survey.arch else ''}"
        notes = [*survey.notes, *([f"weights only, because {survey.reason}"] if survey.reason else [])]
        st.markdown(f"{name}: {literal('; '.join(notes))}." if notes else f"{name}.")
        fits = now.data != "digits" or services.fits_digits(survey)
        if offer and fits:
            st.markdown("Calibrate it on 1,000 training inputs (no labels), and errors of outputs can be predicted.")
        elif offer:
            shape = " × ".join(map(str, survey.input_shape))
            st.markdown(f"Its inputs are {shape}, which the digits do not fit: choose data under Open model.")
        with st.container(horizontal=True):
            if offer and fits:
                st.button(
                    f"Calibrate on {literal(sources.display_name(now.data))}",
                    type="primary",
                    icon=":material/science:",
                    on_click=_calibrate,
                    args=(now,),
                )
            st.button("Dismiss", key="dismiss-opened", on_click=state.fresh, args=(False,))


def _calibrate(now: state.Selection) -> None:
    state.fresh(False)
    try:
        state.job("calibrate", services.submit("calibrate", now.model, data=sources.path_of(now.data)).id)
    except InputError as error:
        state.notice(str(error))


def accuracy_words(measured: Measurement | None) -> tuple[str, str | None]:
    """An accuracy as a metric shows it: its value, and its conditions; "not measured" without one."""
    if measured is None:
        return "not measured", None
    return percent(measured.value), f"± {percent(measured.spread)}, n = {measured.n:,}"


def percent(share: float) -> str:
    """A share as every page writes it, to a tenth of a per cent."""
    return f"{100 * share:.1f}\u00a0%"


def literal(text: str) -> str:
    """Text from a file as Markdown that shows it literally."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>~$:" else c for c in text)
