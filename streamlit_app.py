"""Page configuration and navigation; nothing else."""

import streamlit as st

st.set_page_config(page_title="Rankscope", page_icon="📐", layout="wide")

PAGES = [
    st.Page("app/pages/overview.py", title="Overview", url_path="", default=True),
    st.Page("app/pages/spectra.py", title="Spectra", url_path="spectra"),
    st.Page("app/pages/tune.py", title="Tune", url_path="tune"),
    st.Page("app/pages/tradeoffs.py", title="Trade-offs", url_path="tradeoffs"),
    st.Page("app/pages/initialisation.py", title="Initialisation", url_path="initialisation"),
    st.Page("app/pages/runs.py", title="Runs", url_path="runs"),
]

st.navigation(PAGES, position="top").run()
