"""Where can this model shrink? Opens from stored numbers: no torch, no Plotly."""

import streamlit as st

from app import findings, frame, projector, state
from app.components import last_message, rank_bars, unseen
from app.glossary import help_text
from core.compression.survey import Survey


def energy_kept() -> None:
    """Which share of energy the sentences and the bars speak of."""
    st.segmented_control(
        "Energy to keep in every layer",
        (80, 90, 95, 99),
        default=state.get().energy,
        format_func=lambda percent: f"{percent} %",
        required=True,
        help=help_text("energy"),
        key="overview-energy",
        on_change=state.changed("overview-energy", lambda value: state.put(energy=value)),
    )


def numbers(survey: Survey) -> None:
    """What the dense model costs and reaches."""
    dense = survey.dense
    macs = f"{dense.macs:,}" if dense.macs else "unknown"
    accuracy = ("Accuracy, dense", *frame.accuracy_words(survey.accuracy))
    a, b, c, d = st.columns(4)
    a.metric("Parameters", f"{dense.params:,}", help=help_text("parameters"), border=True, height="stretch")
    b.metric("MACs per sample", macs, help=help_text("MACs"), border=True, height="stretch")
    c.metric("Size on disk", f"{dense.bytes / 1e3:,.0f} kB", help=help_text("bytes"), border=True, height="stretch")
    d.metric(*accuracy, delta_color="off", help=help_text("accuracy"), border=True, height="stretch")


def strip(survey: Survey) -> None:
    """Every layer as a bar."""
    now = state.get()
    st.markdown(
        "**Every layer**: height is how many weights it holds, the filled part the rank that the energy of its weights "
        "needs, the tick its break-even rank. Click one to take it in hand."
    )
    data = findings.strip(survey, now.energy / 100) | {
        "primary": now.primary,
        "revision": hash((survey.model.digest, now.energy)) % 2**31,
        "scale": projector.SCALE if state.teaching() else 1.0,
    }
    rank_bars(data, key="strip", height=projector.STRIP_HEIGHT if state.teaching() else 260, on_change=heard)


def heard() -> None:
    """A click on the strip makes that layer the primary one."""
    for message in unseen(last_message("strip"), state.seen()):
        state.seen(message["seq"])
        if message["kind"] == "select":
            selected = dict.fromkeys([*state.get().selected, message["layer"]])
            state.put(primary=message["layer"], selected=tuple(selected)[-8:])


def cards() -> None:
    """Where to go from here."""
    one, two, three = st.columns(3)
    with one.container(border=True, height="stretch"):
        st.markdown("**Drag a rank** and see at once what it costs and saves.")
        st.page_link("app/pages/tune.py", label="Open Tune", icon=":material/tune:")
    with two.container(border=True, height="stretch"):
        st.markdown("**Look at the spectra**, layer by layer, with every rank rule on one plot.")
        st.page_link("app/pages/spectra.py", label="Open Spectra", icon=":material/show_chart:")
    with three.container(border=True, height="stretch"):
        st.markdown("**Bring your own model**: a `.safetensors` or `.pt` file, or a folder of shards.")
        if st.button("Open a model", icon=":material/folder_open:", key="card-open"):
            from app import dialogs

            dialogs.open_model()


def remarks(survey: Survey) -> None:
    """What opening the model said, and what predictions rest on."""
    said = [*survey.notes, survey.reason]
    if survey.calibration:
        said.append(f"Output errors were predicted from {survey.calibration}.")
    if any(said):
        with st.expander("What opening it said"):
            for sentence in filter(None, said):
                st.markdown(f"- {frame.literal(sentence)}")


found = frame.begin("Where can this model shrink?")
if found is None:
    st.stop()
assert found is not None
first, *more = findings.findings(found, state.get().energy / 100)
if state.teaching():
    projector.fit()
    st.subheader(frame.literal(first), anchor=False)
    strip(found)
    energy_kept()
else:
    energy_kept()
    st.subheader(frame.literal(first), anchor=False)
for finding in more:
    st.markdown(frame.literal(finding))
numbers(found)
if not state.teaching():
    strip(found)
cards()
remarks(found)
