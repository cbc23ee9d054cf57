"""The rules that every test runs under do what they say."""

from __future__ import annotations

import socket
import warnings

import pytest
import torch


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org"])
def test_the_network_is_shut(host: str) -> None:
    with pytest.raises(RuntimeError, match=host):
        socket.create_connection((host, 80), timeout=0.1)
    if ":" not in host:
        with socket.socket() as s, pytest.raises(RuntimeError, match=host):
            s.connect((host, 80))


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=5) as s:
            assert s.getpeername() == server.getsockname()
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5):
            pass


def test_warnings_are_errors() -> None:
    with pytest.raises(UserWarning, match="noise"):
        warnings.warn("noise", stacklevel=1)


def test_one_thread_and_float32_outside_numerics() -> None:
    assert torch.get_num_threads() == 1 and torch.get_default_dtype() == torch.float32


def test_the_float64_fixture(float64: None) -> None:
    assert torch.zeros(1).dtype == torch.float64
