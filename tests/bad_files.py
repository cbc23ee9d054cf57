"""Builders of hostile, broken and merely odd files, shared by tests of every layer that opens what a user gives.

Each builder writes into a folder and returns the path of the file or folder to open. REFUSED must each end in one
sentence; nothing in them may ever run: every code-carrying file would create MARKER in the working directory.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file
from torch import Tensor

MARKER = "rankscope-code-was-run"


def assert_one_sentence(message: str, folder: Path) -> None:
    """One clear sentence with a next step and without the place of the file."""
    assert message and "\n" not in message, message
    assert message.endswith(".") and not message.endswith(".."), message
    assert not re.search(r"[.!?]\s+[A-Z]", message), f"more than one sentence: {message}"
    assert re.search(r"[;,]", message), f"no next step: {message}"
    assert str(folder) not in message and str(folder.parent) not in message, f"shows a path: {message}"
    assert len(message) < 400, message


class _RunsCode:
    """Pickled, it asks the reader to create MARKER."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {MARKER}",))


class _Storage:
    """Pickled by `_TorchPickler`, it is a storage that claims `numel` float32 numbers."""

    def __init__(self, numel: int) -> None:
        self.numel = numel


class _Tensor:
    """Pickled by `_TorchPickler`, it is a tensor of this shape over such a storage."""

    def __init__(self, storage: _Storage, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.arguments = (storage, 0, shape, stride, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return (torch._utils._rebuild_tensor_v2, self.arguments)


class _TorchPickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return ("storage", torch.FloatStorage, "0", "cpu", obj.numel, None) if isinstance(obj, _Storage) else None


def pickled(content: Any, protocol: int = 2) -> bytes:
    """The bytes of a pickle in which `_Storage` stands for one of torch's."""
    stream = io.BytesIO()
    _TorchPickler(stream, protocol=protocol).dump(content)
    return stream.getvalue()


def torch_zip(path: Path, data: bytes, storage: bytes = b"", compressed: bool = False) -> Path:
    """A zip laid out as torch.save does it, with these bytes as data.pkl and as storage 0."""
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", storage)
        archive.writestr("archive/version", "3\n")
    return path


def legacy(path: Path, data: bytes, storage: bytes = b"") -> Path:
    """A file laid out as torch.save did it before 1.6: magic number, version, machine, object, keys, storages."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, machine))
    path.write_bytes(head + data + pickle.dumps(["0"], 2) + struct.pack("<q", len(storage) // 4) + storage)
    return path


def safetensors_bytes(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A .safetensors file with any header, true or not; `length` is what it claims the header's length to be."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def small_state() -> dict[str, Tensor]:
    """The state dict of a ReLU perceptron 6-5-3, from seed 0."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"fc1.weight": (5, 6), "fc1.bias": (5,), "fc2.weight": (3, 5), "fc2.bias": (3,)}
    return {name: torch.randn(*shape, generator=generator, dtype=torch.float32) for name, shape in shapes.items()}


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def empty(folder: Path) -> Path:
    return _write(folder / "empty.safetensors", b"")


def tiny(folder: Path) -> Path:
    return _write(folder / "tiny.safetensors", b"\x05\x00\x00")


def header_cut(folder: Path) -> Path:
    return _write(folder / "header-cut.safetensors", save(small_state())[:100])


def data_cut(folder: Path) -> Path:
    return _write(folder / "data-cut.safetensors", save(small_state())[:-17])


def huge_header(folder: Path) -> Path:
    return _write(folder / "huge-header.safetensors", safetensors_bytes(b'{"a', length=2**60))


def header_not_json(folder: Path) -> Path:
    return _write(folder / "not-json.safetensors", safetensors_bytes(b"{this is no JSON at all}"))


def header_nested(folder: Path) -> Path:
    return _write(folder / "nested.safetensors", safetensors_bytes(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"))


def header_of_lists(folder: Path) -> Path:
    return _write(folder / "lists.safetensors", safetensors_bytes({"w": ["F32", [1], [0, 4]]}, b"\0" * 4))


def claims_too_much(folder: Path) -> Path:
    entry = {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}
    return _write(folder / "claims.safetensors", safetensors_bytes({"w": entry}, b"\0" * 64))


def shape_contradicts(folder: Path) -> Path:
    entry = {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 16]}
    return _write(folder / "contradicts.safetensors", safetensors_bytes({"w": entry}, b"\0" * 16))


def overlapping(folder: Path) -> Path:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    return _write(folder / "overlap.safetensors", safetensors_bytes({"a": entry, "b": entry}, b"\0" * 16))


def unknown_dtype(folder: Path) -> Path:
    entry = {"dtype": "Q99", "shape": [4], "data_offsets": [0, 16]}
    return _write(folder / "dtype.safetensors", safetensors_bytes({"a": entry}, b"\0" * 16))


def no_tensors(folder: Path) -> Path:
    return _write(folder / "none.safetensors", safetensors_bytes({"__metadata__": {"a": "b"}}))


def no_tensors_torch(folder: Path) -> Path:
    torch.save({"epoch": 3, "loss": 0.5}, folder / "none.pt")
    return folder / "none.pt"


def number_only(folder: Path) -> Path:
    torch.save(3, folder / "number.pt")
    return folder / "number.pt"


def only_sparse(folder: Path) -> Path:
    torch.save({"w": torch.eye(4).to_sparse()}, folder / "sparse.pt")
    return folder / "sparse.pt"


def code_in_zip(folder: Path) -> Path:
    return torch_zip(folder / "code-zip.pt", pickle.dumps({"w": _RunsCode()}, 2))


def code_in_legacy(folder: Path) -> Path:
    return legacy(folder / "code-legacy.pth", pickle.dumps({"w": _RunsCode()}, 2))


def code_bare(folder: Path) -> Path:
    return _write(folder / "code-bare.pkl", pickle.dumps(_RunsCode(), 4))


def code_as_text(folder: Path) -> Path:
    return _write(folder / "code-text.pt", pickle.dumps(_RunsCode(), 0))


def code_under_other_name(folder: Path) -> Path:
    return code_in_zip(folder).rename(folder / "code.safetensors")


def whole_module(folder: Path) -> Path:
    torch.save(torch.nn.Linear(3, 2), folder / "module.pt")
    return folder / "module.pt"


def zip_cut(folder: Path) -> Path:
    torch.save(small_state(), folder / "cut.pt")
    return _write(folder / "cut.pt", (folder / "cut.pt").read_bytes()[:-300])


def legacy_cut(folder: Path) -> Path:
    torch.save(small_state(), folder / "cut.th", _use_new_zipfile_serialization=False)
    return _write(folder / "cut.th", (folder / "cut.th").read_bytes()[:-30])


def zip_bomb(folder: Path) -> Path:
    claim = _Tensor(_Storage(2**24), (2**12, 2**12), (2**12, 1))
    return torch_zip(folder / "bomb.pt", pickled({"w": claim}), b"\0" * 2**26, compressed=True)


def zip_claims_too_much(folder: Path) -> Path:
    claim = _Tensor(_Storage(2**40), (2**20, 2**20), (2**20, 1))
    return torch_zip(folder / "claims.pt", pickled({"w": claim}), b"\0" * 64)


def legacy_claims_too_much(folder: Path) -> Path:
    claim = _Tensor(_Storage(2**50), (2**25, 2**25), (2**25, 1))
    return legacy(folder / "claims.th", pickled({"w": claim}), b"\0" * 64)


def zero_strides(folder: Path) -> Path:
    torch.save({"w": torch.zeros(1).expand(2**20, 2**20)}, folder / "strides.pt")
    return folder / "strides.pt"


def torchscript(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "script.pt", "w") as archive:
        for member in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"script/{member}", "x")
    return folder / "script.pt"


def exported_program(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "program.pt2", "w") as archive:
        archive.writestr("program/archive_format", "pt2")
        archive.writestr("program/models/model.json", "{}")
    return folder / "program.pt2"


def numpy_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "arrays.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY")
    return folder / "arrays.npz"


def other_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "letters.zip", "w") as archive:
        archive.writestr("letter.txt", "hello")
    return folder / "letters.zip"


def large_file_pointer(folder: Path) -> Path:
    return _write(folder / "pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def web_page(folder: Path) -> Path:
    return _write(folder / "page.pth", b"<!DOCTYPE html><html><body>Not found</body></html>")


def keras_file(folder: Path) -> Path:
    return _write(folder / "weights.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 64)


def noise(folder: Path) -> Path:
    return _write(folder / "noise.bin", bytes(range(1, 200)) * 4)


def missing(folder: Path) -> Path:
    return folder / "nowhere.safetensors"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.pt")
    return folder / "pipe.pt"


def empty_folder(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


def several_files(folder: Path) -> Path:
    (folder / "several").mkdir()
    for name in "ab":
        save_file(small_state(), folder / "several" / f"{name}.safetensors")
    return folder / "several"


def sharded(folder: Path, index: Any, shards: Mapping[str, dict[str, Tensor]]) -> Path:
    """A folder with this index (JSON, or bytes as they are) and these shards."""
    place = folder / "sharded"
    place.mkdir()
    for name, state in shards.items():
        save_file(state, place / name)
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    (place / "model.safetensors.index.json").write_bytes(text)
    return place


def shard_missing(folder: Path) -> Path:
    return sharded(folder, {"weight_map": {"fc1.weight": "part-1.safetensors"}}, {})


def shard_lacks_tensor(folder: Path) -> Path:
    index = {"weight_map": {"fc1.weight": "part-1.safetensors", "fc9.weight": "part-1.safetensors"}}
    return sharded(folder, index, {"part-1.safetensors": small_state()})


def shard_elsewhere(folder: Path) -> Path:
    save_file(small_state(), folder / "outside.safetensors")
    return sharded(folder, {"weight_map": {"fc1.weight": "../outside.safetensors"}}, {})


def shard_absolute(folder: Path) -> Path:
    save_file(small_state(), folder / "outside.safetensors")
    return sharded(folder, {"weight_map": {"fc1.weight": str(folder / "outside.safetensors")}}, {})


def index_not_json(folder: Path) -> Path:
    return sharded(folder, b"{", {})


def index_of_numbers(folder: Path) -> Path:
    return sharded(folder, {"weight_map": [1, 2]}, {})


Builder = Callable[[Path], Path]

CODE: tuple[Builder, ...] = (code_in_zip, code_in_legacy, code_bare, code_as_text, code_under_other_name)
"""Files that would create MARKER if anything in them ran."""

REFUSED: tuple[Builder, ...] = (
    *CODE,
    *(empty, tiny, header_cut, data_cut, huge_header, header_not_json, header_nested, header_of_lists),
    *(claims_too_much, shape_contradicts, overlapping, unknown_dtype, no_tensors, no_tensors_torch, number_only),
    *(only_sparse, whole_module, zip_cut, legacy_cut, zip_bomb, zip_claims_too_much, legacy_claims_too_much),
    *(zero_strides, torchscript, exported_program, numpy_zip, other_zip, large_file_pointer, web_page, keras_file),
    *(noise, missing, pipe, empty_folder, several_files, shard_missing, shard_lacks_tensor, shard_elsewhere),
    *(shard_absolute, index_not_json, index_of_numbers),
)
"""Everything that must be refused in one sentence."""
