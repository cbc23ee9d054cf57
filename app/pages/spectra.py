"""How fast do these layers decay, and is that signal or noise?"""

import streamlit as st

from app import frame, spectra_details, spectra_panels

found = frame.begin("How fast do these layers decay?")
if found is None:
    st.stop()
assert found is not None

left, right = st.columns(2)
with left:
    spectra_panels.plot(found)
with right:
    spectra_panels.table(found)
spectra_details.below(found)
