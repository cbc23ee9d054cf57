"""Nothing leaves this machine, nothing foreign gets in, and the page's process stays without torch."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser import chromium, sockets
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser


def test_a_first_start_asks_nothing_and_opens_without_torch_or_plotly(
    profile: Callable[..., Any], tmp_path: Path
) -> None:
    port, (ours, theirs) = chromium.free_port(), pty.openpty()
    quiet = tmp_path / "bin"
    quiet.mkdir()
    (quiet / "xdg-open").write_text("#!/bin/sh\n")  # the server opens a browser of its own in a terminal
    (quiet / "xdg-open").chmod(0o755)
    own = {"HOME": str(tmp_path), "PATH": f"{quiet}:{os.environ['PATH']}", "BROWSER": "true", "DISPLAY": ":99"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMLIT_", "RANKSCOPE_"))}
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(chromium.APP), "--server.port", str(port)],
        cwd=chromium.REPOSITORY, env=kept | own, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    try:
        address = f"http://127.0.0.1:{port}"
        chromium.wait_for(address, server)
        here = Visitor(profile(), address).open()
        here.page.wait_for_selector(".rb[data-bars]")
        assert "compressible layers keep" in here.body() and here.metric("Parameters") == "75,002"
        assert not sockets.loaded(server.pid, "libtorch"), "the page's process has loaded torch"
        assert not any("plotly" in url.lower() for url in here.asked), "the first page needs Plotly"
        alone = "the first page has started a worker"  # what opens the browser is gone in a moment
        here.until(lambda: sockets.family(server.pid) == [server.pid], alone)
        said = _read(ours)
        assert "mail" not in said.lower() and f"http://127.0.0.1:{port}" in said
        assert here.errors == []
    finally:
        server.terminate()
        server.wait(20)
        os.close(ours)


def _read(terminal: int) -> str:
    """What the terminal shows so far."""
    said = b""
    while select.select([terminal], [], [], 0.2)[0]:
        try:
            said += os.read(terminal, 65536)
        except OSError:
            break
    return said.decode(errors="replace")


def test_no_page_and_no_dialog_asks_anybody_else(rankscope: chromium.Server, profile: Callable[..., Any]) -> None:
    here = Visitor(profile(), rankscope.address)
    for where in ("", "?teach=true", "spectra", "tune"):
        here.open(where)
    here.drag(6, 1.0, 0.5)
    for view in ("Layer in hand", "Edit as a table"):
        here.page.get_by_text(view, exact=True).click()
        here.rest()
    for key in "osh":
        for tab in here.dialog(key).get_by_role("tab").all():
            tab.click()
            here.rest(100)
        here.close()
    here.until(lambda: "%" in here.metric("Accuracy"), "the accuracy was not measured")
    hosts = {urlsplit(url).netloc for url in here.asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {f"127.0.0.1:{rankscope.port}"} and len(here.asked) > 20
    assert here.errors == []

    opened = sockets.sockets(sockets.family(rankscope.pid))
    listening = [one for one in opened if one.listens]
    assert [str(one.local[0]) for one in listening] == ["127.0.0.1"] and listening[0].local[1] == rankscope.port
    assert all(one.on_loopback for one in opened), opened
    assert not sockets.loaded(rankscope.pid, "libtorch"), "the page's process has loaded torch"
    assert any(sockets.loaded(pid, "libtorch") for pid in sockets.family(rankscope.pid)[1:]), "the check sees no torch"


def test_the_port_is_closed_on_every_other_interface(rankscope: chromium.Server) -> None:
    asked = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False)
    addresses = [word for word in asked.stdout.split() if ":" not in word]
    script = (
        "import socket, sys\n"
        "for address in sys.argv[2:]:\n"
        "    line = socket.socket()\n"
        "    line.settimeout(3)\n"
        "    print(line.connect_ex((address, int(sys.argv[1]))))\n"
    )  # in a process of its own: in this one only loopback can be reached
    command = [sys.executable, "-c", script, str(rankscope.port), "127.0.0.1", *addresses]
    codes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert codes[0] == "0" and "0" not in codes[1:]


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1", "http://127.0.0.1", 101),
        ("localhost", "http://localhost", 101),
        ("127.0.0.1", "http://rebound.example", 403),
        ("rebound.example", "http://rebound.example", 403),
        ("rebound.example", "http://127.0.0.1", 403),
    ],
)
def test_a_foreign_host_or_origin_is_refused(rankscope: chromium.Server, host: str, origin: str, status: int) -> None:
    port = rankscope.port
    assert sockets.handshake(port, f"{host}:{port}", f"{origin}:{port}") == status
