"""The names that notebooks and outside checks rely on: there, listed, and themselves whatever was imported before."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]

STABLE = {
    "core.numerics.svd": ["spectrum", "truncate", "Spectrum"],
    "core.numerics.ranks": [
        "energy_rank",
        "error_rank",
        "stable_rank",
        "entropy_rank",
        "gavish_donoho_rank",
        "marchenko_pastur_rank",
        "evbmf_rank",
        "break_even_rank",
    ],
    "core.numerics.whitening": ["whiten", "truncate_whitened"],
    "core.networks": ["open_model", "views"],
    "core.compression": ["Plan", "apply", "allocate", "Budget"],
}
"""The public names of the founding issue."""

PACKAGES = ["core.networks", "core.compression", "core.training"]


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in STABLE.items() for name in names])
def test_stable_names_are_there_and_callable(module: str, name: str) -> None:
    found = getattr(importlib.import_module(module), name)
    assert callable(found) and not isinstance(found, ModuleType)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_exactly_what_it_offers(package: str) -> None:
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    eager = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("core.")
    }
    assert eager <= set(module.__all__), "a name that is imported but not listed"
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    "first",
    [
        "import core.networks.views",
        "from core.networks.views import LayerView",
        "import core.networks.inspection",
        "import core.compression.apply",
        "from core.compression.apply import exchange",
        "import core.compression.allocate",
        "import core.compression.fitting, core.compression.surveying",
        "import core.cli",
        "import core.serve",
    ],
)
def test_functions_are_not_hidden_by_modules_of_their_name(first: str) -> None:
    code = (
        f"{first}\n"
        "from core.networks import views, open_model\n"
        "from core.compression import apply, allocate, Plan, Budget, repair, survey_model\n"
        "import core.networks, core.compression\n"
        "from types import FunctionType\n"
        "for f in (views, apply, allocate, repair, survey_model, core.networks.views, core.compression.apply,\n"
        "          core.compression.allocate, open_model):\n"
        "    assert isinstance(f, FunctionType), f\n"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
