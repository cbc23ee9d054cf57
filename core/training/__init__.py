"""Data, and training networks on them. Names are looked up when first asked for, so that pages need no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.training.data import Data as Data
    from core.training.data import DataRef as DataRef
    from core.training.data import check_fits as check_fits
    from core.training.data import open_data as open_data
    from core.training.demos import train_demo as train_demo

_HOME = {"Data": "data", "DataRef": "data", "check_fits": "data", "open_data": "data", "train_demo": "demos"}
__all__ = ["Data", "DataRef", "check_fits", "open_data", "train_demo"]


def __getattr__(name: str) -> Any:
    """The public name from its home module, imported when first used."""
    if name not in _HOME:
        raise AttributeError(f"core.training has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"core.training.{_HOME[name]}"), name)
