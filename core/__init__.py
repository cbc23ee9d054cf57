"""The compute core of Rankscope: tensors in, frozen records of plain numbers out. No Streamlit, Plotly or printing."""

__version__ = "0.1.0"
