"""A network from the user's own Python file. For the command line only: this runs code, so no page may reach it."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CheckpointError
from core.networks import state_dicts
from core.networks.arch import ModelRef
from core.networks.checkpoints import Opened
from core.networks.wording import display_name, listed

if TYPE_CHECKING:
    from torch import nn


def load_user_model(spec: str) -> nn.Module:
    """Run `file.py` of "file.py:function", call the function without arguments; its nn.Module, in evaluation mode.

    Raises CheckpointError when the file or the function is missing, fails, or returns something else.
    """
    from torch import nn

    file, colon, function = spec.rpartition(":")
    path = Path(file).expanduser()
    if not colon or not function.isidentifier() or path.suffix != ".py":
        raise CheckpointError(f"{display_name(Path(spec))!r} does not name a network; write file.py:function.")
    name = display_name(path)
    if not path.is_file():
        raise CheckpointError(f"There is no file {name}; check the path before the colon.")
    module_spec = importlib.util.spec_from_file_location(f"rankscope_user_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise CheckpointError(f"{name} cannot be imported; check that it is a Python file.")
    code = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = code
    try:
        module_spec.loader.exec_module(code)
        make = getattr(code, function, None)
        if not callable(make):
            raise CheckpointError(f"{name} has no function called {function}; check the name after the colon.")
        network = make()
    except CheckpointError:
        raise
    except Exception as error:  # it is the user's code: whatever it raises is the user's to see
        raise CheckpointError(f"{function} in {name} failed with {type(error).__name__}: {error}; mend it.") from error
    if not isinstance(network, nn.Module):
        raise CheckpointError(f"{function} in {name} returned {type(network).__name__}; let it return an nn.Module.")
    return network.eval()


def from_module(module: nn.Module, name: str) -> Opened:
    """A network made by user code as if it had been opened; its weights are the ones it has."""
    state = {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}
    digest, not_finite = state_dicts.digest_of(state)
    notes = (f"NaN or infinity in {listed(not_finite)}: kept out of the numbers",) if not_finite else ()
    return Opened(ModelRef("user code", name, digest), state, None, module, notes)


def attach(opened: Opened, module: nn.Module) -> Opened:
    """The opened weights in the user's network. Raises CheckpointError naming the first tensor that does not fit."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for label in dict.fromkeys([*wanted, *opened.state]):
        if label not in wanted:
            problem = f"the network has no {label!r}"
        elif label not in opened.state:
            problem = f"the file lacks {label!r}"
        elif tuple(opened.state[label].shape) != wanted[label]:
            problem = f"{label!r} has shape {tuple(opened.state[label].shape)}, the network wants {wanted[label]}"
        else:
            continue
        raise CheckpointError(f"{opened.ref.name} does not fit the network given: {problem}; change the function.")
    module.load_state_dict(dict(opened.state))
    return replace(opened, arch=None, module=module.eval(), reason="")
