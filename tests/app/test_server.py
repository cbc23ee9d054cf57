"""The server as configured: who may connect. No browser needed."""

from __future__ import annotations

import http.client
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.worker import ROOT
from tests.browser.chromium import streamlit


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with streamlit(ROOT / "streamlit_app.py", Path(tmp_path_factory.mktemp("home"))) as server:
        yield server.port


def answer(port: int, host: str, origin: str) -> int:
    """The status of a WebSocket handshake with these headers: 101 if it is accepted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", "/_stcore/stream", skip_host=True)
    for name, value in (
        ("Host", host.format(port)),
        ("Origin", origin.format(port)),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_page_of_this_machine_may_connect(port: int, name: str) -> None:
    assert answer(port, name + ":{}", f"http://{name}:{{}}") == 101


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:{}", "http://attacker.example"),
        ("attacker.example:{}", "http://attacker.example:{}"),
        ("attacker.example:{}", "http://localhost:{}"),
    ],
)
def test_no_other_page_may_not_even_under_a_rebound_name(port: int, host: str, origin: str) -> None:
    assert answer(port, host, origin) in (400, 403)


def test_nothing_outside_this_machine_is_listened_to_or_told() -> None:
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert settings["server"]["address"] == "127.0.0.1"
    assert settings["browser"]["gatherUsageStats"] is False
    assert {"enableCORS", "enableXsrfProtection"}.isdisjoint(settings["server"]), "both stay on"
