"""Where models and data come from: the demos, uploaded files, and the one configured folder. No streamlit, no torch."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path

from core.errors import InputError
from core.folders import cache_folder
from core.networks.demo_files import demo_names

UPLOAD_LIMIT_MB = 64
UPLOADS_MB = 2000
"""Of uploads in all; the oldest are removed first (chosen)."""

LONGEST_NAME = 200
"""Bytes of a file's name; file systems stop at 255."""

LISTED = 2000
"""Entries of the configured folder that are looked at."""

KINDS = (".safetensors", ".pt", ".pth", ".th", ".bin")
DATA_KINDS = (".npz", ".tar", ".gz", ".xz", ".tgz")
DATA_MARKS = ("test", "t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte")
"""A folder that holds one of these is offered as data."""


def demos() -> tuple[str, ...]:
    """Names of the embedded demos."""
    return demo_names()


def path_of(source: str) -> str:
    """What the worker opens for a model or data source: a demo's name, "digits", "random:ARCH@SEED", or a path inside
    the upload folder or the configured one. InputError, one sentence without a path, otherwise."""
    if source in demos() or source == "digits" or source.startswith("random:"):
        return source
    kind, _, name = source.partition(":")
    roots = {"upload": uploads(), "folder": models_folder()}
    root = roots.get(kind)
    if root is None or not name:
        raise InputError(f"There is no model or data set called {display_name(source)!r}; choose one under Open model.")
    try:
        path = (root / name).resolve()
        if root.resolve() not in path.parents or not path.exists():
            raise OSError("not inside, or not there")
    except (OSError, ValueError):
        raise InputError(f"{display_name(name)!r} is not there any more; open it again.") from None
    return str(path)


def display_name(source: str) -> str:
    """The last part of a source, fit for a sentence: printable and at most 80 characters."""
    text = "".join(c if c.isprintable() else "?" for c in source.replace("\\", "/").rstrip("/").rpartition("/")[2])
    text = text.partition(":")[2] or text
    return text if len(text) <= 80 else text[:60] + "..." + text[-17:]


def models_folder() -> Path | None:
    """The one folder on the server whose files a browser may open: RANKSCOPE_MODELS; None if it is not set."""
    chosen = os.environ.get("RANKSCOPE_MODELS")
    return Path(chosen) if chosen and Path(chosen).is_dir() else None


def uploads() -> Path:
    """Where uploaded files lie, named by their content."""
    return cache_folder() / "uploads"


def listed(kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    """(source, description with size and format) of every file of these kinds, and every checkpoint or image folder,
    inside the configured folder; of its first `LISTED` entries."""
    root = models_folder()
    if root is None:
        return []
    found = []
    for path in sorted(root.rglob("*"))[:LISTED]:
        if path.is_symlink() or not path.resolve().is_relative_to(root.resolve()):
            continue
        name = path.relative_to(root).as_posix()
        if path.is_file() and path.suffix.lower() in kinds and not path.name.endswith("-ubyte.gz"):
            kind = "safetensors" if path.suffix == ".safetensors" else path.suffix.lower().lstrip(".")
            found.append((f"folder:{name}", f"{name} · {path.stat().st_size / 1e6:,.1f} MB · {kind}"))
        elif path.is_dir() and kinds is KINDS and (path / "model.safetensors.index.json").is_file():
            found.append((f"folder:{name}", f"{name} · sharded checkpoint"))
        elif path.is_dir() and kinds is DATA_KINDS and any((path / mark).exists() for mark in DATA_MARKS):
            found.append((f"folder:{name}", f"{name} · folder"))
    return found


def store_upload(name: str, content: bytes) -> str:
    """Keeps an uploaded file and returns its source. The name is display text: its last part, without what a file
    system may not like. InputError when it cannot be stored."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    shown = display_name(name).replace(":", "?").lstrip(".") or "upload"
    if len(shown.encode()) > LONGEST_NAME:
        shown = "upload" + Path(shown).suffix[:20]
    folder = uploads() / digest
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / shown).exists():
            partial = folder / f".{secrets.token_hex(4)}.partial"
            partial.write_bytes(content)
            partial.replace(folder / shown)
        os.utime(folder)
        prune(uploads(), UPLOADS_MB * 1e6)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"The file could not be stored on the server ({why}); ask whoever runs it.") from None
    return f"upload:{digest}/{shown}"


def prune(root: Path, most: float, each: bool = False) -> None:
    """Removes the oldest folders of `root` until at most `most` bytes (each: folders) are left."""
    left = 0.0
    for folder in sorted(root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
        left += 1 if each else sum(path.stat().st_size for path in folder.rglob("*"))
        if left > most:
            shutil.rmtree(folder, ignore_errors=True)
