"""Loads the compressed network that lies beside this file. Needs torch and nothing else; written by Rankscope.

    from load_model import load
    network = load()                 # the network of this folder, on the CPU, in evaluation mode
    network = load(folder)           # of another exported folder
    network = load(model=mine)       # your own dense network, as it was before: a copy of it, with its layers exchanged

Inputs are (x - mean) / std per channel, with x in [0, 1]; plan.json states shape, mean and std under "bundle", "input".
`python load_model.py` runs the stored inputs through the network and compares with the outputs it had when exported.

Files: model.safetensors holds the weights, plan.json which layers are made of several and how, and which have fewer
rows or columns than in the dense network, architecture.py the dense network if Rankscope knew it, check.safetensors
inputs and outputs, report.html what all of it means.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SCHEMA = 1
"""Of the "bundle" part of plan.json."""

TOLERANCE = 1e-4
"""Largest difference, relative to the largest output, that counts as equal (chosen: other processors and versions of
torch sum in another order; in float32 that shows in the sixth digit)."""

KINDS: dict[str, type[nn.Module]] = {"Linear": nn.Linear, "Conv1d": nn.Conv1d, "Conv2d": nn.Conv2d}
"""Layers that a bundle may ask for."""


class Sum(nn.Module):
    """Modules that all take the same input, and whose outputs are added."""

    def __init__(self, parts: OrderedDict[str, nn.Module]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.children()
        made: Tensor = first(x)
        for part in others:
            made = made + part(x)
        return made


JOINTS: dict[str, Callable[[OrderedDict[str, nn.Module]], nn.Module]] = {"Sequential": nn.Sequential, "Sum": Sum}
"""How parts are put together: one after another, or side by side."""

SIZES: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "Linear": (nn.Linear, ("in_features", "out_features")),
    "Conv1d": (nn.Conv1d, ("in_channels", "out_channels")),
    "Conv2d": (nn.Conv2d, ("in_channels", "out_channels")),
    "BatchNorm1d": (nn.BatchNorm1d, ("num_features",)),
    "BatchNorm2d": (nn.BatchNorm2d, ("num_features",)),
}
"""Layers that can be smaller than in the dense network, and what says how large they are, outputs last."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Names of the safetensors format."""


def load(folder: str | Path | None = None, model: nn.Module | None = None) -> nn.Module:
    """The compressed network of `folder`, by default that of this file.

    model  your own dense network; needed if the folder has no architecture.py, used in its place otherwise. It is not
    touched. Raises ValueError, in a sentence, if a file was changed or does not fit."""
    where = Path(folder) if folder is not None else Path(__file__).resolve().parent
    plan = read_plan(where)
    network = copy.deepcopy(model) if model is not None else _architecture(where, plan)
    for entry in plan["layers"]:
        if entry["parts"]:
            _exchange(network, entry)
    for name, sizes in plan["bundle"].get("sizes", {}).items():
        _resize(network, name, sizes)
    _fill(network, read_tensors(checked(where, plan, "model.safetensors")), plan["bundle"]["shared"])
    return network.eval()


def self_check(network: nn.Module, folder: str | Path | None = None) -> tuple[float, float, int]:
    """Runs the stored inputs: (largest difference to the stored outputs, largest stored output, number of outputs)."""
    where = Path(folder) if folder is not None else Path(__file__).resolve().parent
    stored = read_tensors(checked(where, read_plan(where), "check.safetensors"))
    with torch.no_grad():
        found = network(stored["input"])
    if found.shape != stored["output"].shape:
        raise ValueError(f"The outputs have shape {tuple(found.shape)}, not {tuple(stored['output'].shape)}.")
    largest = float(stored["output"].double().abs().max())
    return float((found.double() - stored["output"].double()).abs().max()), largest, found.numel()


def read_plan(folder: Path) -> dict[str, Any]:
    """plan.json. ValueError if it is of another version or was changed."""
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    if not isinstance(plan, dict) or not isinstance(plan.get("bundle"), dict):
        raise ValueError("plan.json is a plan alone, not that of an exported folder.")
    if plan["bundle"].get("schema") != SCHEMA:
        raise ValueError(f"plan.json is of version {plan['bundle'].get('schema')}, this loader reads {SCHEMA}.")
    if plan["bundle"].get("digest") != digest(plan):
        raise ValueError("plan.json was changed after it was exported.")
    return plan


def digest(plan: Mapping[str, Any]) -> str:
    """SHA-256 of a plan without its own "digest", as JSON with sorted keys."""
    bundle = {key: value for key, value in plan["bundle"].items() if key != "digest"}
    return hashlib.sha256(json.dumps({**plan, "bundle": bundle}, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Of a file, 64 hexadecimal digits."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()


def checked(folder: Path, plan: Mapping[str, Any], name: str) -> Path:
    """The path of a file of the folder. ValueError if it is not the one that plan.json lists."""
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{name} is missing.")
    if sha256(path) != plan["bundle"]["files"][name]["sha256"]:
        raise ValueError(f"{name} was changed or damaged after it was exported.")
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a .safetensors file: 8 bytes with the length of a JSON header, the header, the values.

    ValueError if the header claims more than the file has."""
    tensors = {}
    with path.open("rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            raise ValueError(f"{path.name} is cut short.")
        header = json.loads(file.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
            wanted = math.prod(shape) * torch.empty((), dtype=dtype).element_size()
            if not (0 <= start <= end <= size - 8 - length and end - start == wanted):
                raise ValueError(f"{path.name} is damaged at {name!r}.")
            file.seek(8 + length + start)
            values = bytearray(file.read(wanted))
            flat = torch.frombuffer(values, dtype=dtype) if values else torch.empty(0, dtype=dtype)
            tensors[name] = flat.reshape(shape)
    return tensors


def _architecture(folder: Path, plan: Mapping[str, Any]) -> nn.Module:
    """The dense network of architecture.py, without weights."""
    wanted = plan["bundle"]["architecture"]
    if wanted is None:
        raise ValueError("This folder holds no architecture: give your own dense network, load(model=...).")
    path = checked(folder, plan, "architecture.py")
    code: dict[str, Any] = {"__name__": "rankscope_architecture"}
    exec(compile(path.read_bytes(), str(path), "exec"), code)  # not imported: that would leave a cache in the folder
    with torch.device("meta"):
        network: nn.Module = code[wanted["class"]](**wanted["options"])
    return network


def _exchange(network: nn.Module, entry: Mapping[str, Any]) -> None:
    """Puts fresh modules, without weights, at the path of a layer and wherever else that layer is used."""
    name = entry["layer"]
    try:
        old = network.get_submodule(name)
    except AttributeError:
        raise ValueError(f"The network has no layer {name!r}; it is not the one this plan was made for.") from None
    made = _assembled(name, entry.get("kind", "Sequential"), entry["parts"])
    for parent in list(network.modules()):
        for child in [child for child, module in parent._modules.items() if module is old]:
            setattr(parent, child, made)


def _assembled(name: str, kind: str, parts: list[dict[str, Any]]) -> nn.Module:
    """A chain or a sum of the parts, each a plain layer or again a chain or a sum."""
    if kind not in JOINTS:
        raise ValueError(f"Layer {name!r} asks for {kind!r}, which is none of {', '.join(JOINTS)}.")
    found: OrderedDict[str, nn.Module] = OrderedDict()
    for part in parts:
        if "parts" in part:
            found[part["name"]] = _assembled(name, part["kind"], part["parts"])
            continue
        if part["kind"] not in KINDS:
            raise ValueError(f"Layer {name!r} asks for {part['kind']!r}, which is none of {', '.join(KINDS)}.")
        options = {key: tuple(v) if isinstance(v, list) else v for key, v in part["options"].items()}
        found[part["name"]] = KINDS[part["kind"]](**options, device="meta")
    return JOINTS[kind](found)


def _resize(network: nn.Module, name: str, sizes: Mapping[str, int]) -> None:
    """Gives a layer other sizes, all of those that `SIZES` names; its tensors are left without values."""
    try:
        module = network.get_submodule(name)
    except AttributeError:
        raise ValueError(f"The network has no layer {name!r}; it is not the one this plan was made for.") from None
    wanted = next((names for kind, names in SIZES.values() if isinstance(module, kind)), ())
    if not wanted or set(sizes) != set(wanted) or not all(type(n) is int and n > 0 for n in sizes.values()):
        raise ValueError(f"Layer {name!r} is a {type(module).__name__}, which cannot have the sizes {dict(sizes)}.")
    for key, size in sizes.items():
        setattr(module, key, size)
    outputs, inputs = sizes[wanted[-1]], sizes[wanted[0]]
    held: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
    for tensors in held:
        for key, old in tensors.items():
            if old is None or not old.ndim:  # the counter of BatchNorm
                continue
            shape = (outputs,) if old.ndim == 1 else (outputs, inputs, *old.shape[2:])
            new = torch.empty(shape, dtype=old.dtype, device="meta")
            tensors[key] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new


def _fill(network: nn.Module, tensors: dict[str, Tensor], shared: Mapping[str, str]) -> None:
    """Gives the network these weights, in their own type. shared: name to the name under which its tensor is stored."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    for name, owner in shared.items():
        if owner in parameters and not isinstance(tensors[owner], nn.Parameter):
            tensors[owner] = nn.Parameter(tensors[owner], parameters[owner].requires_grad)
        tensors[name] = tensors[owner]
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name in [*wanted, *tensors]:
        stored = tuple(tensors[name].shape) if name in tensors else "nowhere in the file"
        if stored != wanted.get(name):
            raise ValueError(
                f"The weights do not fit the network: {name!r} is {stored}, wanted "
                f"{wanted.get(name, 'nowhere')}; it is not the one this plan was made for."
            )
    network.load_state_dict(tensors, assign=True)


def main() -> int:
    """The self-check, in two lines. Exit code 0 if outputs are those of the export, 1 if not, 2 if it cannot run."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    try:
        network = load(folder)
        difference, largest, count = self_check(network, folder)
    except (OSError, ValueError) as error:
        sys.stdout.write(f"{error}\n")
        return 2
    equal = difference <= TOLERANCE * largest
    numbers = sum(parameter.numel() for parameter in network.parameters())
    sys.stdout.write(f"Loaded {type(network).__name__} with {numbers:,} parameters.\n")
    sys.stdout.write(
        f"Largest difference over {count:,} stored outputs: {difference:.3g} (largest output {largest:.3g}): "
        f"{'as exported' if equal else 'NOT as exported'}.\n"
    )
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
