"""Measured accuracy against cost: `python -m benchmarks.tradeoff MODEL DATA` writes JSON and a picture.

A sweep like any other, through the database, the engine and the driver; only the database is a file of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.figures.predicted import tradeoff_table
from app.figures.theme import theme
from app.figures.tradeoff import tradeoff_figure
from benchmarks.record import save
from core import journeys
from core.compression.survey import Survey
from core.compression.tradeoff import TradeoffPoint, pareto_front, smallest_within
from core.jobs import driver
from core.jobs.store import Store
from core.jobs.sweeps import SweepSpec, spec_of, sweep_run, tradeoff_points

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "tradeoff.png"
KEEPS = (0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)


def run(spec: SweepSpec, database: Path) -> tuple[list[TradeoffPoint], float]:
    """The measured points, and the seconds the sweep took."""
    store = Store.open(f"sqlite:///{database}")
    started = time.perf_counter()
    made = store.add_run(sweep_run(spec))
    store.queue(made.id)

    def say(what: str, done: int, of: int) -> None:
        print(f"\r{what} {done} of {of}, {time.perf_counter() - started:.0f} s   ", end="", file=sys.stderr, flush=True)

    found = driver.drive(made.id, store, progress=say)
    print(file=sys.stderr)
    if found.state != "done":
        raise SystemExit(f"the sweep is {found.state}: {found.error}")
    return tradeoff_points(store.points(made.id)), time.perf_counter() - started


def draw(points: list[TradeoffPoint], survey: Survey) -> None:
    """The figure of the Trade-offs page as a picture, by the browser that draws it there."""
    from playwright.sync_api import sync_playwright

    from tests.browser.chromium import CHROMIUM, FLAGS

    fig = tradeoff_figure(points, "macs", survey.dense, by="method", look=theme(), height=520)
    fig.update_layout(title={"text": f"{survey.model.name}: measured accuracy against MACs kept", "y": 0.99})
    fig.update_layout(margin={"t": 90})
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "figure.html"
        fig.write_html(page_file, include_plotlyjs=True, config={"displayModeBar": False})
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1100, "height": 540})
        page.goto(page_file.as_uri())
        page.wait_for_selector(".main-svg")
        page.wait_for_timeout(500)
        page.screenshot(path=str(PICTURE))
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--methods", default="exact,uniform")
    parser.add_argument("--database", type=Path, help="keep the points here, to go on after an interruption")
    asked = parser.parse_args()
    opened = journeys.open_network(asked.model)
    spec = SweepSpec(
        model=str(Path(asked.model).resolve()) if Path(asked.model).exists() else asked.model,
        name=opened.ref.name,
        digest=opened.ref.digest,
        data=str(Path(asked.data).resolve()) if Path(asked.data).exists() else asked.data,
        keeps=KEEPS,
        methods=tuple(asked.methods.split(",")),
        limit=asked.limit,
        timed=True,
    )
    survey = journeys.survey_of(opened)
    with tempfile.TemporaryDirectory() as folder:
        points, seconds = run(spec, asked.database or Path(folder) / "runs.db")
    front, small = pareto_front(points, "macs"), smallest_within(points, "macs", 0.01)
    plain = {**asdict(spec_of(sweep_run(spec))), "model": opened.ref.name, "data": Path(asked.data).name}
    result: dict[str, Any] = {
        "sweep": plain,
        "seconds": round(seconds, 1),
        "points": tradeoff_table(points, survey.dense),
        "front": [points[i].key for i in front],
        "smallest within one point": points[small].key if small is not None else None,
    }
    save("tradeoff", json.loads(json.dumps(result)))
    draw(points, survey)


if __name__ == "__main__":
    main()
