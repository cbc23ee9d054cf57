"""A headless Chromium and Streamlit servers for the browser tests, all on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
APP = REPOSITORY / "streamlit_app.py"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A running Streamlit server: its address without a trailing slash, process id, and file of what it printed."""

    address: str
    pid: int
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


def missing() -> str:
    """Why browser tests cannot run here, or ""."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "the Python package playwright is not installed"
    return "" if CHROMIUM.exists() else f"there is no {CHROMIUM}"


def free_port() -> int:
    """A port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def streamlit(
    script: Path, home: Path, environment: Mapping[str, str] | None = None, wait: float = 60
) -> Iterator[Server]:
    """Run ``streamlit run script`` from the repository with ``home`` as home folder and nothing to read on its input.

    Everything but the port is what the project's own configuration says. ``wait`` is the longest start-up in seconds.
    Raises RuntimeError with the server's output if it does not come up.
    """
    port = free_port()
    log = home / f"{script.stem}-{port}.log"
    options = ("--server.port", str(port), "--server.headless", "true")
    command = [sys.executable, "-m", "streamlit", "run", str(script), *options]
    foreign = ("STREAMLIT_", "RANKSCOPE_", "XDG_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {"HOME": str(home), "PYTHONPATH": str(REPOSITORY), **(environment or {})}
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=REPOSITORY, env=inherited | own, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    address = f"http://127.0.0.1:{port}"
    try:
        try:
            wait_for(address, server, wait)
        except RuntimeError as error:
            raise RuntimeError(f"{error}:\n{log.read_text()[-2000:]}") from None
        yield Server(address, server.pid, log)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(address: str, server: subprocess.Popen[Any], wait: float = 60) -> None:
    """Wait until a server answers. RuntimeError when it has ended or ``wait`` seconds have passed."""
    deadline = time.monotonic() + wait
    while not _healthy(address):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("streamlit did not start")
        time.sleep(0.05)


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
