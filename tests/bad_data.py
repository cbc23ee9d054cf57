"""Builders of good, odd and hostile data sets, shared by tests of every layer that opens them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def image(seed: int, mode: str = "RGB", size: tuple[int, int] = (6, 5), kind: str = "PNG") -> bytes:
    """An encoded picture of noise, size (width, height)."""
    random = np.random.RandomState(seed)
    channels = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
    pixels = random.randint(0, 256, (size[1], size[0], *channels)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, mode=None).save(stream, kind)
    return stream.getvalue()


def pixels(content: bytes) -> Any:
    """(C, H, W) uint8 of an encoded picture."""
    with Image.open(io.BytesIO(content)) as picture:
        array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def images(splits: tuple[str, ...] = ("train", "test"), per_class: int = 3, **kind: Any) -> dict[str, bytes]:
    """Path to content of a set with classes cat, dog and elk."""
    paths = [
        "/".join(part for part in (split, label, f"{i}.png") if part)
        for split in splits
        for label in ("cat", "dog", "elk")
        for i in range(per_class)
    ]
    return {path: image(i, **kind) for i, path in enumerate(paths)}


def folder(place: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (place / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (place / "set" / path).write_bytes(content)
    return place / "set"


def tar(place: Path, files: dict[str, bytes], name: str = "set.tar.xz") -> Path:
    mode = {"xz": "w:xz", "gz": "w:gz", "bz2": "w:bz2", "tar": "w"}[name.rpartition(".")[2]]
    with tarfile.open(place / name, mode) as archive:  # type: ignore[call-overload]
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return place / name


def tar_with(place: Path, member: tarfile.TarInfo) -> Path:
    """A sound set in a tar, and one more member without content."""
    path = tar(place, images(), "set.tar")
    with tarfile.open(path, "a") as archive:
        archive.addfile(member)
    return path


def npz(place: Path, **arrays: Any) -> Path:
    np.savez(place / "set.npz", **arrays)
    return place / "set.npz"


def idx(place: Path, x: Any, y: Any, stems: tuple[str, str] = ("train-images", "train-labels")) -> Path:
    """One part of an MNIST-style folder; x (N, H, W) and y (N,) uint8."""
    (place / "idx").mkdir(exist_ok=True)
    for stem, array, rank in zip(stems, (x, y), ("idx3", "idx1"), strict=True):
        head = struct.pack(f">{1 + array.ndim}i", 0x0800 + array.ndim, *array.shape)
        with gzip.open(place / "idx" / f"{stem}-{rank}-ubyte.gz", "wb") as file:
            file.write(head + array.tobytes())
    return place / "idx"


def _member(name: str, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def _claiming(place: Path) -> Path:
    """A tar whose last header claims an image of 2 ** 40 bytes."""
    path = tar(place, images(), "set.tar")
    content = path.read_bytes()
    end = len(content.rstrip(b"\0")) // 512 * 512 + 512
    path.write_bytes(content[:end] + _member("train/cat/big.png", size=2**40).tobuf())
    return path


def _bomb_npz(place: Path) -> Path:
    """An array header that claims 2 ** 40 numbers over 80 bytes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (2**20, 2**20)})
    with zipfile.ZipFile(place / "set.npz", "w") as archive:
        archive.writestr("x.npy", stream.getvalue() + b"\0" * 80)
        archive.writestr("y.npy", stream.getvalue() + b"\0" * 80)
    return place / "set.npz"


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _x(*shape: int) -> Any:
    return np.zeros(shape, dtype=np.uint8)


def _idx_damaged(place: Path, cut: int | None = None, count: int = 3, labels: int = 3) -> Path:
    path = idx(place, _x(count, 4, 4), _x(labels))
    file = path / "train-images-idx3-ubyte.gz"
    return path if cut is None else _write(file, file.read_bytes()[:cut]).parent


Builder = Callable[[Path], Path]
_Y = np.zeros(4, dtype=np.int64)

REFUSED: dict[str, Builder] = {
    "missing": lambda place: place / "nowhere.npz",
    "empty": lambda place: _write(place / "empty.npz", b""),
    "noise": lambda place: _write(place / "noise.tar", bytes(range(256)) * 8),
    "text": lambda place: _write(place / "readme.txt", b"hello"),
    "npz cut": lambda place: _write(place / "set.npz", npz(place, x=_x(9, 8, 8), y=_Y).read_bytes()[:-40]),
    "npz claims": _bomb_npz,
    "npz of objects": lambda place: npz(place, x=np.array([{}, []], dtype=object), y=_Y),
    "npz without y": lambda place: npz(place, x=_x(4, 8, 8), labels=_Y),
    "npz lengths": lambda place: npz(place, x=_x(5, 8, 8), y=_Y),
    "npz no images": lambda place: npz(place, x=_x(0, 8, 8), y=_Y[:0]),
    "npz which axis": lambda place: npz(place, x=_x(4, 5, 8, 8), y=_Y),
    "npz both axes": lambda place: npz(place, x=_x(4, 3, 8, 3), y=_Y),
    "npz five axes": lambda place: npz(place, x=_x(4, 1, 1, 8, 8), y=_Y),
    "npz no number": lambda place: npz(place, x=np.full((4, 8, 8), np.nan), y=_Y),
    "npz text": lambda place: npz(place, x=np.full((4, 8, 8), "a"), y=_Y),
    "npz range": lambda place: npz(place, x=np.full((4, 8, 8), 16.0), y=_Y),
    "npz negative": lambda place: npz(place, x=np.full((4, 8, 8), -1.0), y=_Y),
    "npz half labels": lambda place: npz(place, x=_x(4, 8, 8), y=_Y + 0.5),
    "npz negative labels": lambda place: npz(place, x=_x(4, 8, 8), y=_Y - 1),
    "npz one-hot labels": lambda place: npz(place, x=_x(4, 8, 8), y=np.eye(4)),
    "npz test differs": lambda place: npz(place, x=_x(4, 8, 8), y=_Y, x_test=_x(4, 7, 7), y_test=_Y),
    "idx cut": lambda place: _idx_damaged(place, cut=-9),
    "idx cut early": lambda place: _idx_damaged(place, cut=12),
    "idx no gzip": lambda place: _write(_idx_damaged(place) / "train-images-idx3-ubyte.gz", b"hello").parent,
    "idx lengths": lambda place: _idx_damaged(place, labels=4),
    "idx empty": lambda place: _idx_damaged(place, count=0, labels=0),
    "folder empty": lambda place: folder(place, {"notes.txt": b"hello"}),
    "folder flat": lambda place: folder(place, {"a.png": image(0), "b.png": image(1)}),
    "folder broken first": lambda place: folder(place, {**images(), "test/cat/0.png": b"\x89PNG broken"}),
    "folder 16 bits": lambda place: folder(place, {"cat/0.png": _sixteen_bits(), "dog/0.png": image(0)}),
    "folder huge picture": lambda place: folder(place, {"cat/0.png": _huge_picture(), "dog/0.png": image(0)}),
    "tar cut": lambda place: _write(place / "cut.tar.xz", tar(place, images()).read_bytes()[:-200]),
    "tar without images": lambda place: tar(place, {"a/b.txt": b"x"}),
    "tar climbing": lambda place: tar(place, {**images(), "../train/cat/9.png": image(9)}),
    "tar absolute": lambda place: tar(place, {**images(), "/train/cat/9.png": image(9)}),
    "tar backslash": lambda place: tar(place, {**images(), "train\\cat\\9.png": image(9)}),
    "tar link": lambda place: tar_with(
        place, _member("train/cat/9.png", type=tarfile.SYMTYPE, linkname="/etc/hostname")
    ),
    "tar hard link": lambda place: tar_with(
        place, _member("train/cat/9.png", type=tarfile.LNKTYPE, linkname="train/cat/0.png")
    ),
    "tar claims": _claiming,
}
"""What `open_data` must refuse in one sentence."""


def _sixteen_bits() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((5, 6), 4000, dtype=np.uint16)).save(stream, "PNG")
    return stream.getvalue()


def _huge_picture() -> bytes:
    """A PNG header that claims 60,000 x 60,000 pixels."""
    content = bytearray(image(0))
    content[16:24] = struct.pack(">2I", 60_000, 60_000)
    import zlib

    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)
