"""Tune in a real browser: a drag, the dial, locks, the solver, masks, and what has no forward pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.browser.visitor import Visitor, plain

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]
LAYER, FULL, EVEN = 6, 64, 57
"""layer3.0.conv2 of the demo network: its bar, largest rank and break-even rank, 64 x 576 / (64 + 576) rounded down."""

WATCH = """() => {
  const root = document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot.querySelector('.rb');
  window.levels = [];
  new MutationObserver(() => window.levels.push(root.dataset.level)).observe(root, { attributeFilter: ['data-level'] });
}"""


def agree(here: Visitor) -> bool:
    """Whether the component and Python show the same totals."""
    python = f"{here.metric('MACs kept')} of MACs, {here.metric('Parameters kept')} of parameters"
    return python in here.total()


def choose(here: Visitor, label: str, option: str) -> None:
    """One option of a segmented control."""
    group = here.page.locator("[data-testid=stButtonGroup]").filter(has_text=label)
    group.get_by_text(option, exact=True).click()
    here.rest()


def test_a_drag_shows_every_value_and_sends_one_message(visit: Visit) -> None:
    here = visit("tune")
    here.drag(LAYER, 1.0, 10 / FULL)
    assert here.line().startswith("layer3.0.conv2: rank 10 of 64")
    here.until(lambda: "%" in here.metric("Accuracy"), "the accuracy was not measured")  # and nothing polls any more
    here.rest()
    here.page.evaluate(WATCH)
    sent, messages = here.sent, here.bars("messages")
    here.grab(here.at(LAYER, 10 / FULL), here.at(LAYER, 48 / FULL), steps=25)
    assert len(set(here.page.evaluate("window.levels"))) >= 20
    assert (here.sent, here.bars("messages"), here.bars("held")) == (sent, messages, "true")
    shown = here.total()
    here.page.mouse.up()
    here.until(lambda: agree(here), "the totals never agreed")
    assert here.total() == shown and here.line().startswith("layer3.0.conv2: rank 48 of 64")
    assert here.bars("messages") == str(int(messages) + 1)
    assert here.errors == []


def test_the_dial_leaves_a_locked_layer_alone_and_all_dense_can_be_undone(visit: Visit) -> None:
    here = visit("tune")
    here.drag(LAYER, 1.0, 0.25)
    here.button("Lock").click()
    here.until(lambda: here.asks("lock") == "layer3.0.conv2", "the lock is not in the address")
    here.page.locator(".rb-dial input").focus()
    for _ in range(6):
        here.page.keyboard.press("PageDown")
    here.until(lambda: here.rest().percent("MACs kept") < 60, "the dial did nothing")
    assert here.bars("level") == "16" and "(edited)" not in here.text(".rb-dial-words") and agree(here)
    kept = here.total()
    here.button("All dense").click()
    here.until(lambda: here.total().startswith("whole model: 100.0 % of MACs"), "not dense")
    here.page.keyboard.press("u")
    here.until(lambda: here.total() == kept, "undo did not bring the plan back")
    here.page.keyboard.press("y")
    here.until(lambda: here.total().startswith("whole model: 100.0 % of MACs"), "redo did nothing")


def test_past_break_even_is_marked_counted_and_warned_of(visit: Visit) -> None:
    here = visit("tune")
    here.drag(LAYER, 1.0, (EVEN + 1) / FULL)
    assert "costs more than dense" in here.line() and "1 layer costs more than dense" in here.total()
    here.sees("1 layer past break-even (layer3.0.conv2)")
    assert here.metric("MACs kept") == here.metric("Parameters kept") == "100.0 %"
    here.drag(LAYER, (EVEN + 1) / FULL, 0.7)
    here.until(lambda: "past break-even" not in here.body(), "the warning stayed")
    assert here.percent("MACs kept") < 100


def test_the_solver_chooses_ranks_and_says_when_a_budget_cannot_be_met(visit: Visit) -> None:
    here = visit("tune")
    solve(here)
    here.until(lambda: 49 <= here.percent("MACs kept") <= 50, "no plan of half the MACs")
    assert here.text(".rb-dial-words") == "Keep 50 % of MACs" and agree(here)
    here.button("All dense").click()
    here.rest()
    here.button("Lock").click()
    here.until(lambda: here.asks("lock") != "", "the layer was not locked")
    pick(here, 1)
    here.button("Lock").click()
    here.until(lambda: "," in here.asks("lock"), "the other layer was not locked")
    solve(here, least=True)
    here.sees("below the floor")
    assert agree(here)


def solve(here: Visitor, least: bool = False) -> None:
    """Ask the budget solver for half, or for the least it offers, and close it."""
    here.button("Budget solver").click()
    panel = here.page.locator("[data-testid=stPopoverBody]")
    panel.get_by_role("slider").first.focus()
    if least:
        here.page.keyboard.press("Home")
    here.rest(400)
    panel.get_by_role("button", name="Choose ranks").click()
    here.rest()
    here.page.keyboard.press("Escape")


def pick(here: Visitor, index: int) -> None:
    """Take a layer in hand by its label."""
    here.page.mouse.click(*here.at(index, -0.16))
    here.rest(500)


def test_masks_save_parameters_and_never_macs(visit: Visit) -> None:
    here = visit("tune")
    here.drag(LAYER, 1.0, 0.5)
    choose(here, "Turn", "Sparsity")
    units = here.page.locator("[data-testid=stButtonGroup]").filter(has_text="Counted in").inner_text()
    assert "parameters" in units and "MACs" not in units
    here.drag(LAYER - 1, 1.0, 0.3)
    assert "30 % of weights kept" in here.line()
    assert f"whole model: {here.metric('Parameters kept')} of parameters" in here.total()
    macs = here.metric("MACs kept")
    here.page.locator(".rb-dial input").focus()
    for _ in range(6):
        here.page.keyboard.press("PageDown")
    here.until(lambda: here.rest().percent("Parameters kept") < 60, "the dial did nothing")
    assert here.metric("MACs kept") == "100.0 %" and macs == "91.2 %"
    choose(here, "Turn", "Rank")
    assert here.errors == []


def test_ranks_can_be_typed_and_cleared(visit: Visit) -> None:
    here = visit("tune")
    here.page.get_by_text("Edit as a table", exact=True).click()
    here.rest()
    type_level(here, 6, "20")
    here.until(lambda: here.asks("cfg") != "", "the typed rank did not arrive")
    here.until(lambda: agree(here), "the bars did not follow")
    pick(here, LAYER)
    here.until(lambda: "rank 20 of 64" in here.line(), here.line())
    here.until(lambda: "%" in here.metric("Accuracy"), "the accuracy was not measured")
    type_level(here, 6, "")
    here.until(lambda: here.asks("cfg") == "", "the cleared rank did not arrive")
    here.until(lambda: "dense" in here.line(), here.line())


def test_one_can_go_on_typing_while_earlier_ranks_are_measured(visit: Visit) -> None:
    here = visit("tune?model=digits-vit")
    here.page.get_by_text("Edit as a table", exact=True).click()
    here.rest()
    type_level(here, 2, "20")
    here.page.keyboard.type("11", delay=60)  # Enter went on to the next row
    here.until(lambda: "%" in here.metric("Accuracy"), "the accuracy was not measured")
    here.rest()
    here.page.keyboard.press("Enter")
    here.page.wait_for_timeout(200)
    here.page.keyboard.type("12", delay=60)
    here.page.keyboard.press("Enter")
    here.until(lambda: "rank 12 of 64" in here.line(), here.line())
    assert [int(rank) for rank in re.findall(r"rank=(\d+)", copied(here))] == [20, 11, 12]
    assert here.errors == []


def copied(here: Visitor) -> str:
    """The plan as the dialog Share and export shows it."""
    here.button("Share and export").click()
    dialog = here.page.get_by_role("dialog")
    dialog.get_by_role("tab", name="Code").click()
    here.rest()
    text = plain(dialog.locator("code").last.inner_text())
    here.close()
    return text


def type_level(here: Visitor, row: int, level: str) -> None:
    """Write into the level of a row of the editor; "" clears it."""
    table = here.page.locator("[data-testid=stDataFrame]").last
    table.scroll_into_view_if_needed()
    here.rest(400)
    box = table.bounding_box()
    here.page.mouse.move(box["x"] + 60, box["y"] + 35 * 1.2)  # the grid looks at where it lies when the mouse comes in
    here.page.wait_for_timeout(100)
    here.page.mouse.click(box["x"] + 40, box["y"] + 35 * 1.5)
    here.page.wait_for_timeout(300)
    for key in ["ArrowDown"] * row + ["ArrowRight"] * 3 + (["Enter"] if level else ["Delete"]):
        here.page.keyboard.press(key)
        here.page.wait_for_timeout(30)
    if level:
        here.page.wait_for_timeout(300)
        here.page.keyboard.type(level, delay=60)
        here.page.wait_for_timeout(200)
        here.page.keyboard.press("Enter")
    here.rest()


def test_weights_alone_are_tuned_without_a_network(visit: Visit, models: Path) -> None:
    state = {
        "enc.0.weight": torch.randn(64, 128),
        "nan.weight": torch.full((20, 30), float("nan")),
        "zero.weight": torch.zeros(20, 30),
        "thin.weight": torch.randn(1, 50),
    }
    save_file({name: tensor.float() for name, tensor in state.items()}, models / "weights.safetensors")
    here = visit("tune?model=folder:weights.safetensors")
    here.sees("Weights only")
    assert "2 of 4 layers compressible" in here.body()
    here.drag(0, 1.0, 0.5)
    assert "enc.0: rank 32 of 64" in here.line() and "MACs unknown" in here.total()
    assert here.metric("MACs kept") == "unknown" and here.metric("Accuracy") == "cannot be run"
    assert f"whole model: {here.metric('Parameters kept')} of parameters" in here.total()
    pick(here, 1)
    assert "nan" in here.line() and "NaN or infinite" in here.line()
    here.page.get_by_text("Layer in hand", exact=True).click()
    here.sees("stays dense: its weight holds NaN or infinite values")
    for page in ("Overview", "Spectra"):
        here.go(page)
        assert "weights only" in here.body()
    assert here.errors == []
