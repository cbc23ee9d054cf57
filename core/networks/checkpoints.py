"""Open a trained network from a file, a folder or the embedded demos, without running anything the file contains.

Importing this file imports no torch; `open_model` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CheckpointError
from core.networks import state_dicts
from core.networks.arch import Arch, Inputs, ModelRef, parse_arch
from core.networks.demo_files import DemoInfo, demo_info, demo_names, demo_path
from core.networks.reading import FORMATS, read
from core.networks.tensor_files import TensorFiles
from core.networks.wording import display_name, listed, shown
from core.networks.zoo import Shapes, build, expected_shapes, recognize

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "DemoInfo",
    "Opened",
    "build_module",
    "demo_info",
    "demo_names",
    "display_name",
    "first_mismatch",
    "open_model",
    "random_network",
]

RANDOM = "random:"

IN_MEMORY = 2 * 2**30
"""Bytes. Smaller checkpoints are copied into memory and let go of their file; larger ones are read tensor by tensor."""


@dataclass(slots=True)
class Opened:
    """A network in hand.

    state: name to tensor as stored (any dtype), without wrappers' prefixes; a read-only mapping that stays on disk when
    it is larger than IN_MEMORY bytes. arch: the built-in network it is, or None. module: that network in float32 and
    evaluation mode with these weights, or None with the `reason`. notes: what was recognised, stripped or left out, in
    words for the visitor.
    """

    ref: ModelRef
    state: Mapping[str, Tensor]
    arch: Arch | None
    module: nn.Module | None
    notes: tuple[str, ...]
    reason: str = ""
    inputs: Inputs | None = None

    @property
    def takes(self) -> Inputs | None:
        """What the network takes: what its Arch says, else what was given for the user's own; None if nobody said."""
        known = self.arch
        return Inputs(known.input_shape, known.mean, known.std) if known is not None else self.inputs


def open_model(source: str | Path, arch: str | Arch | None = None) -> Opened:
    """Open the demo or the path called `source`; a demo's name wins, write ./name for a file called like one.

    Takes .safetensors files, folders with model.safetensors or its index, and what torch.save wrote (state dicts only).
    The content decides, not the extension. arch: the network to build, instead of recognising it from names and shapes.
    `random:ARCH` or `random:ARCH@SEED` makes the network of `parse_arch` with the weights torch gives it at that seed.
    Raises CheckpointError, one sentence that names the file without its folder and says what to do next.
    """
    if isinstance(source, str) and source.startswith(RANDOM):
        return random_network(source)
    is_demo = isinstance(source, str) and source in demo_names()
    path = demo_path(str(source)) if is_demo else Path(source)
    name = str(source) if is_demo else display_name(path)
    kind = "demo" if is_demo else "folder" if path.is_dir() else "file"
    given = _buildable(arch) if arch is not None else None
    stored, metadata, notes = read(path, name)
    if not stored:
        raise CheckpointError(f"{name} holds no tensors; {FORMATS}.")
    renamed, more = state_dicts.strip_prefixes(stored)
    notes += more
    renamed, more = _strip_owner(renamed, stored, given)
    notes += more
    state = _rename(stored, renamed)
    digest, not_finite = state_dicts.digest_of(state)
    if not_finite:
        notes.append(f"NaN or infinity in {listed(not_finite)}: kept out of the numbers")
    chosen, more = _choose_arch(_shapes(state), given, metadata, name)
    notes += more
    reason = "its names and shapes match no network that Rankscope can build, so nothing can be run through it"
    module = None
    if chosen is not None:
        module, more, reason = build_module(chosen, state)
        notes += more
    return Opened(ModelRef(kind, name, digest), state, chosen, module, tuple(notes), reason)


def random_network(source: str) -> Opened:
    """The untrained network that `random:ARCH@SEED` names. CheckpointError for an architecture or seed not
    understood."""
    import torch

    text, _, seed = source.removeprefix(RANDOM).partition("@")
    chosen = parse_arch(text)
    if not (seed or "0").isdecimal() or len(seed) > 9:
        raise CheckpointError(f"The seed {seed!r} is not a whole number; write random:{text}@0.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed or "0"))
        module = build(chosen).eval()
    state = {name: tensor.detach() for name, tensor in module.state_dict().items()}
    digest, _ = state_dicts.digest_of(state)
    notes = (f"random weights, seed {int(seed or '0')}: nothing was trained",)
    return Opened(ModelRef("random", f"random {chosen.label}", digest), state, chosen, module, notes)


def build_module(arch: Arch, state: Mapping[str, Tensor]) -> tuple[nn.Module | None, list[str], str]:
    """The network of `arch` with a copy of these weights in float32, in evaluation mode; notes; or None and the reason.

    Draws no random numbers. `state` must have the names and shapes of `expected_shapes(arch)`.
    """
    import torch

    stored = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in state.items()}
    if any(dtype.startswith("complex") for dtype in stored.values()):
        return None, [], "its weights are complex numbers, which the network cannot use"
    with torch.device("meta"):
        module = build(arch)
    module.to_empty(device="cpu")
    wanted = module.state_dict()
    weights = {name: state[name].to(wanted[name].dtype) if name in state else torch.zeros(()) for name in wanted}
    module.load_state_dict(weights)
    counters = {name for name in stored if not wanted[name].is_floating_point()}
    others = sorted({dtype for name, dtype in stored.items() if name not in counters} - {"float32"})
    notes = [f"stored as {', '.join(others)}; run in float32"] if others else []
    if any(dtype.startswith(("int", "uint", "bool")) for dtype in others):
        notes.append("integers are taken at face value: the file states no scale for them")
    return module.eval(), notes, ""


def first_mismatch(arch: Arch, shapes: Shapes) -> str:
    """What is first wrong, in words, when weights of these shapes should fit `arch`; "" when they fit."""
    expected = expected_shapes(arch)
    for label, shape in expected.items():
        if label not in shapes and not label.endswith(".num_batches_tracked"):
            return f"it lacks {shown(label)!r} of shape {shape}"
        if label in shapes and tuple(shapes[label]) != shape:
            return f"{shown(label)!r} has shape {tuple(shapes[label])}, not {shape}"
    extra = next((label for label in shapes if label not in expected), None)
    return f"{shown(extra)!r} has no place in it" if extra is not None else ""


def _choose_arch(
    shapes: Shapes, given: Arch | None, metadata: Mapping[str, str], name: str
) -> tuple[Arch | None, list[str]]:
    """The architecture and notes: what the caller named, else what the file describes, else what shapes tell."""
    if given is not None:
        wrong = first_mismatch(given, shapes)
        if wrong:
            raise CheckpointError(f"{name} is not {given.label}: {wrong}; name another architecture, or leave it out.")
        return given, []
    if "arch" in metadata:
        try:
            described = Arch.from_json(metadata["arch"])
            if not first_mismatch(described, shapes):
                return described, []
        except (CheckpointError, ValueError):
            pass
        notes = ["its own description of the network does not fit its tensors and was not used"]
    else:
        notes = []
    arch_found = recognize(shapes)
    if arch_found is not None:
        assumed = ", taken to use ReLU" if arch_found.name in ("mlp", "autoencoder") else ""
        notes.append(f"recognised as {arch_found.label} from names and shapes{assumed}")
    return arch_found, notes


def _buildable(arch: str | Arch) -> Arch:
    """The architecture the caller named. Raises CheckpointError when it is not understood or contradicts itself."""
    given = parse_arch(arch) if isinstance(arch, str) else arch
    try:
        expected_shapes(given)
    except ValueError as error:
        raise CheckpointError(
            f"The architecture {arch!r} cannot be built, because {error}; change its options."
        ) from error
    return given


def _strip_owner(
    names: dict[str, str], stored: Mapping[str, Tensor], given: Arch | None
) -> tuple[dict[str, str], list[str]]:
    """`names` without the first part that all share, such as "model." of a training module, where that makes it fit."""
    owner = next(iter(names.values())).partition(".")[0] + "."
    if not all(new.startswith(owner) and new != owner for new in names.values()):
        return names, []
    every = _shapes(stored)
    shapes = {new: every[old] for old, new in names.items()}
    shorter = {new.removeprefix(owner): shape for new, shape in shapes.items()}
    fits = recognize if given is None else lambda tried: not first_mismatch(given, tried)
    if fits(shapes) or not fits(shorter):
        return names, []
    notes = [f"removed the prefix {shown(owner)!r} from {len(names)} names"]
    return {old: new.removeprefix(owner) for old, new in names.items()}, notes


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return state.shapes if isinstance(state, TensorFiles) else {k: tuple(v.shape) for k, v in state.items()}


def _rename(stored: Mapping[str, Tensor], names: Mapping[str, str]) -> Mapping[str, Tensor]:
    """The tensors under their new names: copied into memory up to IN_MEMORY bytes, else left where they are."""
    if isinstance(stored, TensorFiles):
        files = stored.renamed(names)
        return dict(files) if files.nbytes <= IN_MEMORY else files
    nbytes = sum(stored[old].numel() * stored[old].element_size() for old in names)
    return {new: stored[old].clone() if nbytes <= IN_MEMORY else stored[old] for old, new in names.items()}
