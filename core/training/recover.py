"""Recovers accuracy by training a compressed network: on labels, or on what the dense network says (distillation).

A generator: it yields after every epoch and can be closed at any of them. The weights of the best epoch by held-out
accuracy are what stays; the test split is never looked at.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import InputError
from core.training.recover_spec import EpochLog, RecoverSpec, checked

Progress = Callable[[str, int, int], None]

HELD = 0.1
"""Share of the training examples that choose the epoch and are not trained on."""


def recover(
    model: nn.Module,
    dense: nn.Module,
    x: Tensor,
    y: Tensor,
    spec: RecoverSpec,
    sparse: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Iterator[EpochLog]:
    """Trains `model` in place on inputs x (N, ...), already normalised, and labels y (N,), beside the frozen `dense`.

    sparse  names of layers whose zeros stay zeros. progress  hears of every step, and may raise to end the training.
    Afterwards, or when it is closed, `model` has the weights of its best epoch and is in evaluation mode. Order and
    held-out part come from `spec.seed`; dropout, where there is any, draws from torch's own generator. InputError for
    fewer than ten examples, or a loss that is not finite: it says at which epoch and what to try, and the best weights
    so far stay."""
    checked(spec)
    if len(x) < 10:
        raise InputError(f"{len(x)} examples are too few to train on and to hold some out; give at least ten.")
    random = torch.Generator().manual_seed(spec.seed)
    order = torch.randperm(len(x), generator=random)
    held = max(1, round(HELD * len(x)))
    out, rest = order[:held], order[held:]
    wanted = _answers(dense, x[rest]) if spec.distil else None
    weights = [model.get_parameter(f"{name}.weight") for name in sparse]
    masks = [(weight, weight.detach() != 0) for weight in weights]
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
    steps = spec.epochs * math.ceil(len(rest) / spec.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, spec.schedule))
    started = time.perf_counter()
    best, kept, since = _accuracy(model, x[out], y[out]), copy.deepcopy(model.state_dict()), 0
    now = best
    try:
        yield EpochLog(0, math.nan, best, spec.lr, 0.0, True)
        for epoch in range(1, spec.epochs + 1):
            model.train()
            total = 0.0
            shuffled = torch.randperm(len(rest), generator=random)
            for start in range(0, len(rest), spec.batch):
                rows = shuffled[start : start + spec.batch]
                if len(rows) < 2 and start:  # BatchNorm cannot take the statistics of one example
                    continue
                if progress is not None:
                    done = (epoch - 1) * steps // spec.epochs + start // spec.batch
                    progress(
                        f"training, epoch {epoch} of {spec.epochs}, held-out accuracy {now:.1%}, step", done, steps
                    )
                at = rest[rows]
                loss = _loss(model(x[at]), y[at], wanted[rows] if wanted is not None else None, spec)
                if not torch.isfinite(loss):
                    raise InputError(
                        f"Training diverged in epoch {epoch} (the loss is {loss.item()}); a tenth of the rate, "
                        f"{spec.lr / 10:g}, is worth a try."
                    )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    for weight, mask in masks:
                        weight.mul_(mask)
                total += loss.item() * len(rows)
            now = _accuracy(model, x[out], y[out])
            better = now > best
            since = 0 if better else since + 1
            if better:
                best, kept = now, copy.deepcopy(model.state_dict())
            rate = float(schedule.get_last_lr()[0])
            yield EpochLog(epoch, total / len(rest), now, rate, time.perf_counter() - started, better)
            if spec.patience and since >= spec.patience:
                return
    finally:
        model.load_state_dict(kept)
        model.eval()


def _loss(scores: Tensor, y: Tensor, wanted: Tensor | None, spec: RecoverSpec) -> Tensor:
    """(1 - d) cross entropy + d T² KL(softmax(dense / T) || softmax(scores / T)). Source: Hinton, Vinyals and Dean
    2015, the T² included."""
    hard = F.cross_entropy(scores, y)
    if wanted is None:
        return hard
    T = spec.temperature
    soft = F.kl_div(F.log_softmax(scores / T, 1), F.softmax(wanted / T, 1), reduction="batchmean")
    return (1.0 - spec.distil) * hard + spec.distil * T * T * soft


def _rate(step: int, steps: int, schedule: str) -> float:
    """Share of the peak rate at a step: constant, or a half cosine down to 0 after a warm-up over a twentieth."""
    if schedule == "constant":
        return 1.0
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _answers(model: nn.Module, x: Tensor, batch: int = 250) -> Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(x[start : start + batch]) for start in range(0, len(x), batch)])


def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((_answers(model, x).argmax(1) == y).double().mean())
