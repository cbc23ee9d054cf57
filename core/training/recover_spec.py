"""How a compressed network is trained, and what is told of it after every epoch. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import InputError

SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True, slots=True)
class RecoverSpec:
    """How to train. epochs  at most. lr  peak rate of AdamW. schedule  of `SCHEDULES`. batch  examples a step.

    distil       weight in [0, 1] of the dense network's answer against the label. temperature  of both softmaxes there.
    patience     epochs without a better held-out accuracy before it stops; 0 never stops early.
    samples      training examples, None for all. seed  of the draw, the held-out part and the order.
    """

    epochs: int = 10
    lr: float = 1e-3
    schedule: str = "cosine"
    batch: int = 64
    weight_decay: float = 0.0
    distil: float = 0.5
    temperature: float = 2.0
    patience: int = 3
    samples: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class EpochLog:
    """After an epoch (0: before the first): mean training loss, accuracy on the held-out examples, rate of its last
    step, seconds since the start, and whether it is the best so far."""

    epoch: int
    loss: float
    held_out: float
    lr: float
    seconds: float
    best: bool


def checked(spec: RecoverSpec) -> RecoverSpec:
    """The specification. InputError, one sentence, for one that cannot be run."""
    if spec.schedule not in SCHEDULES:
        raise InputError(f"There is no schedule {spec.schedule!r}; choose from {', '.join(SCHEDULES)}.")
    if spec.epochs < 1 or spec.batch < 1 or not 0.0 < spec.lr <= 10.0:
        raise InputError("Training needs at least one epoch, one example a step and a rate in (0, 10]; change them.")
    if not 0.0 <= spec.distil <= 1.0 or spec.temperature <= 0.0:
        raise InputError("The weight of distillation lies in [0, 1] and its temperature above 0; change them.")
    return spec
