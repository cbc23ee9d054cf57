"""What the app's tests share: folders of their own, a pool whose jobs end when a test says so, and browser tabs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import services
from app.worker import Job, Pool
from core import journeys
from core.compression.survey import Survey
from core.networks.arch import ModelRef

_acts: list[Callable[[], Any]] = []


def _act() -> None:
    """The script of a `Tab`: does whatever stands on top of the list."""
    from tests.app import conftest

    conftest._acts[-1]()


class Tab:
    """One browser tab that runs what a test tells it, each time as one run of a page."""

    def __init__(self, **query: str) -> None:
        self.app = AppTest.from_function(_act, default_timeout=30)
        for name, text in query.items():
            self.app.query_params[name] = text

    def do(self, act: Callable[[], Any]) -> Any:
        """What `act` returns inside a run of this tab; raises what it raised."""
        made: list[Any] = []
        from tests.app import conftest

        conftest._acts.append(lambda: made.append(act()))
        self.app.run()
        conftest._acts.pop()
        assert not self.app.exception, self.app.exception[0].message
        return made[-1] if made else None

    @property
    def address(self) -> dict[str, str]:
        """The query parameters as they are now."""
        found = self.app.query_params.items()
        return {name: values if isinstance(values, str) else values[-1] for name, values in found}


class Bench(Pool):
    """A pool without workers: a test ends the jobs."""

    def __init__(self) -> None:
        super().__init__(workers=0)
        self.asked: list[Job] = []

    def submit(self, request: dict[str, Any]) -> Job:
        self.asked.append(super().submit(request))
        return self.asked[-1]

    def end(self, result: Any = None, error: str = "", index: int = -1) -> Job:
        """Ends the job asked for last, or at an index."""
        job = self.asked[index]
        job.result, job.error, job.state = result, error, "failed" if error else "done"
        return job


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    """Empty caches, folders under tmp_path, no configured folder, and a pool whose jobs the test ends."""
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RANKSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RANKSCOPE_MODELS", raising=False)
    made = Bench()
    monkeypatch.setattr(services, "pool", lambda: made)
    services._surveys.clear()
    services._results.clear()
    yield made
    services._surveys.clear()
    services._results.clear()


@pytest.fixture(scope="session")
def survey() -> Survey:
    """The survey of the demo that the app opens on."""
    return journeys.demo_survey("digits-resnet")


@pytest.fixture(scope="session")
def foreign(survey: Survey) -> Survey:
    """A survey as of an uploaded file: other weights, notes, no calibration."""
    return replace(
        survey,
        model=ModelRef("file", "mine.pth", "ab" * 32),
        notes=("unwrapped 'state_dict'", "removed the prefix 'module.' from 9 names"),
        calibration="",
        accuracy=None,
    )


@pytest.fixture
def tab(bench: Bench) -> type[Tab]:
    """Makes browser tabs: `tab(cfg="...")`."""
    return Tab


@pytest.fixture(scope="module")
def mlp() -> Survey:
    """The demo of 64 inputs, two layers of 192 and 10 outputs."""
    return journeys.demo_survey("digits-mlp")
