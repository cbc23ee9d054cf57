"""A plan applied, repaired and trained, measured before and after, and written as a bundle that reads back equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import journeys
from core.compression.plans import Plan
from core.provenance import Measurement
from core.training.recover_spec import EpochLog, RecoverSpec

if TYPE_CHECKING:
    from core.export import BundleCheck
    from core.networks.checkpoints import Opened
    from core.training.data import Data
    from core.training.evaluate import Latency

SPARSE = ("sparse", "sparse24", "filters")
"""Families whose zeros training must leave alone."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What training gave back. dense, before, after  accuracies on the same test examples; before: repaired, untrained.

    curve  after every epoch, the first before any. bundle  the check of what was written, None if nothing was.
    latency  against the dense network, None if not asked for."""

    dense: Measurement
    before: Measurement
    after: Measurement
    curve: tuple[EpochLog, ...]
    bundle: BundleCheck | None
    latency: Latency | None


def recover_plan(
    opened: Opened,
    plan: Plan,
    data: Data,
    spec: RecoverSpec,
    limit: int | None = None,
    folder: Path | None = None,
    timed: bool = False,
    progress: journeys.Progress | None = None,
    told: Callable[[EpochLog], None] | None = None,
) -> Recovered:
    """Applies the plan with its repair, trains it on the training split of `data`, and measures both on the test split
    (all of it, or a seeded sample of `limit`). told  hears of every epoch. folder  where the bundle goes, if anywhere.
    timed  measures latency too.

    InputError and PlanError as `journeys.evaluate`; InputError if training diverges."""
    from core.export import Facts, write_bundle
    from core.training.evaluate import accuracy, latency
    from core.training.recover import recover

    dense = journeys.scored(opened)
    x, y, words = journeys.test_examples(opened, data, limit, spec.seed)
    survey = journeys.survey_of(opened, progress)
    new, gains, _ = journeys.compressed_network(opened, plan, survey, data, progress)
    first = accuracy(dense, x, y, spec.seed, words, progress)
    before = accuracy(new, x, y, spec.seed, f"{words}, repaired, before training", progress)
    inputs, labels = data.split("train", spec.samples, spec.seed)
    inputs = journeys.prepared(opened, data, inputs)
    sparse = tuple(entry.layer for entry in plan.layers if entry.form.family in SPARSE)
    curve = []
    for log in recover(new, dense, inputs, labels, spec, sparse):
        curve.append(log)
        if told is not None:
            told(log)
        if progress is not None:
            progress(f"training, held-out accuracy {log.held_out:.1%}, epoch", log.epoch, spec.epochs)
    how = f"{len(inputs):,} labelled training examples, {curve[-1].epoch} epochs, seed {spec.seed}"
    after = accuracy(new, x, y, spec.seed, f"{words}, after training on {how}", progress)
    times = latency(dense, new, x[:1], progress=progress) if timed else None
    check = None
    if folder is not None:
        facts = Facts(dense=first, compressed=after, gains=gains, latency=times, calibration=f"trained on {how}")
        check = write_bundle(folder, opened, plan, new, survey, x[:8], facts)
    return Recovered(first, before, after, tuple(curve), check, times)


def as_dict(found: Recovered) -> dict[str, Any]:
    """Plain values, with the accuracies under the names an evaluation gives them."""
    made = asdict(found)
    times = found.latency.plain() if found.latency is not None else None
    return {**made, "compressed": made["after"], "latency": times}
