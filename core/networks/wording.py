"""Names that come from files, made fit for a message: one line, printable, short, and never a path."""

from __future__ import annotations

from pathlib import Path

LONGEST = 80
"""Characters of a name in a message; chosen to keep a sentence readable."""


def shown(text: object) -> str:
    """Any name on one line: what cannot be printed becomes "?", and the middle of a long name is left out."""
    line = "".join(c if c.isprintable() else "?" for c in str(text))
    return line if len(line) <= LONGEST else line[: LONGEST - 20] + "..." + line[-17:]


def display_name(path: Path) -> str:
    """The last part of a path, as `shown`."""
    return shown(path.name or path.resolve().name) or "the folder"


def listed(names: list[str] | tuple[str, ...], most: int = 6) -> str:
    """The first few names, as `shown`, and how many more there are."""
    first = ", ".join(shown(name) for name in names[:most])
    return first + (f" and {len(names) - most} more" if len(names) > most else "")
