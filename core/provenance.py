"""A number and its conditions. A value without them is not a result."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from core import __version__

PACKAGES = ("torch", "numpy")


@dataclass(frozen=True, slots=True)
class Provenance:
    """When, with what and on what a number was made.

    date      UTC, ISO 8601 to the minute. versions  "name version" of Rankscope, Python and the numerical packages.
    device    "cpu", "cuda: <card>". threads  torch used. conditions  anything else, in words.
    """

    date: str
    versions: tuple[str, ...]
    device: str
    threads: int
    conditions: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """value ± spread over n examples or repeats with a seed. The unit and the kind of spread are in `what`."""

    what: str
    value: float
    spread: float
    n: int
    seed: int
    provenance: Provenance


def measurement_of(content: dict[str, Any]) -> Measurement:
    """The measurement that `dataclasses.asdict` or JSON made plain values of."""
    made = content["provenance"]
    return Measurement(**{**content, "provenance": Provenance(**{**made, "versions": tuple(made["versions"])})})


def here(conditions: str = "", device: str = "cpu", threads: int = 0) -> Provenance:
    """The conditions of this process, now. Versions come from package metadata, so nothing is imported."""
    versions = [f"rankscope {__version__}", f"python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return Provenance(date, tuple(versions), device, threads or (os.cpu_count() or 1), conditions)


def line() -> str:
    """One line that every export carries: when, and with which versions."""
    made = here()
    return f"{made.date}, {', '.join(made.versions)}"


@cache
def revision() -> str:
    """The git commit this code is at, 12 or more hexadecimal digits, with "+changes" after it where a tracked file
    differs; "" outside a checkout of its own or without git. Asked once a process."""
    return _revision_of(Path(__file__).resolve().parents[1])


def _revision_of(root: Path) -> str:
    if not (root / ".git").exists():  # a checkout around it, of a project that has it installed, is not ours
        return ""
    asked = ("git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+changes")
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        told = subprocess.run(
            asked,
            env={**own, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""
