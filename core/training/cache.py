"""Arrays kept on disk between openings: one folder per content key, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from core.folders import cache_folder

LARGEST_ENTRY = 2**30
"""Bytes of one entry; chosen, so that 60,000 images of 32 x 32 pixels fit five times over."""

LARGEST_TOTAL = 4 * 2**30
"""Bytes of all entries together; the entries used longest ago go first."""


def get(key: str) -> tuple[list[str], dict[str, Any]] | None:
    """The names and the arrays stored under `key`, mapped from disk; None when there are none or they are damaged."""
    import numpy as np

    entry = cache_folder() / "images" / key
    try:
        names = json.loads((entry / "names.json").read_text(encoding="utf-8"))
        arrays = {p.stem: np.load(p, mmap_mode="r", allow_pickle=False) for p in entry.glob("*.npy")}
        os.utime(entry)
    except (OSError, ValueError, EOFError):
        return None
    return names, arrays


def put(key: str, names: list[str], arrays: dict[str, Any]) -> None:
    """Store names and arrays under `key`. What is too large, or cannot be written, is silently left out."""
    import numpy as np

    if sum(array.nbytes for array in arrays.values()) > LARGEST_ENTRY:
        return
    folder = cache_folder() / "images"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    except OSError:
        return
    try:
        for label, array in arrays.items():
            np.save(fresh / f"{label}.npy", array, allow_pickle=False)
        (fresh / "names.json").write_text(json.dumps(names), encoding="utf-8")
        shutil.rmtree(folder / key, ignore_errors=True)
        fresh.rename(folder / key)
        _forget_oldest(folder)
    except OSError:
        pass
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _forget_oldest(folder: Path) -> None:
    entries = sorted((e for e in folder.iterdir() if not e.name.startswith(".")), key=lambda e: e.stat().st_mtime)
    sizes = [sum(file.stat().st_size for file in entry.iterdir()) for entry in entries]
    excess = sum(sizes) - LARGEST_TOTAL
    for entry, size in zip(entries[:-1], sizes[:-1], strict=True):
        if excess <= 0:
            return
        shutil.rmtree(entry, ignore_errors=True)
        excess -= size
