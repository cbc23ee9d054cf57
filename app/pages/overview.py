"""Where can this model shrink? Opens from stored numbers: no torch, no Plotly."""

import streamlit as st

from app import findings, frame, state
from app.components import last_message, rank_bars, unseen
from app.glossary import help_text

found = frame.begin("Where can this model shrink?")
if found is None:
    st.stop()
assert found is not None
now = state.get()


def heard() -> None:
    """A click on the strip makes that layer the primary one."""
    for message in unseen(last_message("strip"), state.seen()):
        state.seen(message["seq"])
        if message["kind"] == "select":
            state.put(primary=message["layer"], selected=tuple(dict.fromkeys([*state.get().selected, message["layer"]]))[-8:])


energy = st.segmented_control(
    "Energy to keep in every layer",
    (80, 90, 95, 99),
    default=now.energy,
    format_func=lambda percent: f"{percent} %",
    help=help_text("energy"),
    key="overview-energy",
    on_change=state.changed("overview-energy", lambda value: state.put(energy=value or 90)),
)
first, *more = findings.findings(found, (energy or 90) / 100)
st.markdown(f"### {frame.literal(first)}")
for sentence in more:
    st.markdown(frame.literal(sentence))

a, b, c, d = st.columns(4)
a.metric("Parameters", f"{found.dense.params:,}", help=help_text("parameters"), border=True)
b.metric("MACs per sample", f"{found.dense.macs:,}" if found.dense.macs else "unknown", help=help_text("MACs"), border=True)
c.metric("Size on disk", f"{found.dense.bytes / 1e3:,.0f} kB", help=help_text("bytes"), border=True)
d.metric("Accuracy, dense", *frame.accuracy_words(found.accuracy), delta_color="off", border=True)

st.markdown(
    "**Every layer**: height is how many weights it holds, the filled part the rank its energy needs, the tick its "
    "break-even rank. Click one to take it in hand."
)
rank_bars(
    findings.strip(found, (energy or 90) / 100) | {"primary": now.primary, "revision": hash((found.model.digest, energy)) % 2**31},
    key="strip",
    height=260,
    on_change=heard,
)

cards = st.columns(3)
with cards[0].container(border=True):
    st.markdown("**Drag a rank** and see at once what it costs and saves.")
    st.page_link("app/pages/tune.py", label="Open Tune", icon=":material/tune:")
with cards[1].container(border=True):
    st.markdown("**Look at the spectra**, layer by layer, with every rank rule on one plot.")
    st.page_link("app/pages/spectra.py", label="Open Spectra", icon=":material/show_chart:")
with cards[2].container(border=True):
    st.markdown("**Bring your own model**: a `.safetensors` or `.pt` file, or a folder of shards.")
    if st.button("Open a model", icon=":material/folder_open:", key="card-open"):
        from app import dialogs

        dialogs.open_model()
if found.notes or found.calibration:
    with st.expander("What opening it said"):
        for note in (*found.notes, found.reason, f"Output errors were predicted from {found.calibration}." if found.calibration else ""):
            if note:
                st.markdown(f"- {frame.literal(note)}")
