"""Page configuration and navigation; nothing else."""

import streamlit as st

st.set_page_config(page_title="Rankscope", page_icon="📐", layout="wide")

PAGES = [
    st.Page("app/pages/overview.py", title="Overview", url_path="", default=True),
    st.Page("app/pages/spectra.py", title="Spectra", url_path="spectra"),
    st.Page("app/pages/tune.py", title="Tune", url_path="tune"),
]

st.navigation(PAGES, position="top").run()
