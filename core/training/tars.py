"""Images inside a tar, read as a stream, in order; nothing is unpacked to disk and no path in it is trusted."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from core.errors import DataError
from core.training.image_paths import SUFFIXES, short

LARGEST_FILE = 64 * 2**20
LARGEST_TAR = 64 * 2**30
MOST_MEMBERS = 5_000_000
"""Bytes of one image file, bytes of a tar once unpacked, members of a tar: chosen to stop absurd archives early."""

_ERRORS = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError, ValueError, OverflowError)


def images(path: Path, name: str, wanted: set[int] | None = None) -> Iterator[tuple[int, str, bytes]]:
    """Index, path and content of the images in a tar, in order; only the wanted indices, and no further than the last.

    Raises DataError, with `name` for the tar, for links, absolute or climbing paths, absurd sizes and damage.
    """
    index = -1
    last = max(wanted) if wanted else None
    try:
        with tarfile.open(path, "r|*") as archive:
            for member, member_path in _members(archive, name):
                index += 1
                if wanted is None or index in wanted:
                    file = archive.extractfile(member)
                    yield index, member_path, file.read() if file is not None else b""
                if index == last:
                    return
    except _ERRORS as error:
        if index < 0 and isinstance(error, tarfile.ReadError):
            raise DataError(f"{name} is neither an .npz file nor a tar of images; open another file.") from error
        raise DataError(f"{name} is cut short or damaged; copy or download it again.") from error


def _members(archive: tarfile.TarFile, name: str) -> Iterator[tuple[tarfile.TarInfo, str]]:
    num_members, total = 0, 0
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # else every header stays in memory
        num_members, total = num_members + 1, total + member.size
        if num_members > MOST_MEMBERS or total > LARGEST_TAR:
            raise DataError(f"{name} unpacks to an absurd size; make a smaller archive.")
        path = _image_path(member, name)
        if path is None:
            continue
        if member.size > LARGEST_FILE:
            raise DataError(f"{name} holds an image of {member.size:,} bytes; make its images smaller.")
        yield member, path


def _image_path(member: tarfile.TarInfo, name: str) -> str | None:
    """The path of an image inside the tar; None for what is no image. Raises DataError for links and tricks."""
    if member.islnk() or member.issym():
        raise DataError(f"{name} holds the link {short(member.name)!r}; store the images themselves.")
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if member.name.startswith("/") or "\\" in member.name or ".." in parts:
        raise DataError(f"{name} holds the path {short(member.name)!r}, which leaves the archive; pack it again.")
    is_image = member.isreg() and member.name.lower().endswith(SUFFIXES)
    return "/".join(parts) if is_image and not any(part.startswith((".", "__")) for part in parts) else None
