"""Databases for the tests of the store: a SQLite file, and where its programs are there a real PostgreSQL. Engines: one
on this machine, and a cluster as if on others."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.jobs import local
from core.jobs.store import Store
from tests import engines, postgres
from tests.engines import Cluster

_numbers = itertools.count()

BOTH = ["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.xdist_group("postgres")])]


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """Address of a PostgreSQL server of this session; skips, by name, where it cannot be started."""
    if postgres.obstacle():
        pytest.skip(postgres.obstacle())
    with postgres.server() as address:
        yield address


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database that does not hold anything yet, on SQLite and then on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/rankscope.db"
        return
    with postgres.database(request.getfixturevalue("postgres_address"), f"test{next(_numbers)}") as made:
        yield made


@pytest.fixture
def opened() -> Iterator[Callable[[str], Store]]:
    """Opens stores, which are closed when the test ends."""
    stores: list[Store] = []

    def open_one(url: str) -> Store:
        stores.append(Store.open(url))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(url: str, opened: Callable[[str], Store]) -> Store:
    """A store on a new database."""
    return opened(url)


@pytest.fixture(scope="session")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster as on other machines: a scheduler and two workers that can do the fake tasks."""
    with engines.cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache folder of an engine of this machine with two workers that can do the fake tasks. Nothing of it is left
    when the test ends."""
    folder = tmp_path / "cache"
    monkeypatch.delenv("RANKSCOPE_SCHEDULER", raising=False)
    monkeypatch.delenv("RANKSCOPE_DATABASE_URL", raising=False)
    monkeypatch.setenv("RANKSCOPE_CACHE", str(folder))
    monkeypatch.setenv("RANKSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RANKSCOPE_WORKERS", "2")
    monkeypatch.setenv("RANKSCOPE_IDLE", "20")
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", json.dumps([str(engines.FAKES)]))
    yield folder
    engines.end(folder)
    local._reap()
