"""Records and rank rules are imported by pages, which must not wait for torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("module", ["svd", "ranks", "diagnostics", "conv", "whitening"])
def test_importing_does_not_pull_torch(module: str) -> None:
    code = f"import sys, core.numerics.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_a_stored_spectrum_and_its_rules_work_without_torch() -> None:
    code = (
        "import sys\n"
        "from core.numerics.svd import Spectrum\n"
        "from core.numerics.ranks import energy_rank\n"
        "from core.numerics.diagnostics import diagnose\n"
        "s = Spectrum.from_values(2, 3, [2.0, 1.0])\n"
        "assert s.error(1) and diagnose(s).numerical_rank == 2 and energy_rank(s.S, 0.8) == 1\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
