"""What nn.Module adds to the numbers: architectures, files, layers, the forms a layer can take, and what each costs.

Names that need torch are looked up when first asked for, so that pages can import records without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from core.networks.arch import Arch, ModelRef
from core.networks.costs import Cost
from core.networks.forms import FAMILIES, Form
from core.networks.views import LayerView, views

if TYPE_CHECKING:
    from core.networks.checkpoints import Opened as Opened
    from core.networks.checkpoints import open_model as open_model
    from core.networks.zoo import build as build

_NEEDS_TORCH = {"Opened": "checkpoints", "open_model": "checkpoints", "build": "zoo"}
__all__ = ["FAMILIES", "Arch", "Cost", "Form", "LayerView", "ModelRef", "Opened", "build", "open_model", "views"]


def __getattr__(name: str) -> Any:
    """A public name that needs torch, from its home module."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"core.networks has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"core.networks.{_NEEDS_TORCH[name]}"), name)
