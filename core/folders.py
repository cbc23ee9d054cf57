"""Where Rankscope keeps what it can make again, and what it cannot."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """What can be made again: RANKSCOPE_CACHE, else what platformdirs says is the user's cache, else
    ~/.cache/rankscope."""
    return _chosen("RANKSCOPE_CACHE", "user_cache_dir", ".cache")


def user_folder() -> Path:
    """What cannot (saved configurations): RANKSCOPE_HOME, else what platformdirs says is the user's data folder, else
    ~/.local/share/rankscope."""
    return _chosen("RANKSCOPE_HOME", "user_data_dir", ".local/share")


def _chosen(variable: str, function: str, otherwise: str) -> Path:
    if os.environ.get(variable):
        return Path(os.environ[variable])
    try:
        import platformdirs
    except ImportError:
        return Path.home() / otherwise / "rankscope"
    return Path(getattr(platformdirs, function)("rankscope", appauthor=False))
