"""Fixtures of the browser tests: one Chromium per session, one fresh profile per test, one server per script.

All browser tests carry one xdist group, so that with `--dist loadgroup` a single worker drives the one browser. Without
Chromium the tests are skipped by name, or fail when RANKSCOPE_REQUIRE_BROWSER is 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.browser.visitor import Visitor


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One group for everything that drives the browser."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))


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

        def start(script: Path) -> str:
            if script not in running:
                home = tmp_path_factory.mktemp("home")
                running[script] = stack.enter_context(chromium.streamlit(script, home)).address
            return running[script]

        yield start


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the app's server offers under Open model; tests put files into it."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def rankscope(browser: Any, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Server]:
    """The app, served once per session from an empty home."""
    home = tmp_path_factory.mktemp("home")
    with chromium.streamlit(chromium.APP, home, {"RANKSCOPE_MODELS": str(models)}) as server:
        yield server


@pytest.fixture
def visit(rankscope: chromium.Server, profile: Callable[..., Any]) -> Callable[..., Visitor]:
    """A visitor in a fresh profile, on a page of the app: ``visit("tune", width=1280, dark=False)``."""

    def make(where: str = "", **window: Any) -> Visitor:
        return Visitor(profile(**window), rankscope.address).open(where)

    return make
