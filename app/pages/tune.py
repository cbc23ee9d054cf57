"""What do I give up if I keep this much? The hero: bars to drag, what they cost, and what it measures to."""

import streamlit as st

from app import frame, projector, state, tune_panels

found = frame.begin("Tune ranks and sparsity")
if found is None:
    st.stop()
assert found is not None
if state.teaching():
    projector.fit()

if not any(not layer.obstacle for layer in found.layers):
    st.info("No layer of this model can be factorised; Spectra says why for each. Open another model to tune one.")
    st.stop()

tune_panels.tune(found)
