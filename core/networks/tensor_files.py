""".safetensors files and folders: checked first, then read one tensor at a time with no handle left open."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CheckpointError
from core.networks.wording import display_name, shown

if TYPE_CHECKING:
    from torch import Tensor

HEADER_LIMIT = 100_000_000
"""Bytes. The format's own bound on its header."""

INDEX_NAME = "model.safetensors.index.json"
AGAIN = "copy or download it again."


class TensorFiles(Mapping[str, "Tensor"]):
    """A state dict that stays on disk: each look-up opens the file, copies one tensor into memory and closes the file.

    shapes: known without reading a tensor. nbytes: of all tensors. A handle that stayed open, or a tensor still mapped,
    would keep every page ever touched counted as memory.
    """

    def __init__(
        self, where: Mapping[str, tuple[Path, str]], shapes: Mapping[str, tuple[int, ...]], nbytes: int
    ) -> None:
        self._where = dict(where)  # name -> (file, name in that file)
        self.shapes = dict(shapes)
        self.nbytes = nbytes

    def __getitem__(self, name: str) -> Tensor:
        from safetensors import safe_open

        path, stored = self._where[name]
        with safe_open(path, framework="pt", device="cpu") as file:
            tensor: Tensor = file.get_tensor(stored)
            return tensor.clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def renamed(self, names: Mapping[str, str]) -> TensorFiles:
        """The same tensors under new names; `names` maps each old name that stays to its new one."""
        where = {new: self._where[old] for old, new in names.items()}
        return TensorFiles(where, {new: self.shapes[old] for old, new in names.items()}, self.nbytes)


def open_file(path: Path, name: str) -> tuple[TensorFiles, dict[str, str]]:
    """Tensors and metadata of one file. Raises CheckpointError, with `name` for the file, when it is damaged."""
    header = read_header(path, name)
    metadata = header.pop("__metadata__", {})
    shapes = {key: tuple(entry["shape"]) for key, entry in header.items()}
    nbytes = sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in header.values())
    _ask_the_library(path, name)
    texts = {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    return TensorFiles({key: (path, key) for key in header}, shapes, nbytes), texts


def open_folder(folder: Path, name: str) -> tuple[TensorFiles, dict[str, str]]:
    """The tensors of a sharded checkpoint: INDEX_NAME and the files it names, which must lie in the same folder.

    Raises CheckpointError when the index is damaged, names anything but plain files, or disagrees with the shards.
    """
    try:
        if (folder / INDEX_NAME).stat().st_size > HEADER_LIMIT:
            raise ValueError("too large")
        placed = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))["weight_map"]
        shards = sorted({str(shard) for shard in placed.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"The index of {name} ({INDEX_NAME}) cannot be read; {AGAIN}") from error
    where: dict[str, tuple[Path, str]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    metadata: dict[str, str] = {}
    nbytes = 0
    for shard in shards:
        if shard != Path(shard).name or "\\" in shard or not shard.endswith(".safetensors"):
            raise CheckpointError(
                f"The index of {name} names {display_name(Path(shard))!r}, which is not a plain .safetensors file of "
                "that folder; put all shards beside the index and name them there."
            )
        if not (folder / shard).is_file():
            raise CheckpointError(
                f"{name} lacks the file {shown(shard)!r} that its index names; download the missing part."
            )
        files, texts = open_file(folder / shard, shown(shard))
        promised = {key for key, at in placed.items() if at == shard}
        if promised - set(files):
            missing = min(promised - set(files))
            raise CheckpointError(
                f"The index of {name} puts {shown(missing)!r} into {shown(shard)!r}, which does not hold it; {AGAIN}"
            )
        metadata |= texts
        where |= {key: (folder / shard, key) for key in sorted(promised)}
        shapes |= {key: files.shapes[key] for key in promised}
        nbytes += files.nbytes
    return TensorFiles(where, shapes, nbytes), metadata


def read_header(path: Path, name: str) -> dict[str, dict[str, list[int]]]:
    """The JSON at the start of a .safetensors file, checked against the size of the file. Raises CheckpointError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8:
            raise CheckpointError(f"{name} is cut short: it has only {size} bytes; {AGAIN}")
        if length > HEADER_LIMIT:
            raise CheckpointError(f"{name} is damaged: its header claims {length:,} bytes; {AGAIN}")
        if 8 + length > size:
            raise CheckpointError(
                f"{name} is cut short: its header claims {length:,} bytes, the file has {size:,}; {AGAIN}"
            )
        text = file.read(length)
    try:
        header = json.loads(text)
        entries = [entry for key, entry in header.items() if key != "__metadata__"]
        end = max((int(entry["data_offsets"][1]) for entry in entries), default=0)
        if any(size < 0 or math.prod(entry["shape"]) < 0 for entry in entries for size in entry["shape"]):
            raise ValueError("negative size")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError(f"{name} is damaged: its header cannot be read; {AGAIN}") from error
    if 8 + length + end > size:
        raise CheckpointError(
            f"{name} is cut short: its tensors claim {8 + length + end:,} bytes, the file has {size:,}; {AGAIN}"
        )
    checked: dict[str, dict[str, list[int]]] = header
    return checked


def _ask_the_library(path: Path, name: str) -> None:
    """Let safetensors judge the rest: overlaps, gaps, shapes that do not match their bytes, unknown dtypes."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            file.keys()
    except Exception as error:  # SafetensorError, and whatever a hostile header provokes in the library
        raise CheckpointError(f"{name} is damaged: its header contradicts itself; {AGAIN}") from error
