"""What is a starting point worth? A layer's function against its rank, and a whole network started low-rank."""

import streamlit as st

from app import frame, start_panels

found = frame.begin("Initialisation")
if found is None:
    st.stop()
assert found is not None
start_panels.page(found)
