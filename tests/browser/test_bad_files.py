"""Files that must not open, and names that must stay text, as a visitor meets them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests import bad_files
from tests.browser import chromium
from tests.browser.visitor import Visitor, plain

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\">",
    "**bold** `code` $x$ [link](http://example.org) :material/home:",
    "=cmd|'/c calc'!A1",
    "</script><script>document.title='owned'</script>",
    "слой 层 🐍",
)


def upload(here: Visitor, path: Path) -> str:
    """What the open dialog says of this file."""
    dialog = here.page.get_by_role("dialog")
    dismiss = dialog.get_by_role("button", name="Dismiss")
    if dismiss.count():
        dismiss.click()
        dismiss.wait_for(state="detached")
    dialog.locator("input[type=file]").first.set_input_files(path)
    dialog.get_by_text(path.name).wait_for()
    here.rest(400)
    dialog.get_by_role("button", name="Open the file").click()
    card = dialog.locator(".st-key-open-error-card [data-testid=stAlert]")
    card.wait_for()
    return plain(card.inner_text()).removeprefix("error").strip()


def test_each_bad_file_gets_one_sentence_and_the_model_stays(
    visit: Visit, rankscope: chromium.Server, tmp_path: Path
) -> None:
    here = visit("tune")
    here.drag(6, 1.0, 0.5)
    kept = here.total()
    here.dialog("o").get_by_role("tab", name="Upload").click()
    (tmp_path / "notes.pt").write_text("These are my notes, and no weights.\n")
    builders = (
        bad_files.code_in_zip,
        bad_files.data_cut,
        bad_files.zip_cut,
        bad_files.empty,
        bad_files.claims_too_much,
    )
    said = {}
    for path in [tmp_path / "notes.pt", *(build(tmp_path) for build in builders)]:
        said[path.name] = upload(here, path)
        bad_files.assert_one_sentence(said[path.name], tmp_path)
        assert path.name in said[path.name]
    assert len(set(said.values())) == len(said), "each has its own words"
    assert "posix" in said["code-zip.pt"] and "nothing in it was run" in said["code-zip.pt"]
    assert not (chromium.REPOSITORY / bad_files.MARKER).exists()
    assert "Traceback" not in here.body() and not re.search(r"/(home|tmp|root)/", here.body())

    (tmp_path / "large.pt").write_bytes(bytes(65 * 2**20))
    here.page.get_by_role("dialog").locator("input[type=file]").first.set_input_files(tmp_path / "large.pt")
    here.sees("File must be 64")

    here.close()
    assert here.total() == kept and "digits-resnet" in here.body()
    assert "Traceback" not in rankscope.log.read_text()


def test_an_uploaded_network_opens_and_is_tuned(visit: Visit, tmp_path: Path) -> None:
    here = visit("tune")
    here.drag(6, 1.0, 0.5)
    here.dialog("o").get_by_role("tab", name="Upload").click()
    generator = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (40, 64), "0.bias": (40,), "2.weight": (10, 40), "2.bias": (10,)}
    state = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "my net.pt"
    )
    dialog = here.page.get_by_role("dialog")
    dialog.locator("input[type=file]").first.set_input_files(tmp_path / "my net.pt")
    dialog.get_by_role("button", name="Open the file").click()
    here.until(lambda: "Opened my net.pt" in here.body(), "the file did not open")
    here.rest()
    assert "3,010 parameters" in here.body() and here.asks("cfg") == "" and here.asks("model").startswith("upload:")
    assert "my net.pt" in here.asks("model") and str(tmp_path) not in here.link()
    here.drag(0, 1.0, 0.5)
    assert "0: rank 20 of 40" in here.line()
    assert here.errors == []


def test_hostile_names_are_only_text(visit: Visit, models: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {f"{name}.weight": torch.randn(12 + i, 20, generator=generator) for i, name in enumerate(HOSTILE)}
    save_file(state, models / "hostile <b>file.safetensors")
    here = visit("spectra?model=folder:hostile <b>file.safetensors")
    here.page.wait_for_selector(".stPlotlyChart .main-svg")
    for _ in HOSTILE:
        here.page.keyboard.press("j")
        here.rest(100)
    here.page.get_by_role("tab", name="Ledger").click()
    here.rest()
    here.go("Tune")
    for i in range(len(HOSTILE)):
        here.page.mouse.click(*here.at(i, -0.16))
        here.rest(100)
        assert any(here.line().startswith(f"{name}:") for name in HOSTILE), here.line()
        here.page.mouse.move(*here.at((i + 1) % len(HOSTILE), 0.4))
    for view in ("Layer in hand", "Edit as a table"):
        here.page.get_by_text(view, exact=True).click()
        here.rest()
    here.drag(0, 1.0, 0.97)
    here.sees("1 layer past break-even")
    for tab in here.dialog("s").get_by_role("tab").all():
        tab.click()
        here.rest(100)
    here.close()
    here.go("Overview")
    assert "hostile <b>file.safetensors" in here.body()
    assert here.page.title() != "owned"
    made = "[...document.querySelectorAll('img')].filter((one) => one.src.endsWith('/x')).length"
    assert here.page.evaluate(made) == 0
    assert not any("example.org" in url for url in here.asked)
    assert here.errors == []
