"""Find out what a file or folder is from its content, check it, and hand its tensors to `checkpoints`."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import CheckpointError
from core.networks import pickles, state_dicts
from core.networks.demo_files import demo_names
from core.networks.tensor_files import INDEX_NAME, open_file, open_folder
from core.networks.wording import display_name

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = {
    "safetensors": (".safetensors",),
    "torch": (".pt", ".pth", ".th", ".bin", ".ckpt", ".pkl", ".tar"),
}

STRANGERS = {
    b"": "is not in a format Rankscope opens",
    b"version https://git-lfs": "is a Git LFS pointer, not the weights; run git lfs pull and open it again",
    b"\x89HDF": "is an HDF5 file (Keras), not a torch checkpoint",
    b"GGUF": "is a GGUF file, not a torch checkpoint",
    b"\x1f\x8b": "is gzip-compressed; unpack it first",
    b"\xfd7zXZ": "is xz-compressed; unpack it first",
    b"\x93NUMPY": "is a NumPy array, not a checkpoint",
    b"<": "is a web page, not a checkpoint; download the file itself",
}
"""Leading bytes, and what to say about a file that begins with them."""

FORMATS = "open a .safetensors file, or a state dict saved by torch as .pt or .pth"


def read(path: Path, name: str) -> tuple[Mapping[str, Tensor], dict[str, str], list[str]]:
    """Tensors by stored name, metadata and notes of any file or folder that can be opened. Raises CheckpointError."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _read_folder(path, name)
        if not stat.S_ISREG(mode):
            raise CheckpointError(f"{name} is not a regular file; {FORMATS}.")
        return _read_file(path, name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"There is no file or demo called {name!r}; check the path, or take one of {', '.join(demo_names())}."
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{name} cannot be read; check that the path is right and that you may read it."
        ) from error


def _read_folder(folder: Path, name: str) -> tuple[Mapping[str, Tensor], dict[str, str], list[str]]:
    if (folder / INDEX_NAME).is_file():
        files, metadata = open_folder(folder, name)
        return files, metadata, []
    found = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES["safetensors"] + SUFFIXES["torch"])
    whole = [p for p in found if p.name == "model.safetensors"] or found
    if len(whole) == 1:
        tensors, metadata, notes = _read_file(whole[0], display_name(whole[0]))
        return tensors, metadata, [f"opened {display_name(whole[0])} in that folder", *notes]
    holds = "no checkpoint" if not found else f"{len(found)} checkpoints and no index"
    raise CheckpointError(f"The folder {name} holds {holds}; open one file, or a folder with {INDEX_NAME}.")


def _read_file(path: Path, name: str) -> tuple[Mapping[str, Tensor], dict[str, str], list[str]]:
    if path.name == INDEX_NAME:
        files, metadata = open_folder(path.parent, name)
        return files, metadata, []
    with path.open("rb") as file:
        lead = file.read(32)
    if not lead:
        raise CheckpointError(f"{name} is empty; copy or download it again.")
    format = _sniff(lead, path)
    if format == "":
        wanted = pickles.globals_wanted(path) if path.suffix in SUFFIXES["torch"] else ()
        if wanted:
            raise CheckpointError(pickles.refusal(name, wanted))
        text = next(STRANGERS[start] for start in sorted(STRANGERS, reverse=True) if lead.startswith(start))
        raise CheckpointError(f"{name} {text}." if ";" in text else f"{name} {text}; {FORMATS}.")
    suffix = path.suffix.lower()
    fits = suffix in SUFFIXES["safetensors" if format == "safetensors" else "torch"]
    notes = [] if fits else [f"opened as a {format} file although its name ends in {suffix or 'no extension'}"]
    if format == "safetensors":
        tensors, metadata = open_file(path, name)
        return tensors, metadata, notes
    content: Any = pickles.load_zip(path, name) if format == "torch" else pickles.load_legacy(path, name)
    state, more = state_dicts.unwrap(content)
    pickles.check_storage(state, name)
    return state, {}, notes + more


def _sniff(lead: bytes, path: Path) -> str:
    """ "safetensors", "torch" (zip), "old torch" (pickle) or "" from the leading bytes alone."""
    if lead[:2] == b"PK":
        return "torch"
    if lead[:1] == b"\x80" and lead[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "old torch"
    if lead[8:9] == b"{" or (len(lead) < 9 and path.suffix == ".safetensors"):
        return "safetensors"
    return ""
