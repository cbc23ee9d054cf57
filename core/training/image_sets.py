"""Sets of JPEG and PNG images in class folders, in a folder or a tar; an image is decoded when it is asked for."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from core.training import cache, tars
from core.training.data import Data, DataRef
from core.training.image_paths import SUFFIXES, Layout, layout, short

LARGEST_SIDE = 4096
"""Pixels; chosen to stop absurd images before they are decoded."""

WORTH_CACHING = 1000
"""Images; a smaller selection decodes in a fraction of a second."""

Contents = Callable[[Any], Iterator[tuple[int, bytes]]]
"""From places (n,) in the set to pairs of a position in 0..n-1 and the encoded image there, in any order."""


def open_folder(folder: Path, name: str) -> Data:
    """A folder of class folders; links are passed over. Raises DataError; a broken image is found when it is read."""
    files, links = _walk(folder)
    paths = [path for path, _ in files]
    found = layout(paths, name)
    stamp = hashlib.sha256("\n".join(f"{path} {stat}" for path, stat in files).encode(errors="surrogateescape"))

    def contents(places: Any) -> Iterator[tuple[int, bytes]]:
        for i, place in enumerate(places):
            yield i, _bytes_of(folder / paths[place])

    notes = (f"{links} links were passed over",) if links else ()
    return _data(DataRef("folder", name, stamp.hexdigest()), found, contents, notes)


def open_tar(path: Path, name: str) -> Data:
    """A tar, plain or compressed, of class folders. Raises DataError, see `tars.images`.

    The first opening streams through it once and keeps the encoded images in the cache when they fit there
    (`cache.LARGEST_ENTRY`); of a larger tar only the paths are kept, and each selection streams through it again.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stored = cache.get(digest)
    if stored is None:
        names, arrays = _pack(path, name)
        cache.put(digest, names, arrays)
    else:
        names, arrays = stored

    def contents(places: Any) -> Iterator[tuple[int, bytes]]:
        if arrays:
            ends = arrays["ends"]
            for i, place in enumerate(places):
                yield i, arrays["packed"][ends[place - 1] if place else 0 : ends[place]].tobytes()
        else:
            position = {int(place): i for i, place in enumerate(places)}
            for place, _, content in tars.images(path, name, set(position)):
                yield position[place], content

    return _data(DataRef("file", name, digest), layout(names, name), contents)


def decode(content: bytes, name: str, shape: tuple[int, int, int] | None = None) -> Any:
    """(C, H, W) uint8 of one JPEG or PNG; grey images have one channel, all others three.

    shape: what it must come out as, if known; grey images become three equal channels where colour is wanted.
    Raises DataError, with `name` for the image.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if max(image.size) > LARGEST_SIDE:
                raise DataError(f"The image {name} is wider or higher than {LARGEST_SIDE} pixels; make it smaller.")
            if image.mode == "F" or image.mode.startswith("I"):
                raise DataError(f"The image {name} has more than 8 bits per channel; store it with 8.")
            grey = image.mode in ("1", "L", "LA") and (shape is None or shape[0] == 1)
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders fail in many ways on damaged files
        raise DataError(f"The image {name} cannot be decoded; remove it or copy it again.") from error
    decoded = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if shape is not None and decoded.shape != shape:
        raise DataError(f"The image {name} has shape {decoded.shape}, the first one {shape}; make all images alike.")
    return decoded


def _data(ref: DataRef, found: Layout, contents: Contents, notes: tuple[str, ...] = ()) -> Data:
    """Put together what the paths say and where the images are; the first image sets the shape of all."""
    _, first = next(contents(found.places[:1]))
    shape = decode(first, short(found.paths[0])).shape

    def read(rows: Any) -> Any:
        key = hashlib.sha256(f"{ref.digest} {rows.tolist()}".encode()).hexdigest()
        stored = cache.get(key) if len(rows) >= WORTH_CACHING else None
        if stored is not None and stored[1]["images"].shape == (len(rows), *shape):
            return stored[1]["images"]
        images = np.empty((len(rows), *shape), dtype=np.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd but readable metadata
            for i, content in contents(found.places[rows]):
                images[i] = decode(content, short(found.paths[rows[i]]), shape)
        if len(rows) >= WORTH_CACHING:
            cache.put(key, [], {"images": images})
        return images

    rows = {"train": found.train, "test": found.test}
    return Data(ref, found.classes, shape, found.labels, rows, read, (*found.notes, *notes), named=True)


def _pack(path: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """The paths of the images in a tar; their contents one after another (`packed`) and where each ends (`ends`), or no
    arrays when the contents are larger than a cache entry."""
    names: list[str] = []
    kept, ends = bytearray(), []
    fits = True
    for _, image_path, content in tars.images(path, name):
        names.append(image_path)
        fits = fits and len(kept) + len(content) <= cache.LARGEST_ENTRY
        if fits:
            kept += content
        else:
            kept.clear()
        ends.append(len(kept))
    if not fits or not names:
        return names, {}
    return names, {"packed": np.frombuffer(bytes(kept), dtype=np.uint8), "ends": np.array(ends, dtype=np.int64)}


def _walk(folder: Path) -> tuple[list[tuple[str, str]], int]:
    """Sorted (relative path, size and time) of the images under a folder, and how many links were passed over."""
    files, links = [], 0
    for root, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith((".", "__")) and not (Path(root) / f).is_symlink()]
        for file in names:
            path = Path(root) / file
            if path.is_symlink():
                links += 1
            elif file.lower().endswith(SUFFIXES) and not file.startswith("."):
                stat = path.stat()
                files.append((path.relative_to(folder).as_posix(), f"{stat.st_size} {stat.st_mtime_ns}"))
    return sorted(files), links


def _bytes_of(path: Path) -> bytes:
    if path.stat().st_size > tars.LARGEST_FILE:
        raise DataError(f"The image {short(path.name)} has {path.stat().st_size:,} bytes; make it smaller.")
    return path.read_bytes()
