"""Every error the core raises on purpose.

    RankscopeError
    ├── Cancelled             work that was asked to stop has stopped
    └── InputError            something the user gave cannot be used; the message is one sentence with the next step
        ├── CheckpointError   a file that should hold weights
        ├── DataError         a data set, or data that do not fit the model
        ├── PlanError         a plan, or a plan for another model
        ├── StoreError        the database of runs and results
        └── EngineError       no engine can be started or reached, or none that can do what is asked
            └── EngineLost    an engine that was at work has gone

What a programmer gets wrong (a negative rank, a matrix that is not two-dimensional) raises ValueError with the value.
"""

from __future__ import annotations


class RankscopeError(Exception):
    """Root of the tree."""


class Cancelled(RankscopeError):
    """Work that was asked to stop has stopped."""


class InputError(RankscopeError):
    """Something the user gave cannot be used. The text is one sentence and says what to do next."""


class CheckpointError(InputError):
    """A file or folder that should hold weights cannot be opened."""


class DataError(InputError):
    """A data set cannot be read, or does not fit the model."""


class PlanError(InputError):
    """A plan cannot be read, or belongs to another model."""


class StoreError(InputError):
    """The database of runs and results cannot be opened, or refused a write."""


class EngineError(InputError):
    """No engine can be started or reached, or none that can do what is asked."""


class EngineLost(EngineError):
    """An engine that was at work has gone; what it has not answered can be asked again."""
