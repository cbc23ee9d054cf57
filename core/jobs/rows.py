"""Rows of the database to records, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from core.jobs.database import dumps, plain
from core.jobs.records import Point, Run, iso
from core.provenance import Measurement, Provenance, here

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import RowMapping as Row


def run_row(run: Run, now: float, revision: str) -> dict[str, Any]:
    """The row of a run that is added at unix time `now` (s)."""
    return {
        "id": run.id,
        "kind": run.kind,
        "title": plain(run.title),
        "model": plain(run.model),
        "digest": run.digest,
        "spec": run.spec,
        "state": run.state,
        "error": plain(run.error),
        "stage": plain(run.stage),
        "created": now,
        "updated": now,
        "provenance": asdict(run.provenance or here()),
        "revision": revision,
        "owner": "",
        "lease": 0.0,
    }


def run_of(row: Row) -> Run:
    """The run of a row that carries the counts of its points."""
    made = row["provenance"]
    return Run(
        id=row["id"],
        kind=row["kind"],
        title=row["title"],
        model=row["model"],
        digest=row["digest"],
        spec=row["spec"],
        state=row["state"],
        error=row["error"],
        stage=row["stage"],
        created=iso(row["created"]),
        updated=iso(row["updated"]),
        total=int(row["total"] or 0),
        done=int(row["done"] or 0),
        failed=int(row["failed"] or 0),
        provenance=Provenance(**{**made, "versions": tuple(made["versions"])}) if made else None,
        owner=row["owner"],
        lease=row["lease"],
    )


def point_of(row: Row) -> Point:
    """The point of a row."""
    names = ("run", "key", "request", "state", "attempts", "result", "error", "seconds", "worker", "progress")
    return Point(**{name: row[name] for name in names})


def measured_row(run: str, point: str, name: str, made: Measurement, revision: str) -> dict[str, Any]:
    """The row of one measured number."""
    return {
        "run": run,
        "point": point,
        "name": name,
        "what": plain(made.what),
        "value": float(made.value),
        "spread": float(made.spread),
        "n": made.n,
        "seed": made.seed,
        "date": made.provenance.date,
        "versions": list(made.provenance.versions),
        "device": plain(made.provenance.device),
        "threads": made.provenance.threads,
        "conditions": plain(made.provenance.conditions),
        "revision": revision,
    }


def measurement_in(row: Row) -> Measurement:
    """The measured number of a row."""
    made = Provenance(row["date"], tuple(row["versions"]), row["device"], row["threads"], row["conditions"])
    return Measurement(row["what"], _number(row["value"]), _number(row["spread"]), row["n"], row["seed"], made)


def frame_of(found: Sequence[Row]) -> pd.DataFrame:
    """One row a measurement. The request's own entries become columns named "request.<name>"; what is nested deeper,
    or of several kinds in one column, becomes text, so that CSV and Parquet both hold it."""
    import pandas as pd

    requests = [row["request"] for row in found]
    names = list(dict.fromkeys(name for request in requests for name in request))
    columns: dict[str, Any] = {name: [row[name] for row in found] for name in FIRST}
    for name in names:
        columns[f"request.{name}"] = _uniform([request.get(name) for request in requests])
    columns |= {name: [row[name] for row in found] for name in LAST}
    for name in ("value", "spread", "seconds"):
        columns[name] = pd.array([_number(value) for value in columns[name]], dtype="float64")
    columns["versions"] = ["; ".join(versions) for versions in columns["versions"]]
    return pd.DataFrame(columns)


FIRST = ("run", "kind", "title", "model", "digest", "point")
"""Columns of a frame before those of the request."""

LAST = (
    *("name", "value", "spread", "n", "seed", "what"),
    *("date", "versions", "device", "threads", "conditions", "revision", "seconds", "worker"),
)
"""And after them."""


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _uniform(values: list[Any]) -> list[Any]:
    """The values if they are all numbers, all truth values or all text, with None between them; else as text."""
    there = [value for value in values if value is not None]
    for kinds in ((bool,), (int, float), (str,)):
        if all(isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)) for value in there):
            return values
    return [value if value is None or isinstance(value, str) else _text(value) for value in values]


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (bool, int)) else dumps(value)
