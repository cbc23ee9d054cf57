"""Figures are pure: no page library, no tensors, and the same figure twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import app.figures
from app.figures.spectra import spectra_figure

MODULES = sorted(path.stem for path in Path(app.figures.__file__).parent.glob("*.py") if path.stem != "__init__")


def test_no_figure_module_loads_streamlit_or_torch():
    lines = [f"import app.figures.{name}" for name in MODULES]
    check = "import sys; print([m for m in ('streamlit', 'torch') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, check])], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_the_package_itself_does_not_load_plotly():
    check = "import sys, app.figures; print('plotly' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_the_same_records_give_the_same_figure(forty):
    assert spectra_figure(forty[:2], forty).to_json() == spectra_figure(forty[:2], forty).to_json()
