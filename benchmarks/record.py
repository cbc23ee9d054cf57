"""Timed comparisons that can be read later: contenders take turns, and a result carries the conditions it was taken
under.

    samples = interleaved({"ours": f, "theirs": g}, repeats=9)
    save("name", {"seconds": {name: summary(s) for name, s in samples.items()}})

No host name, user name or path is written.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "streamlit", "plotly", "playwright")


def interleaved(
    contenders: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of each call, (repeats,) per contender. They take turns, in an order that rotates, so that a change of
    the machine's load meets all of them."""
    names = list(contenders)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warmup + repeats):
        for i in range(len(names)):
            name = names[(i + turn) % len(names)]
            start = time.perf_counter()
            contenders[name]()
            if turn >= warmup:
                samples[name].append(time.perf_counter() - start)
    return samples


def summary(samples: Sequence[float]) -> dict[str, float | int]:
    """min, quartiles and number of the samples, in their unit. Quartiles by linear interpolation; needs two samples."""
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"n": len(samples), "min": min(samples), "q25": low, "median": middle, "q75": high}


def ratios(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float | int]:
    """`summary` of slow / fast turn by turn: how many times faster the second is."""
    return summary([a / b for a, b in zip(slow, fast, strict=True)])


def conditions() -> dict[str, Any]:
    """What a reader needs to judge a number: date, versions, processor, threads, load, accelerator."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {},
        "load_average_1_5_15_min": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }
    for package in PACKAGES:
        try:
            found["versions"][package] = version(package)
        except PackageNotFoundError:
            continue
    if "torch" in found["versions"]:
        import torch

        found["torch_threads"] = torch.get_num_threads()
        found["accelerator"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return found


def save(name: str, result: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Path:
    """Writes results/NAME.json: the result, the conditions now and, if given, those taken before it started."""
    RESULTS.mkdir(exist_ok=True)
    record = {"benchmark": name, "conditions": dict(before) if before else conditions(), **result}
    if before:
        record["conditions"]["load_average_after"] = conditions()["load_average_1_5_15_min"]
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    """The processor's model name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
