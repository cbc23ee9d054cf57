"""What the core's tests share: a command line in this process, and a small network as a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core import cli
from core.networks.arch import make_arch
from core.networks.zoo import build

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in this process: (exit code, standard output, standard error)."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["core", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return call


@pytest.fixture
def answer(run: Command) -> Callable[..., Any]:
    """Runs a command with --json, by the module's own `run`, and reads its answer."""

    def call(*words: object) -> Any:
        code, out, err = run(*words, "--json")
        assert code == 0, err
        return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    return call


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An untrained perceptron for digits, as a file."""
    torch.manual_seed(0)
    path = tmp_path / "small.pt"
    torch.save(build(make_arch("mlp", {"widths": (64, 12, 10)})).state_dict(), path)
    return path
