"""Images stored as arrays: .npz files with x and y, and folders of MNIST-style idx files."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from core.training.data import Data, DataRef
from core.training.splits import stratified

LARGEST = 8 * 2**30
"""Bytes of arrays once unpacked; chosen, because they are kept in memory."""

IDX_STEMS = {"train": ("train-images", "train-labels"), "test": ("t10k-images", "t10k-labels")}


def open_npz(path: Path, name: str) -> Data:
    """An .npz with x and y, or x_train and y_train; optionally x_test and y_test, and `classes` (names).

    x: uint8, or float in [0, 1] (or [0, 255]); (N, H, W), (N, C, H, W), (N, H, W, C) or (N, values). y: (N,) integers.
    Without test arrays a fifth of each class is set aside. Nothing is unpickled. Raises DataError.
    """
    arrays = _load_npz(path, name)
    first = "" if "x" in arrays else "_train"
    if "x" + first not in arrays or "y" + first not in arrays:
        found = ", ".join(sorted(arrays)[:8]) or "nothing"
        raise DataError(
            f"{name} holds {found}; store the images as x and the class numbers as y (or x_train, y_train)."
        )
    notes: list[str] = []
    x, y = _images(arrays["x" + first], name, notes), _labels(arrays["y" + first], name)
    _check_lengths(x, y, name)
    if "x_test" in arrays and "y_test" in arrays:
        x_test, y_test = _images(arrays["x_test"], name, notes), _labels(arrays["y_test"], name)
        _check_lengths(x_test, y_test, name)
        if x_test.shape[1:] != x.shape[1:] or x_test.dtype != x.dtype:
            raise DataError(f"The training and test images of {name} differ in shape or type; store them alike.")
        train, test = np.arange(len(x)), np.arange(len(x), len(x) + len(x_test))
        x, y = np.concatenate([x, x_test]), np.concatenate([y, y_test])
    else:
        train, test = stratified(y, max(1, len(y) // 5))
        notes.append("no test arrays: a fifth of each class was set aside for testing, with seed 0")
    classes = tuple(str(i) for i in range(int(y.max()) + 1))
    named = "classes" in arrays and arrays["classes"].ndim == 1 and len(arrays["classes"]) >= len(classes)
    if named:
        classes = tuple(str(value) for value in arrays["classes"].tolist())
    ref = DataRef("file", name, _file_digest(path))
    C, H, W = x.shape[1:]
    rows = {"train": train, "test": test}
    return Data(ref, classes, (C, H, W), y, rows, lambda wanted: x[wanted], tuple(dict.fromkeys(notes)), named)


def _load_npz(path: Path, name: str) -> dict[str, Any]:
    """The arrays of an .npz by name, after checking each header against the bytes that are there."""
    broken = DataError(f"{name} is not a sound .npz file; write it again with numpy.savez.")
    arrays: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if sum(info.file_size for info in infos) > LARGEST:
                raise DataError(f"{name} unpacks to more than {LARGEST >> 30} GiB; store a smaller part of the data.")
            for info in infos:
                with archive.open(info) as file:
                    shape, dtype = _npy_header(file)
                    header = file.tell()
                if dtype.hasobject:
                    raise DataError(
                        f"{name} holds pickled objects, which are not opened; store numbers in {info.filename}."
                    )
                if math.prod(shape) * dtype.itemsize != info.file_size - header:
                    raise broken
                with archive.open(info) as file:
                    arrays[info.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise broken from error
    return arrays


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _images(x: Any, name: str, notes: list[str]) -> Any:
    """(N, C, H, W), uint8 or float32 in [0, 1]."""
    x = _to_nchw(x, name, notes)
    if len(x) == 0:
        raise DataError(f"{name} holds no images; store at least one per class.")
    if x.dtype == bool or (x.dtype.kind in "ui" and x.max() == 1 and x.min() == 0):
        notes.append("pixels of 0 and 1 were taken as black and white")
        return x.astype(np.float32)
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
        raise DataError(f"The images of {name} are not finite numbers; store x as uint8, or as float from 0 to 1.")
    low, high = float(x.min()), float(x.max())
    if x.dtype.kind in "iu" and low >= 0 and high <= 255:
        return x.astype(np.uint8)
    if low >= -1e-6 and high <= 1 + 1e-6:
        return x.astype(np.float32).clip(0, 1)
    if low >= 0 and 100 < high <= 255:
        notes.append("pixel values from 0 to 255 were divided by 255")
        return (x / 255).astype(np.float32)
    raise DataError(f"The images of {name} hold values from {low:.3g} to {high:.3g}; scale x to 0..1, or store uint8.")


def _to_nchw(x: Any, name: str, notes: list[str]) -> Any:
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 2:
        from core.networks.arch import image_shape

        shape = image_shape(x.shape[1])
        notes.append(f"rows of {x.shape[1]} values were taken as images of shape {shape}")
        return x.reshape(len(x), *shape)
    if x.ndim == 4:
        first, last = x.shape[1] in (1, 3), x.shape[3] in (1, 3)
        if first and not last:
            return x
        if last and not first:
            return x.transpose(0, 3, 1, 2)
    raise DataError(f"The images of {name} have shape {x.shape}; store x as (N, H, W), (N, C, H, W) or (N, H, W, C).")


def _labels(y: Any, name: str) -> Any:
    """(N,) int64, from 0."""
    flat = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    whole = flat.ndim == 1 and flat.dtype.kind in "iuf" and np.isfinite(flat).all() and (flat == np.floor(flat)).all()
    if not whole or len(flat) == 0 or flat.min() < 0 or flat.max() > 65535:
        raise DataError(f"The labels of {name} are not class numbers from 0; store y as (N,) integers.")
    return flat.astype(np.int64)


def _check_lengths(x: Any, y: Any, name: str) -> None:
    if len(x) != len(y):
        raise DataError(f"{name} holds {len(x):,} images but {len(y):,} labels; store one label per image.")


def is_idx(folder: Path) -> bool:
    """Whether the folder holds MNIST-style files (train-images..., t10k-images...)."""
    return any(_find(folder, stems[0]) for stems in IDX_STEMS.values())


def open_idx(folder: Path, name: str) -> Data:
    """A folder with train-images, train-labels, t10k-images, t10k-labels in idx format. Raises DataError."""
    images: list[Any] = []
    labels: list[Any] = []
    rows: dict[str, Any] = {}
    sha = hashlib.sha256()
    for which, stems in IDX_STEMS.items():
        files = [_find(folder, stem) for stem in stems]
        if files == [None, None]:
            rows[which] = np.arange(0)
            continue
        if files[0] is None or files[1] is None:
            raise DataError(
                f"{name} lacks the {'images' if files[0] is None else 'labels'} of its {which} part; add the file."
            )
        x, y = _read_idx(files[0], 3), _read_idx(files[1], 1)
        _check_lengths(x, y, name)
        start = sum(len(part) for part in labels)
        rows[which] = np.arange(start, start + len(y))
        images.append(x[:, None])
        labels.append(y.astype(np.int64))
        sha.update(bytes.fromhex(_file_digest(files[0]) + _file_digest(files[1])))
    if len({part.shape[1:] for part in images}) > 1:
        raise DataError(f"The training and test images of {name} differ in size; use files of one data set.")
    x, y = np.concatenate(images), np.concatenate(labels)
    if len(y) == 0:
        raise DataError(f"{name} holds no images; download the files again.")
    classes = tuple(str(i) for i in range(int(y.max()) + 1))
    shape = (1, x.shape[2], x.shape[3])
    return Data(DataRef("folder", name, sha.hexdigest()), classes, shape, y, rows, lambda wanted: x[wanted])


def _find(folder: Path, stem: str) -> Path | None:
    rank = "idx3" if "images" in stem else "idx1"
    names = [f"{stem}{dash}{rank}-ubyte{suffix}" for dash in "-." for suffix in (".gz", "")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx(path: Path, num_dims: int) -> Any:
    """The uint8 array of an idx file: 0, 0, 8, number of sizes; big-endian sizes; bytes. Source: LeCun's MNIST page."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, *sizes = struct.unpack(f">{1 + num_dims}i", file.read(4 + 4 * num_dims))
            count = math.prod(sizes)
            if magic != 0x0800 + num_dims or min(sizes) < 0 or count > LARGEST:
                raise DataError(f"{path.name} is not an idx file of {num_dims} dimensions; download it again.")
            content = file.read(count + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{path.name} is cut short or damaged; download it again.") from error
    if len(content) != count:
        raise DataError(f"{path.name} claims {count:,} bytes and holds another number; download it again.")
    return np.frombuffer(content, dtype=np.uint8).reshape(sizes)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
