"""Starts a run's driver as a process of its own, which outlives whoever asked for it. Imports no torch, no Dask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from core.errors import InputError
from core.folders import cache_folder
from core.jobs.local import ROOT, polite

_drivers: list[subprocess.Popen[bytes]] = []
"""What this process started, kept so that it can be reaped."""


def log_file(id: str) -> Path:
    """Where the driver of that run writes what it does."""
    return cache_folder() / "logs" / f"{id}.log"


def launch(id: str) -> None:
    """Starts the driver of a run that `Store.queue` made ready; it ends by itself. Safe inside a Streamlit script.

    Two drivers of one run do no harm: the second sees the first's lease and ends. InputError if there is no place for
    its log.
    """
    _drivers[:] = [driver for driver in _drivers if driver.poll() is None]
    path = log_file(id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        output = path.open("ab")
    except OSError as error:
        raise InputError(
            f"The log of the run cannot be written to the cache folder ({error.strerror}); set RANKSCOPE_CACHE."
        ) from error
    with output:
        driver = subprocess.Popen(
            [sys.executable, "-m", "core", "drive", id],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    polite(driver.pid)
    _drivers.append(driver)
