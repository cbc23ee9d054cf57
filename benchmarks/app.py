"""The app's budgets in a real browser: `python -m benchmarks.app` writes results/app.json.

Cold start (process start to the first drawn layer strip, empty browser profile), frames while a bar is dragged, the
time from release to repainted numbers, and a change of page. Server, browser and clock share one machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import conditions, save, summary
from tests.browser.chromium import APP, CHROMIUM, FLAGS, streamlit
from tests.browser.visitor import Visitor

WATCH = """() => {
  window.frames_ms = []; let last = performance.now();
  const tick = (now) => {
    window.frames_ms.push(now - last); last = now; window.watching = requestAnimationFrame(tick);
  };
  window.watching = requestAnimationFrame(tick);
}"""
STOP = "() => { cancelAnimationFrame(window.watching); return window.frames_ms.slice(2); }"
METRIC = "[data-testid=stMetricValue]"


def cold(browser: Any, home: Path) -> dict[str, float]:
    """Seconds from process start to heading and to the drawn strip, in a new profile."""
    started = time.perf_counter()
    with streamlit(APP, home) as server:
        port = time.perf_counter() - started
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        began = time.perf_counter()
        page.goto(server.address)
        page.wait_for_selector("h3")
        heading = time.perf_counter() - began
        page.wait_for_selector("canvas")
        drawn = time.perf_counter() - began
        memory = _resident(server.pid)
        context.close()
    return {"port": port, "heading": heading, "first chart": drawn, "total": port + drawn, "server MB": memory}


def drags(browser: Any, home: Path, count: int) -> dict[str, list[float]]:
    """Milliseconds: frames while dragging, release to repainted numbers, and page changes."""
    with streamlit(APP, home) as server:
        page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
        visitor = Visitor(page, server.address).open("tune?model=digits-vit")
        frames: list[float] = []
        released: list[float] = []
        for i in range(count):
            bar = 1 + i % 6
            page.evaluate(WATCH)
            visitor.grab(visitor.at(bar, 1.0 if i < 6 else 0.5), visitor.at(bar, 0.45 - 0.02 * (i % 20)), steps=25)
            frames += page.evaluate(STOP)
            before = page.locator(METRIC).nth(1).inner_text()
            began = time.perf_counter()
            page.mouse.up()
            page.wait_for_function(
                "([s, before]) => [...document.querySelectorAll(s)][1]?.innerText !== before",
                arg=[METRIC, before],
                polling="raf",
                timeout=5000,
            )
            released.append(1e3 * (time.perf_counter() - began))
            visitor.rest()
        pages = []
        for title in ("Spectra", "Tune", "Overview", "Spectra", "Overview", "Tune"):
            began = time.perf_counter()
            visitor.page.get_by_role("link", name=title, exact=True).first.click()
            page.wait_for_function("(t) => document.querySelector('h3')?.innerText", arg=title)
            visitor.rest(0)
            pages.append(1e3 * (time.perf_counter() - began))
    return {"frame while dragging": frames, "release to repainted numbers": released, "change of page": pages}


def main() -> None:
    """Runs all and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--drags", type=int, default=20)
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    before = conditions()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        version = browser.version
        starts = [cold(browser, Path(folder)) for _ in range(given.repeats)]
        times = drags(browser, Path(folder), given.drags)
        browser.close()
    result = {
        "browser": f"Chromium {version}, headless, software rendering",
        "cold start, s": {name: summary([s[name] for s in starts]) for name in starts[0]},
        "ms": {name: summary(values) | {"p95": _p95(values)} for name, values in times.items()},
        "budgets": {
            "cold start to first chart, s": 3.0,
            "frame while dragging p95, ms": 33,
            "release to repainted numbers p50 / p95, ms": [200, 300],
        },
    }
    print(save("app", result, before))
    for name, values in result["ms"].items():
        print(f"{name}: median {values['median']:.1f}, p95 {values['p95']:.1f} ms")
    print({name: round(values["median"], 2) for name, values in result["cold start, s"].items()})


def _p95(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def _resident(pid: int) -> float:
    """Resident memory of a process in MB, 0 where /proc is not."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
