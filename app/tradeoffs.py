"""What the Trade-offs and Runs pages compute from runs and points: numbers and sentences. No streamlit, no torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.tuning import WORDS
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.compression.tradeoff import TradeoffPoint, smallest_within, told_apart
from core.errors import PlanError
from core.jobs.records import Point, Run
from core.networks.costs import Cost
from core.networks.forms import Dense, family_of

Json = dict[str, Any]

AXES = {"macs": "MACs", "params": "Parameters", "bytes": "Bytes", "latency": "Latency"}


def progress_of(run: Run, points: Sequence[Point], workers: int = 2) -> str:
    """How far a run is, and how long the rest may take, from the median time of its points on so many workers."""
    waiting = run.total - run.done - run.failed
    if not run.total:
        return run.stage or "starting"
    text = f"{run.done + run.failed} of {run.total} points"
    times = [point.seconds for point in points if point.state == "done" and point.seconds > 0]
    if times and waiting:
        text += f", about {duration(statistics.median(times) * waiting / max(1, min(workers, waiting)))} left"
    return text


def at_work(points: Sequence[Point]) -> str:
    """What the worker of the only point at work does now: " · accuracy 500 of 2,000"; "" for several or none."""
    steps = [point.progress["step"] for point in points if point.progress and "step" in point.progress]
    if len(steps) != 1:
        return ""
    what, done, of = steps[0]
    return f" · {what} {done:,} of {of:,}" if of else f" · {what}"


def duration(seconds: float) -> str:
    """A length of time as people say it: "40 s", "12 min", "2 h 10 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def age(stamp: str, now: datetime | None = None) -> str:
    """How long ago a UTC time of ISO 8601 was; "" for none."""
    if not stamp:
        return ""
    passed = ((now or datetime.now(UTC)) - datetime.fromisoformat(stamp)).total_seconds()
    return (
        "just now" if passed < 10 else f"{duration(passed)} ago" if passed < 86_400 else f"{passed // 86_400:.0f} d ago"
    )


def plan_of(point: TradeoffPoint, survey: Survey) -> Plan | None:
    """The plan of a point, None if it is of another model."""
    try:
        made = Plan.from_json(point.plan)
    except PlanError:
        return None
    return made if made.model.digest == survey.model.digest else None


def forms_in_words(plan: Plan, survey: Survey) -> str:
    """A plan in a line: how many layers have which family, and their levels."""
    by: dict[str, list[int]] = {}
    views = {view.name: view for view in survey.views}
    for entry in plan.layers:
        if not isinstance(entry.form, Dense) and entry.layer in views:
            family, view = family_of(entry.form), views[entry.layer]
            by.setdefault(family.label_on(view), []).append(family.level(entry.form, view))
    parts = [
        f"{len(levels)} × {label}, {'rank' if 'rank' in label or 'spatial' in label else 'level'} "
        f"{min(levels)}{f' to {max(levels)}' if max(levels) > min(levels) else ''}"
        for label, levels in by.items()
    ]
    dense = len(survey.layers) - sum(len(levels) for levels in by.values())
    return "; ".join([*parts, f"{dense} dense"])


def kept_by_layer(survey: Survey, plans: Sequence[Plan], quantity: str) -> tuple[list[str], list[list[float]]]:
    """Names of the layers that can be compressed, and for every plan the share of each one's dense cost it keeps."""
    layers = [layer.view for layer in survey.layers if not layer.obstacle and Dense().cost(layer.view).of(quantity)]
    rows = [
        [plan.form(view.name).cost(view).of(quantity) / Dense().cost(view).of(quantity) for view in layers]
        for plan in plans
    ]
    return [view.name for view in layers], rows


def readout(points: Sequence[TradeoffPoint], axis: str, lost: float, dense: Cost) -> tuple[str, str]:
    """The sentence about the smallest measured point within a loss of accuracy (0.01: one point), and its key, ""
    without one."""
    found = smallest_within(points, axis, lost)
    words = f"at most {100 * lost:g} point{'' if lost == 0.01 else 's'} lost"
    if found is None:
        return f"No measured point has {words}.", ""
    point = points[found]
    assert point.accuracy is not None and point.dense is not None
    if axis == "latency" and point.latency is not None and point.against is not None:
        size = f"{point.latency.value:.3g} ms, {point.latency.value / point.against.value:.0%} of dense"
    else:
        size = f"{point.cost.of(axis) / dense.of(axis):.1%} of the {WORDS[axis]}"
    gap = 100 * (point.accuracy.value - point.dense.value)
    clear = "" if told_apart(point.accuracy, point.dense) else ", within the noise of the measurement"
    apart = f"{abs(gap):.1f} points {'above' if gap > 0 else 'below'} dense{clear}"
    return f"Smallest with {words}: **{size}**, measured {apart}.", point.key


def slower_words(points: Sequence[TradeoffPoint]) -> str:
    """A warning about plans that were measured slower than the dense network; "" if there are none."""
    timed = [point for point in points if point.latency is not None]
    slow = sum(1 for point in timed if point.slower)
    if not slow:
        return ""
    return (
        f"{slow} of {len(timed)} timed plans are slower than the dense network on this machine, though they multiply "
        "less: two small products can cost more than a large one."
    )


def runs_table(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """One row a run, newest first."""
    return {
        "model": [run.model for run in runs],
        "what": [run.title for run in runs],
        "kind": [run.kind for run in runs],
        "state": [run.words for run in runs],
        "points": [run.total for run in runs],
        "done": [run.done for run in runs],
        "failed": [run.failed for run in runs],
        "started": [run.created for run in runs],
        "changed": [age(run.updated) for run in runs],
        "id": [run.id for run in runs],
    }


def points_table(points: Sequence[Point]) -> dict[str, list[Any]]:
    """One row a point: what it tries, how it stands, what it measured and how long that took."""
    from core.jobs.sweeps import measured

    found = [measured(point.result) if point.result and "dense" in point.result else {} for point in points]

    def value(name: str, attribute: str) -> list[Any]:
        return [getattr(made[name], attribute) if name in made else None for made in found]

    return {
        "what": [point.label for point in points],
        "state": [point.state for point in points],
        "accuracy": value("accuracy", "value"),
        "± standard error": value("accuracy", "spread"),
        "n": value("accuracy", "n"),
        "dense": value("accuracy_dense", "value"),
        "latency, ms": value("latency_ms", "value"),
        "seconds": [round(point.seconds, 1) if point.seconds else None for point in points],
        "tries": [point.attempts for point in points],
        "error": [point.error for point in points],
    }
