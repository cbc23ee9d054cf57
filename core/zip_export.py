"""A bundle as one zip, which counts only if it reads back as the folder does. Importing this file imports no torch."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from core.bundles import FILES, PLAN, BundleCheck, states_bundle, zip_bundle
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError, RankscopeError
from core.export import Facts, proved, write_bundle
from core.networks.wording import display_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from core.networks.checkpoints import Opened

SUFFIX = ".zip"

LARGEST_PLAN = 64 * 2**20
"""Bytes of a plan.json that is looked at to tell a former export (chosen: real ones take kilobytes)."""


def write_zip(
    path: str | Path,
    opened: Opened,
    plan: Plan,
    compressed: nn.Module,
    survey: Survey,
    example: Tensor,
    facts: Facts | None = None,
) -> BundleCheck:
    """`write_bundle` into a zip: the bundle lies in it as one folder, called as the zip is without its ending.

    The check is of what was unpacked from the zip again. A former export there is replaced. Raises as `write_bundle`
    does, and InputError for a file that no export wrote."""
    target = Path(path).expanduser().resolve()
    refuse_foreign_zip(target)
    name = target.stem.strip(".") or "bundle"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".partial", dir=target.parent) as place:
            write_bundle(Path(place, name), opened, plan, compressed, survey, example, facts)
            packed = zip_bundle(Path(place, name), Path(place, name + SUFFIX))
            with zipfile.ZipFile(packed) as archive:
                archive.extractall(Path(place, "read"))
            check = proved(Path(place, "read", name), opened)
            packed.replace(target)
    except zipfile.BadZipFile as error:
        raise RankscopeError("The zip could not be read back, so nothing was written; export again.") from error
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"{display_name(target)} cannot be written ({why}); choose another folder.") from error
    return check


def refuse_foreign_zip(target: Path) -> None:
    """InputError unless the target is free or a zip that an export wrote."""
    name = display_name(target)
    try:
        if not target.exists():
            return
        if not target.is_file():
            raise InputError(f"{name} is a folder; choose another name for the zip.")
    except OSError as error:
        raise InputError(f"{name} cannot be looked into ({error.strerror}); choose another folder.") from error
    if not _is_bundle_zip(target):
        raise InputError(f"{name} is no earlier export, which alone would be replaced; choose a new name.")


def _is_bundle_zip(path: Path) -> bool:
    """Whether it holds the files of one bundle and nothing else, with the plan.json that an export wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = {name.partition("/")[2]: name for name in archive.namelist()}
            one = len({name.partition("/")[0] for name in archive.namelist()}) == 1
            if not one or len(inside) < len(archive.namelist()) or not {PLAN} <= set(inside) <= set(FILES):
                return False
            small = archive.getinfo(inside[PLAN]).file_size <= LARGEST_PLAN
            return small and states_bundle(archive.read(inside[PLAN]))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError):
        return False
