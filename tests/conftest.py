"""Harsher rules than users have: seeds fixed, one torch thread, no network but loopback, warnings are errors (that one
in pyproject.toml).

Tests whose path has a part named in `FLOAT64` run with torch's default dtype at float64; any other test asks for the
`float64` fixture. The default is restored afterwards. Nothing here imports torch before a test does, so that tests of
torch-free modules stay honest.
"""

from __future__ import annotations

import importlib.util
import os
import random
import socket
import sys
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FLOAT64 = {"numerics", "theory"}
SHARED = Path(__file__).resolve().parents[2] / "shared"

_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _require_loopback(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return
    try:
        if ip_address(name).is_loopback or ip_address(name).is_unspecified:
            return
    except ValueError:
        pass
    raise RuntimeError(f"tests must not reach the network, but something asked for {name!r}")


def _guarded_connect(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _require_loopback(address[0])
    return _connect(self, address)


def _guarded_connect_ex(self: socket.socket, address: Any) -> int:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _require_loopback(address[0])
    return _connect_ex(self, address)


def _guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    _require_loopback(host)
    return _getaddrinfo(host, *args, **kwargs)


UNAVOIDABLE = ("no CUDA device", "PostgreSQL's ")
"""Reasons that may skip a test where RANKSCOPE_FAIL_ON_SKIP is 1; any other skip fails the run there."""

_skipped: list[str] = []
_folders: list[tempfile.TemporaryDirectory[str]] = []


def pytest_configure(config: pytest.Config) -> None:
    """The network is shut for the whole run, collection included; caches lie in a folder of this run, which xdist's
    workers inherit."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _folders.append(tempfile.TemporaryDirectory(prefix="rankscope-tests-", ignore_cleanup_errors=True))
        for variable in ("RANKSCOPE_CACHE", "RANKSCOPE_HOME"):
            os.environ[variable] = str(Path(_folders[0].name) / variable.lower())
    socket.socket.connect = _guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = _guarded_connect_ex  # type: ignore[method-assign]
    socket.getaddrinfo = _guarded_getaddrinfo


def pytest_unconfigure(config: pytest.Config) -> None:
    socket.socket.connect, socket.socket.connect_ex = _connect, _connect_ex  # type: ignore[method-assign]
    socket.getaddrinfo = _getaddrinfo
    for folder in _folders:
        folder.cleanup()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remembers skips whose reason this machine could have done something about."""
    if report.skipped and isinstance(report.longrepr, tuple) and not any(r in report.longrepr[2] for r in UNAVOIDABLE):
        _skipped.append(f"{report.nodeid}: {report.longrepr[2]}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run for such a skip where RANKSCOPE_FAIL_ON_SKIP is 1."""
    if _skipped and os.environ.get("RANKSCOPE_FAIL_ON_SKIP") == "1" and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names them."""
    if _skipped and os.environ.get("RANKSCOPE_FAIL_ON_SKIP") == "1":
        terminalreporter.section("should have run", red=True)
        for line in _skipped:
            terminalreporter.line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips, with the reason, what this machine cannot run."""
    for item in items:
        if item.get_closest_marker("needs_shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="no folder of shared models and data beside the project"))
        if item.get_closest_marker("gpu") and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def steady(request: pytest.FixtureRequest) -> Iterator[None]:
    """Same seeds and one thread for every test; float64 where numerics are checked."""
    random.seed(0)
    np.random.seed(0)
    numerical = bool(FLOAT64 & set(request.node.path.parts))
    if not numerical and "torch" not in sys.modules:
        yield
        return
    import torch

    before = torch.get_default_dtype(), torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if numerical:
        torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before[0])
    torch.set_num_threads(before[1])


@pytest.fixture
def float64() -> Iterator[None]:
    """torch's default dtype is float64 while the test runs."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def shared() -> Path:
    """The folder of shared models and data beside the project; skips where there is none."""
    if not SHARED.is_dir():
        pytest.skip("no folder of shared models and data beside the project")
    return SHARED
