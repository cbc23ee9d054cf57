"""A visitor of the app: one page of one profile, what it shows, and what it sent and asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

WAIT = 90_000
"""Longest wait for anything, in milliseconds; generous, because time is the benchmark's business."""

RESTING = "[data-testid=stApp][data-test-script-state=notRunning][data-test-connection-state=CONNECTED]"
PROBES = re.compile(r"/(spectra|tune|tradeoffs|initialisation|runs)/_stcore/(health|host-config)$")
"""On a deep link Streamlit's own script looks for its server under the page's path first; a 404 is its answer."""


class Visitor:
    """``page`` is playwright's Page. sent: web-socket frames so far; asked: addresses; errors: of page and console."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.sent, self.received = 0, 0
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(WAIT)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", self._follow)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)

    def _follow(self, socket: Any) -> None:
        self.asked.append(socket.url)
        socket.on("framesent", lambda _: self._count(1, 0))
        socket.on("framereceived", lambda frame: self._count(0, len(frame)))

    def _count(self, sent: int, received: int) -> None:
        self.sent += sent
        self.received += received

    def _console(self, message: Any) -> None:
        if message.type == "error" and not PROBES.search(message.location.get("url", "")):
            self.errors.append(message.text)

    # ---- going places

    def open(self, where: str = "") -> Visitor:
        """Go to a path of the app (with its query) or to a whole address, and wait until the page rests."""
        self.page.goto(where if "://" in where else f"{self.address}/{where}")
        return self.rest()

    def rest(self, quiet: int = 250) -> Visitor:
        """Wait until the script rests and stays so for ``quiet`` milliseconds."""
        self.page.wait_for_selector(f"{RESTING} h3", timeout=WAIT)
        script = f"""(quiet) => {{
          const state = document.querySelector('{RESTING}') ? 1 : 0;
          const now = performance.now();
          if (!state) window.restless = now;
          return now - (window.restless ??= now) >= quiet;
        }}"""
        self.page.evaluate("() => { window.restless = performance.now(); }")
        self.page.wait_for_function(script, arg=quiet, timeout=WAIT)
        return self

    def go(self, title: str) -> Visitor:
        """Change the page through the navigation, once nothing runs that could call the page back."""
        self.rest()
        self.page.get_by_role("link", name=title, exact=True).first.click()
        self.page.wait_for_function("path => location.pathname.endsWith(path)", arg=_path(title))
        return self.rest()

    def link(self) -> str:
        return str(self.page.url)

    def asks(self, name: str) -> str:
        """A parameter of the address, "" if it has none."""
        return parse_qs(urlsplit(self.link()).query).get(name, [""])[0]

    # ---- seeing

    def text(self, selector: str) -> str:
        return plain(self.page.locator(selector).first.inner_text())

    def body(self) -> str:
        return self.text("[data-testid=stApp]")

    def metric(self, label: str) -> str:
        """The value of the metric whose label starts so."""
        return plain(self._metric(label).locator("[data-testid=stMetricValue]").inner_text())

    def percent(self, label: str) -> float:
        """That value as a number of per cent; NaN while it is none."""
        number = self.metric(label).removesuffix("%").strip()
        return float(number) if number.replace(".", "").isdigit() else math.nan

    def conditions(self, label: str) -> str:
        """What stands under that metric."""
        return plain(self._metric(label).locator("[data-testid=stMetricDelta]").inner_text())

    def _metric(self, label: str) -> Any:
        return self.page.locator("[data-testid=stMetric]").filter(has_text=re.compile(f"^{re.escape(label)}")).first

    def sees(self, words: str) -> None:
        """Wait until these words are on the page."""
        self.page.get_by_text(words).first.wait_for(timeout=WAIT)

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something holds; AssertionError with ``what`` and the page's text if it never does."""
        for _ in range(WAIT // 50):
            if true():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{what}; the page says: {' '.join(self.body().split())[:1500]}")

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=re.compile(f"^(\\w+ )?{re.escape(name)}\\b")).first

    def dialog(self, key: str) -> Any:
        """Open a dialog by its shortcut."""
        self.page.keyboard.press(key)
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("tab").first.wait_for()
        self.rest()
        return dialog

    def close(self) -> None:
        """Close the open dialog by its cross."""
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Close").click()
        dialog.wait_for(state="detached")
        self.rest()

    # ---- the bars

    def bars(self, name: str) -> str:
        """An attribute that the canvas component shows of itself."""
        return str(self.page.locator(".rb").get_attribute(f"data-{name}"))

    def total(self) -> str:
        return self._said(".rb-total")

    def line(self) -> str:
        return self._said(".rb-line")

    def _said(self, selector: str) -> str:
        """Words of the bars, which they write a moment after they are there."""
        self.until(lambda: self.text(selector) != "", "the bars say nothing")
        return self.text(selector)

    def shows(self, other: Visitor) -> None:
        """Wait until its bars say what another visitor's say."""
        self.until(lambda: (self.line(), self.total()) == (other.line(), other.total()), "the bars are not the other's")

    def at(self, index: int, share: float) -> tuple[float, float]:
        """Page position of a share of full height in a bar's slot."""
        self.page.locator(".rb canvas").evaluate(
            "canvas => canvas.scrollIntoView({ block: 'center', behavior: 'instant' })"
        )
        x, y, _, height, step, scroll = map(float, self.bars("bars").split())
        box = self.page.locator(".rb canvas").bounding_box()
        return box["x"] + x + (index + 0.5) * step - scroll, box["y"] + y + height * (1 - share)

    def grab(self, start: tuple[float, float], end: tuple[float, float], steps: int = 6) -> None:
        """Press at ``start`` and move to ``end``, without letting go."""
        self.page.mouse.move(*start)
        self.page.mouse.down()
        for i in range(1, steps + 1):
            self.page.mouse.move(*[a + (b - a) * i / steps for a, b in zip(start, end, strict=True)])
            self.page.wait_for_timeout(17)

    def drag(self, index: int, start: float, end: float) -> None:
        """Drag a bar from one share of its full height to another, and wait for Python's answer."""
        before = self.bars("messages")
        self.grab(self.at(index, start), self.at(index, end))
        self.page.mouse.up()
        self.until(lambda: self.bars("messages") != before, "no message after the drag")
        self.rest()


def plain(text: str) -> str:
    """Text with ordinary spaces."""
    return text.replace("\u00a0", " ").strip()


def _path(title: str) -> str:
    return "/" if title == "Overview" else f"/{title.lower().replace('-', '')}"
