"""Plans, how they are chosen under a budget, applied to a network and repaired without labels.

Names that need torch are looked up when first asked for, so that pages can import records without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from core.compression.allocate import Allocation, Budget, allocate
from core.compression.apply import apply
from core.compression.plans import LayerPlan, Plan, Repair
from core.compression.survey import Survey

if TYPE_CHECKING:
    from core.compression.fitting import repair as repair
    from core.compression.surveying import survey_model as survey_model

_NEEDS_TORCH = {"repair": "fitting", "survey_model": "surveying"}
__all__ = [
    "Allocation",
    "Budget",
    "LayerPlan",
    "Plan",
    "Repair",
    "Survey",
    "allocate",
    "apply",
    "repair",
    "survey_model",
]


def __getattr__(name: str) -> Any:
    """A public name that needs torch, from its home module."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"core.compression has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"core.compression.{_NEEDS_TORCH[name]}"), name)
