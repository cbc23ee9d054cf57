"""Which configuration should I take? Measured accuracy against cost, from runs that outlive the page."""

import streamlit as st

from app import frame, tradeoff_panels

found = frame.begin("Accuracy against cost")
if found is None:
    st.stop()
assert found is not None
tradeoff_panels.page(found)
