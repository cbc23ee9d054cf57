"""What all commands share: tables or JSON on standard output, progress on standard error."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from core.errors import InputError

WIDE = 160
"""Columns of a table that does not go to a terminal."""

EVERY = 10.0
"""Least seconds between two lines of progress that do not go to a terminal (chosen: a log stays short)."""

Plain = partial(Console, markup=False, emoji=False, highlight=False)  # names of layers are shown as they are
out, err = Plain(width=None if sys.stdout.isatty() else WIDE), Plain(stderr=True)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="a demo's name, or a path to a checkpoint")]
ArchOption = Annotated[
    str, typer.Option("--arch", help="the network to build, instead of recognising it: resnet20, mlp:64-32-10")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output")]


@contextmanager
def progress_bar(remaining: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error while the work lasts, with the time it may still take if asked for; where that is no
    terminal a plain line every `EVERY` seconds, none for what takes less."""
    if not err.is_terminal:
        yield _lines(time.monotonic)
        return
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()) if remaining else (TimeElapsedColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)


def _lines(clock: Callable[[], float]) -> Callable[[str, int, int], None]:
    """Prints "what: done of total, elapsed" for the calls that come at least `EVERY` seconds after the last line."""
    start = last = clock()

    def tell(what: str, done: int, of: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= EVERY:
            last = now
            err.print(f"{what}: {done:,} of {of:,}, {now - start:.0f} s", soft_wrap=True)

    return tell


def print_json(content: Any) -> None:
    """Prints plain values as JSON, numbers that are NaN or infinite as null."""
    print(json.dumps(_finite(content), indent=2, allow_nan=False))


def write_text(path: Path, text: str, option: str = "--out") -> None:
    """Writes a file. InputError, which names the option that chose it, where that cannot be."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path.name} cannot be written ({error.strerror}); choose another {option}.") from None


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """InputError unless the value is one of those allowed."""
    if value not in allowed:
        raise InputError(f"{option} takes one of {', '.join(allowed)}, not {value!r}.")


def _finite(content: Any) -> Any:
    """The same with None for numbers that are NaN or infinite, which JSON does not have."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
