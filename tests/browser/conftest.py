"""Fixtures of the browser tests: one Chromium per session, one fresh profile per test.

Without Chromium the tests are skipped by name, or fail when RANKSCOPE_REQUIRE_BROWSER is 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium (playwright Browser)."""
    reason = chromium.missing()
    if reason and os.environ.get("RANKSCOPE_REQUIRE_BROWSER") == "1":
        pytest.fail(f"browser tests are required, but {reason}")
    if reason:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(chromium.CHROMIUM), args=list(chromium.FLAGS))
        yield running
        running.close()


@pytest.fixture
def profile(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page in a fresh profile: ``profile(width=1280, height=800, dark=False, **context options)``."""
    contexts = []

    def make(width: int = 1280, height: int = 800, dark: bool = False, **options: Any) -> Any:
        scheme = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def serve(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Address of a Streamlit server for a script, started once per session: ``serve(path)``."""
    running: dict[Path, str] = {}
    with ExitStack() as stack:

        def start(script: Path, **environment: str) -> str:
            if script not in running:
                home = tmp_path_factory.mktemp("home")
                running[script] = stack.enter_context(chromium.streamlit(script, home, environment))
            return running[script]

        yield start
