"""The rank bars in a real browser: dragging, keys, dial, locks, hostile names, themes, widths."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from app.components.rank_bars import error_percent, share_percent

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "app" / "components" / "rank_bars_model.js"
ROOT = "document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot.querySelector('.rb')"
WATCH = f"""() => {{
  const root = {ROOT};
  const seen = window.seen = {{ levels: [], frames: [] }};
  new MutationObserver(() => seen.levels.push(root.dataset.level)).observe(root, {{ attributeFilter: ["data-level"] }});
  let last = performance.now();
  const tick = (now) => {{ seen.frames.push(now - last); last = now; requestAnimationFrame(tick); }};
  requestAnimationFrame(tick);
}}"""


class Bars:
    """The component on an open page, by what a visitor sees and the attributes made for tests."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.frames_sent = 0
        page.on("websocket", lambda socket: socket.on("framesent", lambda _: self._count()))
        page.goto(address)
        page.wait_for_selector(".rb[data-bars]", timeout=30_000)
        page.wait_for_selector("text=python message")
        page.wait_for_timeout(300)

    def _count(self) -> None:
        self.frames_sent += 1

    def read(self, name: str) -> str:
        return str(self.page.locator(".rb").get_attribute(f"data-{name}"))

    def numbers(self, name: str) -> list[float]:
        return [float(word) for word in self.read(name).split()]

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text()).replace("\u00a0", " ")

    def canvas(self) -> dict[str, float]:
        return dict(self.page.locator(".rb canvas").bounding_box())

    def bar(self, index: int, share: float) -> tuple[float, float]:
        """Page position of a share of full height in a bar's slot."""
        x, y, _, height, step, scroll = self.numbers("bars")
        box = self.canvas()
        return box["x"] + x + (index + 0.5) * step - scroll, box["y"] + y + height * (1 - share)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 5, release: bool = True) -> None:
        self.page.mouse.move(*start)
        self.page.mouse.down()
        for i in range(1, steps + 1):
            at = [a + (b - a) * i / steps for a, b in zip(start, end, strict=True)]
            self.page.mouse.move(*at)
            self.page.wait_for_timeout(17)
        if release:
            self.page.mouse.up()

    def heard(self, count: int) -> dict[str, Any]:
        """Wait until Python shows the count-th message's totals beside the same ones in the component; the message."""
        return self.answered(count, self.agrees)

    def answered(self, count: int, true: Callable[[], bool] = lambda: True) -> dict[str, Any]:
        """Wait until Python shows the count-th message, and something else that is to hold; the message."""
        self.page.wait_for_function(f"{ROOT}.dataset.messages === '{count}'", timeout=30_000)
        deadline = time.monotonic() + 30
        while (self.message() or {}).get("seq") != int(self.read("seq")) or not true():
            assert time.monotonic() < deadline, (self.message(), self.text(".rb-total"), self.python("total"))
            self.page.wait_for_timeout(20)
        return self.message() or {}

    def python(self, what: str) -> str:
        words = self.page.locator(f"text=python {what}:").first.inner_text().replace("\u00a0", " ")
        return str(words.split(": ", 1)[1])

    def message(self) -> dict[str, Any] | None:
        return json.loads(self.python("message"))

    def agrees(self) -> bool:
        shown = self.text(".rb-total").removeprefix("whole model: ").split(" · ")[0]
        return shown == self.python("total")


@pytest.fixture
def bars(serve: Callable[..., str], profile: Callable[..., Any]) -> Callable[..., Bars]:
    """Open the harness: ``bars("n=24", width=1280, dark=False)``."""

    def make(query: str = "n=24", **window: Any) -> Bars:
        return Bars(profile(**window), f"{serve(HERE / 'harness_rank_bars.py')}/?{query}")

    return make


PRIMARY = 9  # of the harness: full rank 64


def test_a_drag_is_live_smooth_and_one_message(bars: Callable[..., Bars], record_property: Callable[..., None]) -> None:
    page = bars()
    full, height = 64, page.numbers("bars")[3]
    level = int(page.read("level"))
    page.drag(page.bar(PRIMARY, level / full), page.bar(PRIMARY, 10 / full))
    assert page.heard(1)["level"] == 10 == int(page.read("level"))

    page.page.evaluate(WATCH)
    place, sent = page.canvas(), page.frames_sent
    start = page.bar(PRIMARY, 10 / full)
    page.drag(start, (start[0], start[1] - height * 38 / full), steps=25, release=False)
    seen = page.page.evaluate("window.seen")
    assert (page.read("held"), page.read("messages"), page.frames_sent) == ("true", "1", sent)
    assert len(set(seen["levels"])) >= 20
    assert page.canvas() == place, "the canvas must not move under the pointer"

    released = time.monotonic()
    page.page.mouse.up()
    message = page.heard(2)
    delay = time.monotonic() - released
    page.page.wait_for_timeout(400)
    name = page.read("primary")
    assert {**message, "seq": 0} == {"kind": "edit", "layer": name, "family": 0, "level": 48, "seq": 0, "earlier": []}
    assert (page.read("messages"), page.frames_sent) == ("2", sent + 1)
    assert page.text(".rb-line").startswith(f"{name}: rank 48 of 64 (k × k then 1 × 1) · ")

    frames = sorted(seen["frames"][2:])
    p95 = frames[int(0.95 * (len(frames) - 1))]
    record_property("frame_p95_ms", p95)
    record_property("release_to_python_ms", 1000 * delay)
    median = frames[len(frames) // 2]
    print(f"{len(frames)} frames, median {median:.1f} ms, p95 {p95:.1f} ms; Python {1000 * delay:.0f} ms after release")
    assert p95 <= 66, "twice the budget of 33 ms, for shared machines"
    assert delay <= 1.5


def test_the_cut_is_the_bar_and_past_the_top_is_dense(bars: Callable[..., Bars]) -> None:
    page = bars()
    x, y, width, height = page.numbers("curves")
    box, level = page.canvas(), int(page.read("level"))
    cut = (box["x"] + x + width * level / 64, box["y"] + y + height / 2)
    page.drag(cut, (cut[0] + width * 20 / 64, cut[1]))
    assert page.heard(1)["level"] == level + 20
    page.drag(page.bar(PRIMARY, (level + 20) / 64), page.bar(PRIMARY, 1.12))
    assert page.heard(2)["family"] == -1
    assert "dense · 100.0 % of its MACs · no error" in page.text(".rb-line")


def test_past_break_even_costs_more_and_counts_as_dense(bars: Callable[..., Bars]) -> None:
    page = bars(width=1100)
    place = page.canvas()
    page.drag(page.bar(PRIMARY, int(page.read("level")) / 64), page.bar(PRIMARY, 60 / 64))
    page.heard(1)
    assert "costs more than dense" in page.text(".rb-line")
    assert "1 layer costs more than dense and counts as dense" in page.text(".rb-total")
    assert page.canvas() == place, "longer words must not move the canvas"


def test_a_press_without_a_move_selects_and_a_press_on_the_primary_says_nothing(bars: Callable[..., Bars]) -> None:
    page = bars()
    page.page.mouse.click(*page.bar(PRIMARY, 0.9))
    page.page.mouse.click(*page.bar(12, 0.9))
    message = page.heard(1)
    assert (message["kind"], message["layer"]) == ("select", page.read("primary"))
    assert page.read("messages") == "1"


def test_escape_takes_a_drag_back(bars: Callable[..., Bars]) -> None:
    page = bars()
    level = page.read("level")
    page.drag(page.bar(PRIMARY, int(level) / 64), page.bar(PRIMARY, 0.9), release=False)
    assert page.read("level") != level
    page.page.keyboard.press("Escape")
    page.page.mouse.up()
    page.page.wait_for_timeout(400)
    assert (page.read("level"), page.read("messages")) == (level, "0")


def test_keys_choose_and_change_with_one_message_per_burst(bars: Callable[..., Bars]) -> None:
    page = bars()
    press, level = page.page.keyboard.press, int(page.read("level"))
    page.page.locator(".rb canvas").focus()
    for key in ("ArrowUp", "Shift+ArrowUp"):
        press(key)
    assert page.heard(1)["level"] == level + 9
    assert page.text(".rb-live").startswith(f"{page.read('primary')}: rank {level + 9} of 64")
    for key in ("PageDown", "ArrowDown", "Home", "End", "Home"):
        press(key)
    assert page.heard(2)["level"] == 1
    press("f")
    assert page.heard(3)["family"] == 1
    press("d")
    assert page.heard(4)["family"] == -1
    press("d")
    assert page.heard(5)["family"] == 1
    press("ArrowRight")
    press("ArrowRight")
    message = page.heard(6)
    assert (message["kind"], message["layer"]) == ("select", page.read("primary"))
    press("ArrowUp")
    press("ArrowDown")
    page.page.wait_for_timeout(500)
    assert page.read("messages") == "6", "a burst that ends where it began says nothing"
    press("ArrowUp")
    press("ArrowLeft")
    assert page.heard(8)["kind"] == "select", "the edit goes out before the next layer is chosen"


def test_a_locked_layer_keeps_its_level_against_hand_and_dial(bars: Callable[..., Bars]) -> None:
    page = bars()
    level = page.read("level")
    page.page.locator(".rb canvas").focus()
    page.page.keyboard.press("l")
    assert {**page.heard(1), "seq": 0, "earlier": []} == {
        "kind": "lock", "layer": page.read("primary"), "locked": True, "seq": 0, "earlier": [],
    }  # fmt: skip
    page.page.keyboard.press("ArrowUp")
    page.drag(page.bar(PRIMARY, 0.2), page.bar(PRIMARY, 0.8))
    page.page.locator(".rb-dial input").focus()
    page.page.keyboard.press("Home")
    page.page.wait_for_timeout(60)
    assert (page.read("dial"), page.read("level")) == ("0.1", level), "at once, not only after Python's answer"
    message = page.heard(2)
    assert (message["kind"], message["keep"], page.read("level")) == ("dial", 0.1, level)
    page.page.get_by_role("button", name="Unlock").click()
    assert page.heard(3)["locked"] is False


def test_the_dial_is_live_and_one_message(bars: Callable[..., Bars]) -> None:
    page = bars()
    page.page.evaluate(WATCH)
    box, sent = page.page.locator(".rb-dial input").bounding_box(), page.frames_sent
    middle = box["y"] + box["height"] / 2
    page.drag((box["x"] + box["width"] * 0.45, middle), (box["x"] + box["width"] * 0.9, middle), 20, release=False)
    assert (page.read("messages"), page.frames_sent) == ("0", sent)
    assert len(set(page.page.evaluate("window.seen.levels"))) >= 15
    shown = page.text(".rb-total")
    page.page.mouse.up()
    message = page.heard(1)
    assert message["kind"] == "dial" and message["keep"] == float(page.read("dial"))
    assert page.text(".rb-total") == shown
    assert page.text(".rb-dial-words") == f"Keep {round(100 * message['keep'])} % of MACs"


def test_new_data_during_a_drag_keeps_the_bar_in_hand(bars: Callable[..., Bars]) -> None:
    page = bars()
    page.drag(page.bar(PRIMARY, int(page.read("level")) / 64), page.bar(PRIMARY, 0.75), release=False)
    held = page.read("level")
    for name, revision in (("Rerun", "1"), ("Solve", "2")):
        page.page.get_by_role("button", name=name).evaluate("button => button.click()")
        page.page.wait_for_function(f"{ROOT}.dataset.revision === '{revision}'")
        page.page.wait_for_timeout(200)
        assert (page.read("level"), page.read("held")) == (held, "true")
    page.page.mouse.up()
    assert page.heard(1)["level"] == int(held)


def test_data_of_the_same_revision_leaves_the_choices_alone(bars: Callable[..., Bars]) -> None:
    page = bars("n=24&deaf=1")
    page.drag(page.bar(PRIMARY, int(page.read("level")) / 64), page.bar(PRIMARY, 0.75))
    page.page.wait_for_selector("text=/python message: .*edit/")
    page.page.wait_for_timeout(300)
    assert (page.read("level"), page.read("revision")) == ("48", "1")


def test_the_strip_of_many_layers_scrolls_and_keeps_its_place(bars: Callable[..., Bars]) -> None:
    page = bars("n=90")
    assert page.numbers("bars")[4] == 12
    page.page.locator(".rb canvas").focus()
    for _ in range(75):
        page.page.keyboard.press("ArrowRight")
    page.heard(1)
    scroll = page.numbers("bars")[5]
    assert scroll > 300
    page.page.get_by_role("button", name="Solve").click()
    page.page.wait_for_function(f"Number({ROOT}.dataset.revision) >= 3")
    assert page.numbers("bars")[5] == scroll
    page.page.get_by_role("button", name="Zoom bars in").click()
    page.page.wait_for_timeout(100)
    assert page.numbers("bars")[4] > 16


def test_a_hostile_name_is_only_text(bars: Callable[..., Bars]) -> None:
    page = bars("n=24&hostile=1")
    page.page.mouse.move(*page.bar(2, 0.9))
    page.page.mouse.click(*page.bar(2, 0.9))
    message = page.heard(1)
    assert message["layer"].startswith("<img src=x onerror=")
    assert page.text(".rb-line").startswith(message["layer"])
    page.page.mouse.move(*page.bar(2, 0.8))
    assert page.text(".rb-tip").startswith(message["layer"])
    assert page.page.title() == "harness"
    assert page.page.evaluate(f"{ROOT}.querySelectorAll('img, script').length") == 0


def test_an_obstacle_says_why(bars: Callable[..., Bars]) -> None:
    page = bars()
    page.page.mouse.click(*page.bar(5, 0.5))
    page.heard(1)
    assert page.text(".rb-line").endswith("stays dense: grouped convolution: 16 groups of 1 x 9")
    assert not page.page.locator(".rb-controls").is_visible()


def test_dark_and_light_take_the_theme_s_background(bars: Callable[..., Bars]) -> None:
    corner = f"Array.from({ROOT}.querySelector('canvas').getContext('2d').getImageData(0, 0, 1, 1).data)"
    assert sum(bars().page.evaluate(corner)[:3]) > 3 * 240
    assert sum(bars(dark=True).page.evaluate(corner)[:3]) < 3 * 40


def test_narrow_stacks_the_panels_and_fingers_get_wide_bars(bars: Callable[..., Bars]) -> None:
    page = bars(width=390, height=844, has_touch=True)
    _, top, _, height, step, _ = page.numbers("bars")
    assert page.numbers("curves")[1] > top + height
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert step >= 24
    level = int(page.read("level"))
    page.page.locator(".rb canvas").focus()
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("ArrowLeft")
    page.page.wait_for_timeout(400)
    x, y = page.bar(PRIMARY, level / 64)
    finger = page.page.context.new_cdp_session(page.page)
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for i in range(1, 11):
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 8 * i}]})
        page.page.wait_for_timeout(20)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert page.heard(1)["level"] == level + round(80 / height * 64)


def test_the_overview_strip_selects_and_never_edits(bars: Callable[..., Bars]) -> None:
    page = bars("n=24&view=strip")
    level = page.read("level")
    assert not page.page.locator(".rb-dial").is_visible()
    page.drag(page.bar(PRIMARY, 0.1), page.bar(PRIMARY, 0.9))
    page.page.mouse.click(*page.bar(14, 0.1))
    message = page.answered(1)
    assert (message["kind"], message["layer"]) == ("select", page.read("primary"))
    assert "break-even" in page.text(".rb-line")
    page.page.mouse.click(*page.bar(PRIMARY, 0.1))
    page.page.wait_for_timeout(300)
    assert page.read("level") == level


def test_the_picture_is_a_png_under_the_given_name(bars: Callable[..., Bars], tmp_path: Path) -> None:
    page = bars()
    with page.page.expect_download() as download:
        page.page.get_by_role("button", name="Download picture").click()
    download.value.save_as(tmp_path / "picture.png")
    assert download.value.suggested_filename == "harness-tune.png"
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert page.read("messages") == "0"


def test_percentages_are_rounded_alike_in_python_and_in_the_browser(profile: Callable[..., Any]) -> None:
    shares = [(1, 8), (1, 3), (2, 3), (5, 4000), (123, 1000), (7, 16), (10**13 + 1, 3 * 10**13), (0, 5), (1, 0)]
    shares += [(i, 2000) for i in range(0, 40)]
    errors = [0.0, 0.00049, 0.0005, 0.0125, 0.10449999999, 0.3, 0.9999, 1.0] + [i / 2000 for i in range(60)]
    script = f"""([shares, errors]) => {{ {MODEL.read_text(encoding="utf-8")}
      return [shares.map(([part, whole]) => sharePercent(part, whole)), errors.map(errorPercent)]; }}"""
    shown = profile().evaluate(script, [shares, errors])
    assert shown == [[share_percent(*pair) for pair in shares], [error_percent(error) for error in errors]]
    for (part, whole), words in zip(shares, shown[0], strict=True):
        exact = Fraction(100 * part, whole or 1)
        rounded = (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(Decimal("0.1"), ROUND_HALF_UP)
        assert words == (f"{rounded}\u00a0%" if whole else "unknown")
