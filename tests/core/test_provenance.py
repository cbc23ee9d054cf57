"""A number carries the conditions of this very process, without importing anything heavy for it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest

from core import __version__, provenance
from core.keys import key
from core.provenance import Measurement, here

ROOT = Path(__file__).resolve().parents[2]


def test_here_is_now_and_with_these_versions() -> None:
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    made = here("of a test", "cpu", 3)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}Z", made.date)
    assert before <= datetime.strptime(made.date, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert made.versions[:2] == (f"rankscope {__version__}", f"python {platform.python_version()}")
    assert f"torch {metadata.version('torch')}" in made.versions
    assert f"numpy {metadata.version('numpy')}" in made.versions
    assert (made.conditions, made.device, made.threads) == ("of a test", "cpu", 3)


def test_without_a_number_of_threads_it_is_that_of_the_machine() -> None:
    assert here().threads == os.cpu_count()


def test_a_package_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package-as-this"))
    assert len(here().versions) == 3


def test_a_measurement_can_be_a_key() -> None:
    one = Measurement("accuracy", 0.5, 0.1, 10, 0, here("a"))
    other = Measurement("accuracy", 0.5, 0.1, 10, 0, here("b"))
    assert key(one) != key(other) and one == Measurement("accuracy", 0.5, 0.1, 10, 0, one.provenance)


def test_versions_are_told_without_importing_the_packages() -> None:
    code = "import sys; from core.provenance import here; here(); sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_the_line_of_an_export_says_when_and_with_what() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ, rankscope .*python .*torch .*numpy .*", provenance.line())
