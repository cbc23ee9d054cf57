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
    from core.networks.costs import Cost
    from core.training.data import Data
    from core.training.evaluate import Latency

SPARSE = {"sparse": "", "random": "", "sparse24": "", "filters": "", "lowrank_sparse": ".sparse"}
"""Families whose zeros training must leave alone, and where in the layer's place they are."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What training gave back. dense, before, after  accuracies on the same test examples; before: repaired, untrained.

    curve  after every epoch, the first before any. bundle  the check of what was written, None if nothing was.
    latency  against the dense network, None if not asked for. cost  of a plan that removes rows, counted on the smaller
    network; notes  of that removal."""

    dense: Measurement
    before: Measurement
    after: Measurement
    curve: tuple[EpochLog, ...]
    bundle: BundleCheck | None
    latency: Latency | None
    cost: Cost | None = None
    notes: tuple[str, ...] = ()


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
    from core.compression.counting import counted
    from core.export import Facts, write_bundle
    from core.training.evaluate import accuracy, latency
    from core.training.recover import recover

    dense = journeys.scored(opened)
    x, y, words = journeys.test_examples(opened, data, limit, spec.seed)
    survey = journeys.survey_of(opened, progress)
    made = journeys.compressed_network(opened, plan, survey, data, progress)
    new = made.network
    first = accuracy(dense, x, y, spec.seed, words, progress)
    before = accuracy(new, x, y, spec.seed, f"{words}, repaired, before training", progress)
    inputs, labels = data.split("train", spec.samples, spec.seed)
    inputs = journeys.prepared(opened, data, inputs)
    sparse = tuple(e.layer + SPARSE[e.form.family] for e in plan.layers if e.form.family in SPARSE)
    curve = []
    for log in recover(new, dense, inputs, labels, spec, sparse, progress):
        curve.append(log)
        if told is not None:
            told(log)
    how = f"{len(inputs):,} labelled training examples, {curve[-1].epoch} epochs, seed {spec.seed}"
    after = accuracy(new, x, y, spec.seed, f"{words}, after training on {how}", progress)
    times = latency(dense, new, x[:1], progress=progress) if timed else None
    check = None
    if folder is not None:
        facts = Facts(
            dense=first,
            compressed=after,
            gains=made.gains,
            latency=times,
            calibration=f"trained on {how}",
            removed=made.notes,
        )
        check = write_bundle(folder, opened, plan, new, survey, x[:8], facts)
    cost = counted(new, plan, x[:1]).cost if plan.remove else None
    return Recovered(first, before, after, tuple(curve), check, times, cost, made.notes)


def as_dict(found: Recovered) -> dict[str, Any]:
    """Plain values, with the accuracies under the names an evaluation gives them."""
    made = asdict(found)
    times = found.latency.plain() if found.latency is not None else None
    return {**made, "compressed": made["after"], "latency": times}
