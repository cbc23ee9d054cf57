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
            selected = dict.fromkeys([*state.get().selected, message["layer"]])
            state.put(primary=message["layer"], selected=tuple(selected)[-8:])


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

macs = f"{found.dense.macs:,}" if found.dense.macs else "unknown"
a, b, c, d = st.columns(4)
a.metric("Parameters", f"{found.dense.params:,}", help=help_text("parameters"), border=True, height="stretch")
b.metric("MACs per sample", macs, help=help_text("MACs"), border=True, height="stretch")
c.metric("Size on disk", f"{found.dense.bytes / 1e3:,.0f} kB", help=help_text("bytes"), border=True, height="stretch")
d.metric("Accuracy, dense", *frame.accuracy_words(found.accuracy), delta_color="off", border=True, height="stretch")

st.markdown(
    "**Every layer**: height is how many weights it holds, the filled part the rank its energy needs, the tick its "
    "break-even rank. Click one to take it in hand."
)
strip = findings.strip(found, (energy or 90) / 100)
rank_bars(
    strip | {"primary": now.primary, "revision": hash((found.model.digest, energy)) % 2**31},
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
notes = [*found.notes, found.reason]
if found.calibration:
    notes.append(f"Output errors were predicted from {found.calibration}.")
if any(notes):
    with st.expander("What opening it said"):
        for note in filter(None, notes):
            st.markdown(f"- {frame.literal(note)}")
