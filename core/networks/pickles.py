"""The only place where torch.load is called: pickled checkpoints, opened without running anything they contain."""

from __future__ import annotations

import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from core.errors import CheckpointError
from core.networks.wording import listed, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

LEGACY_LIMIT = 4 * 2**30
"""Bytes. Files of before torch 1.6 cannot be mapped and are read whole; chosen, because a laptop can still do it."""

PICKLE_LIMIT = 256 * 2**20
"""Bytes of the pickle inside a zip; it holds names and shapes only, so this is already a thousand times too much."""

SHARING_LIMIT = 64
"""How often over the tensors of a file may cover its bytes. Tied weights cover some twice; more is a trick."""

_HARMLESS = (
    *("torch._utils.", "torch.Size", "torch.storage.", "torch.nn.parameter.", "collections.OrderedDict"),
    *("builtins.set", "__builtin__.set", "_codecs.encode"),
)
"""What the safe loader lets pass: beginnings of dotted names."""

_RESAVE = "open it where you trust it and save only model.state_dict(), best as .safetensors."


def load_zip(path: Path, name: str) -> Any:
    """What torch.save put into a zip archive (torch 1.6 and later); its tensors are mapped from the file, not read.

    Raises CheckpointError, with `name` for the file, when the archive is damaged, compressed, of another kind, or asks
    for code.
    """
    check_zip(path, name)
    return _load(path, name, mapped=True)


def load_legacy(path: Path, name: str) -> Any:
    """What torch.save wrote before torch 1.6, or a bare pickle the safe loader accepts. Raises CheckpointError."""
    if path.stat().st_size > LEGACY_LIMIT:
        raise CheckpointError(
            f"{name} is in torch's old format and larger than {LEGACY_LIMIT >> 30} GiB, which cannot be opened in "
            f"parts; {_RESAVE}"
        )
    return _load(path, name, mapped=False)


def _load(path: Path, name: str, mapped: bool) -> Any:
    import torch

    misnamed = path.suffix.lower() == ".safetensors"  # torch would go by the name; an open file has none
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own deprecated storage classes while reading old files
            with path.open("rb") as file:
                source = file if misnamed else path
                return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped and not misnamed)
    except Exception as error:  # a hostile pickle can make the loader fail in any way; all of them mean "not opened"
        _refuse(path, name, error)


def _refuse(path: Path, name: str, error: Exception) -> NoReturn:
    wanted = globals_wanted(path)
    if wanted:
        raise CheckpointError(refusal(name, wanted)) from error
    raise CheckpointError(
        f"{name} looks like a torch file but is damaged or cut short; copy or download it again."
    ) from error


def refusal(name: str, wanted: tuple[str, ...]) -> str:
    """The sentence for a file that asks for code."""
    return f"{name} is not only weights: opening it would import {listed(wanted)}, so nothing in it was run; {_RESAVE}"


def globals_wanted(path: Path) -> tuple[str, ...]:
    """Dotted names a pickle would import beyond torch's own tensors, in order of appearance; runs nothing.

    Walks the opcodes; names put on the stack are followed as strings, so a pickle built to confuse may hide some.
    """
    if zipfile.is_zipfile(path):
        found = [_scan(content) for content in _pickles_in(path)]
    else:
        with path.open("rb") as file:
            found = [_scan(file.read(PICKLE_LIMIT))]
    return tuple(dict.fromkeys(name for names in found for name in names if not _is_harmless(name)))


def _pickles_in(path: Path) -> list[bytes]:
    """The pickles in a zip; none when the zip is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".pkl")]
            return [archive.read(info) for info in infos if info.file_size <= PICKLE_LIMIT]
    except Exception:  # damage shows in many ways: a wrong checksum, a false size, an encryption flag
        return []


def _scan(data: bytes) -> list[str]:
    """Globals of all pickles that follow one another in `data`, up to the first byte that is no opcode."""
    import io

    found: list[str] = []
    strings: list[str] = []
    memo: dict[int, str] = {}
    stream = io.BytesIO(data)
    try:
        while stream.tell() < len(data):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    found.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL" and len(strings) >= 2:
                    found.append(".".join(strings[-2:]))
                elif opcode.name == "MEMOIZE" or "PUT" in opcode.name:
                    memo[len(memo) if argument is None else int(argument)] = strings[-1] if strings else ""
                elif "GET" in opcode.name:
                    strings.append(memo.get(int(argument or 0), ""))
                elif isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # the end of the pickles, or of what can be understood; the globals so far are the answer
        return found
    return found


def _is_harmless(name: str) -> bool:
    kind = name.removeprefix("torch.")
    is_plain_torch = name.startswith("torch.") and "." not in kind and (kind.endswith("Storage") or kind.islower())
    return is_plain_torch or name.startswith(_HARMLESS)


def check_zip(path: Path, name: str) -> None:
    """Look at the directory of a zip before anything is read. Raises CheckpointError with the reason to stay away."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{name} is cut short or damaged; copy or download it again.") from error
    members = {info.filename.partition("/")[2] or info.filename for info in infos}
    if any(member.endswith(".npy") for member in members):
        raise CheckpointError(f"{name} holds NumPy arrays, not a checkpoint; open it as data, or save the state dict.")
    if "constants.pkl" in members or any(member.startswith("code/") for member in members):
        raise CheckpointError(
            f"{name} is a TorchScript program, which runs code when opened; save its state dict instead."
        )
    if "archive_format" in members or any(member.startswith("models/") for member in members):
        raise CheckpointError(
            f"{name} is an exported program (.pt2), which can run code; save the model's state dict instead."
        )
    if "data.pkl" not in members:
        raise CheckpointError(
            f"{name} is a zip archive without weights in it; unpack it and open the checkpoint inside."
        )
    claimed = sum(info.file_size for info in infos)
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise CheckpointError(
            f"{name} is a compressed archive, which torch never writes, so it was not opened; {_RESAVE}"
        )
    if claimed > path.stat().st_size or any(i.file_size > PICKLE_LIMIT for i in infos if i.filename.endswith(".pkl")):
        raise CheckpointError(f"{name} claims to hold more than the file has bytes, so it was not opened; {_RESAVE}")


def check_storage(tensors: Mapping[str, Tensor], name: str) -> None:
    """Raises CheckpointError when a tensor claims more numbers than its storage holds (zero strides cost no bytes)."""
    total, storages = 0, {}
    for label, tensor in tensors.items():
        claimed = tensor.numel() * tensor.element_size()
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        total += claimed
        if claimed > storage.nbytes():
            raise CheckpointError(
                f"In {name} the tensor {shown(label)!r} claims {claimed:,} bytes but holds {storage.nbytes():,}, so it "
                "was not opened; call .contiguous() on it and save the state dict again."
            )
    if total > SHARING_LIMIT * sum(storages.values()):
        raise CheckpointError(
            f"The tensors of {name} share bytes more than {SHARING_LIMIT} times over, so it was not opened; {_RESAVE}"
        )
