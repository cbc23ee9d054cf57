"""Figures: records in, a Plotly figure out. No module here imports streamlit or torch.

Import the module that draws what you need (`from app.figures.spectra import spectra_figure`); this package file imports
nothing, so that a page without a figure does not pay for Plotly. Each module offers three pure functions:

    x_figure(records, ..., look)   the figure
    x_table(records, ...)          the same numbers as columns, for the table beside the figure
    x_alt(records, ...)            one sentence that states what the figure shows, for people who cannot see it

Figures carry their own colours (`theme.theme(dark, teaching)`), so place them with `st.plotly_chart(..., theme=None)`.
"""
