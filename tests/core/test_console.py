"""Progress on standard error: lines that can be read in a log, at the times of a made-up clock."""

from __future__ import annotations

import re
import time

import pytest

from core import console


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_at_most_every_ten_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    with console.progress_bar() as progress:
        for second in range(0, 60, 3):
            clock[0] = 1000.0 + second
            progress("accuracy", 100 * second, 6000)
            lines = capsys.readouterr().err.splitlines()
            told += [(second, line) for line in lines]
    assert told == [
        (12, "accuracy: 1,200 of 6,000, 12 s"),
        (24, "accuracy: 2,400 of 6,000, 24 s"),
        (36, "accuracy: 3,600 of 6,000, 36 s"),
        (48, "accuracy: 4,800 of 6,000, 48 s"),
    ]


def test_what_takes_less_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress_bar(remaining=True) as progress:
        for second in (0, 5, 9.9):
            clock[0] = 1000.0 + second
            progress("spectra", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_lines_are_plain_and_whole(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """No escape codes, no markup, no line break however long what is told; nothing on standard output."""
    what = "timing [bold]" + "x" * 300
    with console.progress_bar() as progress:
        clock[0] += 15
        progress(what, 1, 2)
    assert capsys.readouterr() == ("", f"{what}: 1 of 2, 15 s\n")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "err", console.Plain(stderr=True, force_terminal=True, width=100))
    with console.progress_bar() as progress:
        progress("accuracy", 1, 2)
    assert re.search(r"accuracy.*1/2", capsys.readouterr().err)
