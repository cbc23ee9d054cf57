"""From what a checkpoint holds to a plain state dict: nestings, wrappers' prefixes, content digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from core.networks.wording import listed

if TYPE_CHECKING:
    from torch import Tensor

NESTINGS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "params_ema",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
)
"""Keys under which training scripts put the weights, most trusted first."""

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DataParallel, DistributedDataParallel and torch.compile add to every name."""

TRAINING_STATE = ("optim", "sched", "scaler", "amp", "rng", "loops", "callbacks")
DEEPEST_NESTING = 6


def unwrap(content: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of what torch.load returned, by name, and notes saying what was stripped or left out.

    A mapping with weights of its own is taken as the state dict; else the first of NESTINGS that leads to weights is
    entered; else nested mappings are joined with dots, leaving out training state (`optimizer`, ...). A single tensor
    is called "tensor". The result is empty when there are no tensors.
    """
    import torch

    notes: list[str] = []
    if isinstance(content, torch.Tensor):
        content, notes = {"tensor": content}, ["a single tensor without a name; called 'tensor'"]
    elif isinstance(content, (list, tuple)):
        content = dict(enumerate(content))
    path: list[str] = []
    while isinstance(content, Mapping) and not _has_weights(content) and len(path) < DEEPEST_NESTING:
        inner = next((key for key in NESTINGS if isinstance(content.get(key), Mapping) and _leads(content[key])), None)
        if inner is None:
            break
        notes += [f"unwrapped {inner!r}", *_ignored(content, inner)]
        content, path = content[inner], [*path, inner]
    if not isinstance(content, Mapping):
        return {}, notes
    if not _has_weights(content) and _leads(content):
        joined = dict(_join(content, ""))
        notes += [f"joined the nested names of {len(joined)} tensors with dots"]
        return _usable(joined, notes), notes
    others = sorted(_text(key) for key, value in content.items() if not isinstance(value, torch.Tensor))
    notes += [f"ignored {listed(others)}"] if others else []
    return _usable({_text(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}, notes), notes


def strip_prefixes(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Old name to new name without WRAPPERS, where every name has the prefix, and notes.

    `n_averaged`, the counter of torch's AveragedModel, is dropped with the prefix it comes with.
    """
    renamed = {name: name for name in names}
    notes: list[str] = []
    while renamed:
        kept = {old: new for old, new in renamed.items() if new != "n_averaged"}
        prefix = next(
            (p for p in WRAPPERS if kept and all(new.startswith(p) and new != p for new in kept.values())), None
        )
        if prefix is None:
            break
        notes += [f"removed the prefix {prefix!r} from {len(kept)} names"]
        notes += ["ignored n_averaged"] if len(kept) < len(renamed) else []
        renamed = {old: new.removeprefix(prefix) for old, new in kept.items()}
    return renamed, notes


def digest_of(state: Mapping[str, Tensor]) -> tuple[str, list[str]]:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of names; and which tensors hold NaN or infinity.

    Reads each tensor once, so a state dict that stays on disk needs the memory of one tensor.
    """
    sha = hashlib.sha256()
    not_finite: list[str] = []
    for name in sorted(state):
        tensor = state[name]
        sha.update(json.dumps([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]).encode())
        sha.update(_bytes(tensor))
        if not is_finite(tensor):
            not_finite.append(name)
    return sha.hexdigest(), not_finite


def is_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite. True for integers and for formats torch cannot convert to float."""
    import torch

    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    try:
        wide = tensor if tensor.is_complex() or tensor.element_size() >= 2 else tensor.to(torch.float32)
        return bool(torch.isfinite(wide).all())
    except (RuntimeError, NotImplementedError):
        return True


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _has_weights(content: Mapping[Any, Any]) -> bool:
    """Whether the mapping itself holds a tensor with at least one dimension; counters and losses are scalars."""
    import torch

    return any(isinstance(value, torch.Tensor) and value.ndim > 0 for value in content.values())


def _leads(content: Any, depth: int = 0) -> bool:
    """Whether weights can be found somewhere below, not counting training state."""
    if not isinstance(content, Mapping) or depth > DEEPEST_NESTING:
        return False
    return _has_weights(content) or any(_leads(v, depth + 1) for k, v in content.items() if not _is_training_state(k))


def _join(content: Mapping[Any, Any], prefix: str, depth: int = 0) -> Iterable[tuple[str, Tensor]]:
    import torch

    for key, value in content.items():
        if isinstance(value, torch.Tensor):
            yield prefix + _text(key), value
        elif isinstance(value, Mapping) and depth <= DEEPEST_NESTING and not _is_training_state(key):
            yield from _join(value, f"{prefix}{_text(key)}.", depth + 1)


def _usable(tensors: dict[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """Without what has no plain numbers in memory: sparse, quantised, shape-only tensors; adds a note naming them."""
    import torch

    strange = sorted(
        name
        for name, tensor in tensors.items()
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu"
    )
    if strange:
        notes.append(f"ignored {listed(strange)}, stored sparse, quantised or without data")
    return {name: tensor.detach() for name, tensor in tensors.items() if name not in strange}


def _ignored(content: Mapping[Any, Any], inner: str) -> list[str]:
    others = sorted(_text(key) for key in content if key != inner)
    return [f"ignored {listed(others)}"] if others else []


def _is_training_state(key: Any) -> bool:
    return any(word in _text(key).lower() for word in TRAINING_STATE)


def _text(key: Any) -> str:
    return key if isinstance(key, str) else str(key)
