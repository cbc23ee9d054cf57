"""All runs, old and new: how far each is, and what can be done with it."""

from app import frame, run_panels

frame.begin("Runs")
run_panels.page()
