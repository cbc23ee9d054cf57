"""Bundles: a compressed network as a folder that needs nothing of this project, and the proof that it reads back.

    model.safetensors   weights; of a layer in two factors `layer.first.weight` and `layer.second.weight`,
                        of low rank + sparse those under `layer.low_rank` and `layer.sparse.weight`
    plan.json           the plan (`Plan.from_json` reads it), and under "bundle" how to build each changed layer, the
                        inputs, what was measured, and the size and SHA-256 of every other file
    report.html         the same for people
    load_model.py       a copy of `bundle_loader.py`; architecture.py  a copy of the dense network's source, if built in
    check.safetensors   a few inputs and the outputs they gave

Importing this file imports no torch.
"""

from __future__ import annotations

import copy
import inspect
import json
import math
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.bundles import (
    ARCHITECTURE,
    CHECK,
    FILES,
    LOADER,
    PLAN,
    REPORT,
    WEIGHTS,
    Bundle,
    BundleCheck,
    BundleFile,
    listed,
    read_bundle,
    states_bundle,
    zip_bundle,
)
from core.compression.plans import Plan, check_plan
from core.compression.survey import Survey
from core.errors import CheckpointError, InputError, RankscopeError
from core.networks.arch import Arch
from core.networks.wording import display_name
from core.networks.zoo import build
from core.provenance import here
from core.report import Facts, Proof, report

if TYPE_CHECKING:
    from torch import Tensor, nn

    from core.networks.checkpoints import Opened

__all__ = ["Bundle", "BundleCheck", "BundleFile", "Facts", "read_bundle", "write_bundle", "zip_bundle"]

LINEAR_OPTIONS = ("in_features", "out_features")
CONVOLUTION_OPTIONS = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)
"""What plan.json says of a part, besides whether it has a bias."""

EXAMPLES = 8
"""Most samples stored for the self-check (chosen: small, and more than one)."""

EXACT = 1e-6
"""Largest difference relative to the largest output with which an export passes; in practice it is 0."""


def write_bundle(
    folder: str | Path,
    opened: Opened,
    plan: Plan,
    compressed: nn.Module,
    survey: Survey,
    example: Tensor,
    facts: Facts | None = None,
) -> BundleCheck:
    """Writes the bundle of `compressed`, which is `plan` applied to the network of `opened`, and reads it back.

    survey   of the dense network. example  inputs (N, ...), already normalised; the first few are stored.
    The folder appears complete or not at all; an earlier bundle there is replaced. No argument is changed.
    InputError for a folder that holds anything else or cannot be written, and for outputs that are not finite;
    PlanError for a plan of another model; RankscopeError if the bundle does not read back to equal outputs."""
    check_plan(plan, opened.ref, survey.views)
    target = Path(folder).expanduser().resolve()
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        refuse_foreign(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        check = _write(partial, opened, plan, compressed, survey, example, facts or Facts())
        _move(partial, target)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"{display_name(target)} cannot be written ({why}); choose another folder.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return check


def _write(
    folder: Path, opened: Opened, plan: Plan, compressed: nn.Module, survey: Survey, example: Tensor, facts: Facts
) -> BundleCheck:
    """All files of the bundle into an existing empty folder, and the check."""
    import torch
    from safetensors.torch import save_file

    from core.bundle_loader import SCHEMA
    from core.compression.counting import counted

    network = copy.deepcopy(compressed).cpu().eval()
    stored, shared, notes = _weights(network)
    made = here("exported on the CPU", "cpu", torch.get_num_threads())
    text = {"plan": json.loads(plan.to_json()), "versions": list(made.versions)}
    # one key: the library writes several in random order, and equal networks should give equal files
    save_file(stored, folder / WEIGHTS, {"rankscope": json.dumps(text, sort_keys=True)})
    inputs = example.detach()[:EXAMPLES].cpu().clone(memory_format=torch.contiguous_format)
    save_file({"input": inputs, "output": _outputs(network, inputs, opened.ref.name)}, folder / CHECK)
    (folder / LOADER).write_bytes(Path(__file__).with_name("bundle_loader.py").read_bytes())
    for name in (WEIGHTS, CHECK):  # the library writes files that only their owner may read
        shutil.copymode(folder / LOADER, folder / name)
    content = json.loads(plan.to_json())
    for entry in content["layers"]:
        entry |= _parts(network, entry["layer"])
    found = counted(network, plan, inputs[:1]) if plan.remove else None
    content["bundle"] = {
        "schema": SCHEMA,
        "architecture": _architecture(folder, opened.arch),
        "arch": json.loads(opened.arch.to_json()) if opened.arch else None,
        "input": {
            "shape": list(inputs.shape[1:]),
            "dtype": str(inputs.dtype).removeprefix("torch."),
            "mean": list(opened.takes.mean) if opened.takes else None,
            "std": list(opened.takes.std) if opened.takes else None,
        },
        **({"sizes": _sizes(network, opened), "cost": asdict(found.cost)} if found else {}),
        "shared": shared,
        "notes": notes,
        "measured": _plain(asdict(facts)),
        "provenance": asdict(made),
    }
    _write_plan(folder, content)
    read = proved(folder, opened)
    others = tuple((file.name, file.size, file.sha256) for file in read.files if file.name != PLAN)
    proof = Proof(read.outputs, read.max_difference, others, tuple(notes), opened.arch is not None)
    (folder / REPORT).write_text(report(plan, survey, facts, made, proof, found), encoding="utf-8")
    _write_plan(folder, content)
    return BundleCheck(read.max_difference, read.outputs, True, listed(folder, content))


def proved(folder: Path, opened: Opened) -> BundleCheck:
    """The check of a bundle that was just written. RankscopeError if it does not read back to equal outputs."""
    read, largest = _read_back(folder, opened)
    if not read.max_difference <= EXACT * largest:
        raise RankscopeError(
            f"The exported network differs from the one in hand by {read.max_difference:.3g} (largest output "
            f"{largest:.3g}), so nothing was written."
        )
    return read


def _read_back(folder: Path, opened: Opened) -> tuple[BundleCheck, float]:
    """The check of a bundle from its files alone, and the largest stored output. Of a user's own network only the
    structure is used: every stored value in it is made NaN first."""
    import torch

    from core import bundle_loader

    blank = None
    if opened.arch is None:
        if opened.module is None:
            raise InputError(f"{opened.ref.name} cannot be exported as a network: {opened.reason}.")
        blank = copy.deepcopy(opened.module).cpu()
        with torch.no_grad():
            for tensor in blank.state_dict().values():
                tensor.fill_(float("nan") if tensor.is_floating_point() else 0)
    try:
        bundle = read_bundle(folder, blank)
    except CheckpointError as error:
        raise RankscopeError(f"The export could not be read back, so nothing was written: {error.__cause__}") from error
    stored = bundle_loader.read_tensors(folder / CHECK)["output"]
    return bundle.check, float(stored.double().abs().max())


def _weights(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Tensors to store, each contiguous and with memory of its own; name -> stored name of those that are the same
    tensor; and notes that say so."""
    import torch

    stored: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    owners: dict[tuple[Any, ...], str] = {}
    for name, value in network.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise InputError(f"The network keeps {name!r} beside its tensors, which cannot be exported; remove it.")
        place = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride()) if value.numel() else (name,)
        owner = owners.setdefault(place, name)
        if owner != name:
            shared[name] = owner
            continue
        stored[name] = value.detach().clone(memory_format=torch.contiguous_format)
    notes = [f"{name} is the same tensor as {owner} and is stored once" for name, owner in shared.items()]
    return stored, shared, notes


def _outputs(network: nn.Module, inputs: Tensor, name: str) -> Tensor:
    import torch

    with torch.no_grad():
        outputs = network(inputs)
    if not isinstance(outputs, torch.Tensor):
        raise InputError(
            f"{name} gives {type(outputs).__name__} rather than one tensor, so an export cannot be checked; let it "
            "return a tensor."
        )
    if not outputs.numel() or not bool(torch.isfinite(outputs).all()):
        raise InputError(
            f"The compressed {name} gives no finite outputs on the example, so an export cannot be checked; "
            "look for NaN weights in Spectra, or undo the last change of the plan."
        )
    return outputs.detach().clone(memory_format=torch.contiguous_format)


def _parts(network: nn.Module, layer: str) -> dict[str, Any]:
    """How to build a layer that became several: "parts", and "kind" where they are not a chain; "parts" is [] if it is
    one layer still."""
    from torch import nn

    from core.bundle_loader import Sum

    built = network.get_submodule(layer)
    if not isinstance(built, nn.Sequential | Sum):
        return {"parts": []}
    parts = [_part(layer, name, part) for name, part in built.named_children()]
    return {"parts": parts} | ({"kind": "Sum"} if isinstance(built, Sum) else {})


def _part(layer: str, name: str, part: nn.Module) -> dict[str, Any]:
    """One part: name and kind; of a plain layer its options, of a chain its own parts."""
    from torch import nn

    if isinstance(part, nn.Sequential):
        return {"name": name, "kind": "Sequential", "parts": [_part(layer, *at) for at in part.named_children()]}
    if type(part) not in (nn.Linear, nn.Conv1d, nn.Conv2d):
        raise ValueError(f"{layer}.{name} is a {type(part).__name__}, which no bundle can describe")
    keys = LINEAR_OPTIONS if isinstance(part, nn.Linear) else CONVOLUTION_OPTIONS
    options = {key: getattr(part, key) for key in keys} | {"bias": part.bias is not None}
    return {"name": name, "kind": type(part).__name__, "options": options}


def _sizes(network: nn.Module, opened: Opened) -> dict[str, dict[str, int]]:
    """Name -> sizes of every layer that is there in the dense network too, with others."""
    from core.bundle_loader import SIZES

    if opened.module is None:
        return {}
    dense = dict(opened.module.named_modules())
    sizes: dict[str, dict[str, int]] = {}
    for name, module in network.named_modules():
        for kind, names in SIZES.values():
            if isinstance(module, kind) and isinstance(dense.get(name), kind):
                now, before = ({size: getattr(m, size) for size in names} for m in (module, dense[name]))
                sizes |= {name: now} if now != before else {}
    return sizes


def _architecture(folder: Path, arch: Arch | None) -> dict[str, Any] | None:
    """Copies the source of the built-in network; which class with which options it is, None if it is none."""
    if arch is None:
        return None
    import torch

    with torch.device("meta"):
        kind = type(build(arch))
    source = Path(inspect.getfile(kind))
    (folder / ARCHITECTURE).write_bytes(source.read_bytes())
    return {"class": kind.__name__, "options": dict(arch.options)}


def _write_plan(folder: Path, content: dict[str, Any]) -> None:
    """plan.json with the sizes and digests of the files that lie beside it now."""
    from core import bundle_loader

    bundle = content["bundle"]
    others = [name for name in FILES if name != PLAN and (folder / name).is_file()]
    bundle["files"] = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": bundle_loader.sha256(folder / name)}
        for name in others
    }
    bundle["digest"] = bundle_loader.digest(content)
    (folder / PLAN).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def refuse_foreign(target: Path) -> None:
    """InputError unless the target is free, an empty folder, or a former bundle with nothing else in it."""
    name = display_name(target)
    try:
        if not target.exists():
            return
        if not target.is_dir():
            raise InputError(f"{name} is a file; choose a folder to export to.")
        found = sorted(path.name for path in target.iterdir())
        is_bundle = (target / PLAN).is_file() and states_bundle((target / PLAN).read_bytes())
    except OSError as error:
        raise InputError(f"{name} cannot be looked into ({error.strerror}); choose another folder.") from error
    others = [entry for entry in found if entry not in (*FILES, "__pycache__")]
    if others or (found and not is_bundle):
        kept = display_name(Path((others or found)[0]))
        raise InputError(f"{name} holds other files ({kept}), which an export would remove; choose a new folder.")


def _move(partial: Path, target: Path) -> None:
    """Puts the finished folder in place of what is there; on failure that is put back."""
    if not target.exists():
        partial.rename(target)
        return
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _plain(value: Any) -> Any:
    """Records' values as JSON holds them; a number that is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
