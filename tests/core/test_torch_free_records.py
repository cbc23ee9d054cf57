"""Pages run without torch: every record they use can be imported and used with torch out of reach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RECORDS = [
    "core.errors",
    "core.keys",
    "core.folders",
    "core.provenance",
    "core.numerics.svd",
    "core.numerics.ranks",
    "core.numerics.diagnostics",
    "core.numerics.conv",
    "core.networks",
    "core.networks.arch",
    "core.networks.costs",
    "core.networks.demo_files",
    "core.networks.forms",
    "core.networks.views",
    "core.networks.zoo",
    "core.networks.checkpoints",
    "core.compression",
    "core.compression.allocate",
    "core.compression.apply",
    "core.compression.knapsack",
    "core.compression.options",
    "core.compression.plans",
    "core.compression.survey",
    "core.catalogue",
    "core.journeys",
    "core.jobs.records",
    "core.jobs.store",
    "core.training.data",
]

BARRED = "import sys; sys.modules['torch'] = None\n"
"""After this, any import of torch fails."""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, capture_output=True, text=True)


def test_all_records_import_without_torch() -> None:
    found = run(BARRED + "".join(f"import {module}\n" for module in RECORDS))
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("module", RECORDS)
def test_each_is_there_to_be_imported(module: str) -> None:
    path = ROOT / module.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_a_whole_tune_page_of_numbers_without_torch() -> None:
    """A stored survey, an allocation, an edited plan, its cost, its JSON, the rank rules and the content key."""
    found = run(
        BARRED + "from core import journeys\n"
        "from core.catalogue import rank_marks\n"
        "from core.compression import Budget, Plan, allocate\n"
        "from core.compression.allocate import path\n"
        "from core.compression.plans import plan_cost\n"
        "from core.keys import key\n"
        "from core.networks.demo_files import demo_names\n"
        "survey = journeys.demo_survey(demo_names()[0])\n"
        "made = allocate(survey, Budget.keep(survey, 0.5, 'macs'), 'exact')\n"
        "assert made.outcome == 'OK' and made.cost == plan_cost(made.plan, survey.views, survey.rest)\n"
        "assert Plan.from_json(made.plan.to_json()) == made.plan and key(made.plan)\n"
        "assert path(survey, 'params', (0.3, 0.6)) and rank_marks(survey.layers[0].spectrum)\n"
    )
    assert found.returncode == 0, found.stderr


def test_asking_for_what_needs_torch_says_so() -> None:
    found = run(BARRED + "from core.compression import repair\n")
    assert found.returncode != 0 and "torch" in found.stderr
