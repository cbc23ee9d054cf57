"""Reads bundles, the folders that `export` writes, and packs them. Nothing that a folder contains is executed.

Importing this file imports no torch.
"""

from __future__ import annotations

import json
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.compression.plans import Plan
from core.errors import CheckpointError, InputError
from core.networks.arch import Arch
from core.networks.wording import display_name
from core.networks.zoo import build

if TYPE_CHECKING:
    from torch import nn

PLAN, WEIGHTS, CHECK, REPORT = "plan.json", "model.safetensors", "check.safetensors", "report.html"
LOADER, ARCHITECTURE = "load_model.py", "architecture.py"
FILES = (PLAN, WEIGHTS, CHECK, REPORT, LOADER, ARCHITECTURE)

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest a zip can hold; a real date would make equal content unequal."""


_DAMAGE = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What reading a forged or damaged folder can raise in torch, json and the loader."""


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of a bundle: name, size in bytes, SHA-256 in 64 hexadecimal digits."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BundleCheck:
    """What reading a bundle back gave: largest absolute difference between the outputs of the network that was read and
    those stored, number of outputs compared, whether they count as equal, and the files."""

    max_difference: float
    outputs: int
    ok: bool
    files: tuple[BundleFile, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle in hand. arch: of the dense network, None if it was the user's own. module: the compressed network in
    evaluation mode. notes: what the export said about the weights. measured: what was measured, as plain values."""

    plan: Plan
    arch: Arch | None
    module: nn.Module
    check: BundleCheck
    notes: tuple[str, ...]
    measured: Mapping[str, Any]


def read_bundle(folder: str | Path, model: nn.Module | None = None) -> Bundle:
    """The bundle in a folder, verified and run on its stored inputs. Executes nothing that the folder contains: the
    dense network is built from this project's own code, or is `model` (not touched) where it was the user's own.

    CheckpointError, one sentence, if the folder is no bundle or a file was changed; PlanError if its plan is."""
    from core import bundle_loader

    where = Path(folder).expanduser().resolve()
    name = display_name(where)
    if not (where / PLAN).is_file():
        raise CheckpointError(f"{name} is not an exported folder: it has no {PLAN}; choose the folder that holds it.")
    try:
        content = bundle_loader.read_plan(where)
        files = listed(where, content)
        bundle = content["bundle"]
        plan = Plan.from_json(json.dumps(content))
        arch = Arch.from_json(json.dumps(bundle["arch"])) if bundle["arch"] is not None else None
        dense = model if model is not None else _blank(arch, name)
        module = bundle_loader.load(where, dense)
        difference, largest, outputs = bundle_loader.self_check(module, where)
        notes, measured = tuple(str(note) for note in bundle["notes"]), dict(bundle["measured"])
    except InputError:
        raise
    except _DAMAGE as error:
        why = str(error).rstrip(".") if type(error) is ValueError else "it is damaged"
        raise CheckpointError(f"{name} cannot be read back: {why}; export it again.") from error
    ok = difference <= bundle_loader.TOLERANCE * largest
    return Bundle(plan, arch, module, BundleCheck(difference, outputs, ok, files), notes, measured)


def zip_bundle(folder: str | Path, path: str | Path | None = None) -> Path:
    """A zip of a bundle, files in order under one folder and without dates, so that equal bundles give equal bytes.

    path   of the zip; beside the folder and called like it by default. Replaces a file there once it is complete.
    CheckpointError if the folder is no bundle or a file was changed; InputError if the zip cannot be written."""
    from core import bundle_loader

    where = Path(folder).expanduser().resolve()
    target = Path(path).expanduser().resolve() if path is not None else where.with_name(where.name + ".zip")
    try:
        names = [file.name for file in listed(where, bundle_loader.read_plan(where))]
    except _DAMAGE as error:
        raise CheckpointError(f"{display_name(where)} is not a complete bundle; export it again.") from error
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name in sorted(names):
                entry = zipfile.ZipInfo(f"{where.name}/{name}", ZIP_DATE)
                entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
                with archive.open(entry, "w", force_zip64=True) as out, (where / name).open("rb") as source:
                    shutil.copyfileobj(source, out, 2**20)
        partial.replace(target)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"{display_name(target)} cannot be written ({why}); choose another folder.") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _blank(arch: Arch | None, name: str) -> nn.Module:
    """The dense network without weights, on the meta device, from this project's code."""
    import torch

    if arch is None:
        raise CheckpointError(f"{name} was made from a network of your own; give that network as well.")
    with torch.device("meta"):
        return build(arch)


def states_bundle(plan: bytes) -> bool:
    """Whether a plan.json is one that an export wrote; that of a plan alone is not."""
    try:
        bundle = json.loads(plan)["bundle"]
        return {"schema", "files", "digest"} <= set(bundle) and isinstance(bundle["files"], dict)
    except (ValueError, TypeError, LookupError, RecursionError):
        return False


def listed(folder: Path, content: Mapping[str, Any]) -> tuple[BundleFile, ...]:
    """Every file of the bundle, verified; plan.json first. ValueError for one that is missing, changed or unknown."""
    from core import bundle_loader

    names = list(content["bundle"]["files"])
    strange = [name for name in names if name not in FILES or name == PLAN]
    if strange:
        raise ValueError(f"{PLAN} lists {strange[0]!r}, which no bundle holds")
    paths = [bundle_loader.checked(folder, content, name) for name in names]
    plan = BundleFile(PLAN, (folder / PLAN).stat().st_size, bundle_loader.sha256(folder / PLAN))
    digests = (content["bundle"]["files"][name]["sha256"] for name in names)
    return plan, *(BundleFile(p.name, p.stat().st_size, sha) for p, sha in zip(paths, digests, strict=True))
