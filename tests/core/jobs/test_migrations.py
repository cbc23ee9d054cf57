"""Bringing a database up to date, all or nothing, and every database that cannot be opened: one sentence each."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, event, inspect

from core.errors import InputError, StoreError
from core.jobs import database, schema
from core.jobs.database import connect, database_url, plain
from core.jobs.records import Run
from core.jobs.store import Store
from core.provenance import Measurement, here

Opener = Callable[[str], Store]

ROOT = Path(__file__).resolve().parents[3]
RUN = Run.new("sweep", "A sweep", "net", "d", {"a": [1]})

STEP = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "0003", "0002"
def upgrade():
    op.create_table("extras", sa.Column("id", sa.Integer, primary_key=True))
    with op.batch_alter_table("runs") as batch:
        batch.add_column(sa.Column("note", sa.Text, server_default="none yet"))
        batch.alter_column("title", new_column_name="heading")
    {last}
"""


def fill(store: Store) -> None:
    store.add_run(RUN, [("a", {"x": 1}), ("b", {"x": 2})])
    store.put_result(RUN.id, "a", {"y": 1}, {"accuracy": Measurement("w", 0.5, 0.1, 9, 0, here())}, 0.1, "w")


def tables_of(url: str) -> dict[str, set[str]]:
    """table -> its columns."""
    engine = create_engine(url)
    try:
        looked = inspect(engine)
        return {table: {column["name"] for column in looked.get_columns(table)} for table in looked.get_table_names()}
    finally:
        engine.dispose()


def next_step(monkeypatch: pytest.MonkeyPatch, folder: Path, last: str) -> None:
    """Lets the program be one version on: its steps, and one more that ends in `last`."""
    shutil.copytree(ROOT / "core" / "jobs" / "migrations", folder / "steps")
    (folder / "steps" / "versions" / "v0003_next.py").write_text(STEP.format(last=last))
    monkeypatch.setattr(database, "SCRIPTS", str(folder / "steps"))
    monkeypatch.setattr(database, "REVISION", "0003")


def test_the_steps_make_the_tables_that_the_program_uses(url: str, store: Store) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == schema.REVISION
    looked = inspect(engine)
    assert [u["column_names"] for u in looked.get_unique_constraints("points")] == [["run", "key"]]
    assert [u["column_names"] for u in looked.get_unique_constraints("measurements")] == [["run", "point", "name"]]
    engine.dispose()


def test_opening_again_changes_nothing(url: str, store: Store, opened: Opener) -> None:
    fill(store)
    again = opened(url)
    assert again.run(RUN.id) == store.run(RUN.id) and again.points(RUN.id) == store.points(RUN.id)


def test_a_step_keeps_what_is_there(
    url: str, store: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(store)
    store.close()
    next_step(monkeypatch, tmp_path, "pass")
    later = opened(url)
    found = tables_of(url)
    assert {"note", "heading"} <= found["runs"] and "title" not in found["runs"] and "extras" in found
    with later._reading() as connection:
        assert connection.exec_driver_sql("SELECT heading, note FROM runs").fetchall() == [("A sweep", "none yet")]
    assert [point.result for point in later.points(RUN.id)] == [{"y": 1}, None]
    assert later.measurements(RUN.id)["a"]["accuracy"].value == 0.5


def test_a_database_of_the_first_version_learns_how_far_points_are(url: str, opened: Opener) -> None:
    engine = connect(url)
    config = Config(attributes={})
    config.set_main_option("script_location", database.SCRIPTS)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO runs (id, kind, title, model, digest, spec, state, error, stage, created, updated, revision, "
            "owner, lease) VALUES ('r', 'sweep', 't', 'm', 'd', '{}', 'done', '', '', 0, 0, '', '', 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO points (id, run, key, request, state, attempts, error, seconds, worker) "
            "VALUES (1, 'r', 'p', '{}', 'waiting', 0, '', 0, '')"
        )
    engine.dispose()
    assert "progress" not in tables_of(url)["points"]
    store = opened(url)
    assert store.points("r")[0].progress is None
    store.set_progress("r", "p", {"step": ["a", 1, 4]})
    assert store.points("r")[0].share == 0.25
    store.put_result("r", "p", {"y": 1}, {}, 0.1, "w")
    store.set_progress("r", "p", {"step": ["late", 1, 4]})
    assert store.points("r")[0].progress is None, "a word that comes after the answer is too late"


def test_a_step_that_fails_half_way_leaves_nothing_behind(
    url: str, store: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(store)
    store.close()
    before = tables_of(url)
    with monkeypatch.context() as patched:
        next_step(patched, tmp_path, 'raise RuntimeError("half-way")')
        with pytest.raises(RuntimeError, match="half-way"):
            Store.open(url)
    assert tables_of(url) == before and "extras" not in before
    again = opened(url)
    assert [point.result for point in again.points(RUN.id)] == [{"y": 1}, None]
    assert again.run(RUN.id) == store.run(RUN.id)


def test_a_first_step_that_fails_leaves_an_empty_database(
    url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        next_step(patched, tmp_path, "op.execute('SELECT * FROM no_such_table')")
        with pytest.raises(Exception, match="no_such_table"):
            Store.open(url)
    assert tables_of(url) == {}
    fill(opened(url))


def test_a_database_of_a_newer_version(url: str, store: Store) -> None:
    fill(store)
    with store._writing() as connection:
        connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
    before = tables_of(url)
    with pytest.raises(StoreError, match=r"made by a newer Rankscope; update this one") as caught:
        Store.open(url)
    one_sentence(caught.value)
    assert tables_of(url) == before and store.points(RUN.id)[0].result == {"y": 1}, "nothing was touched"


def test_a_database_of_another_program(url: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE runs (id INTEGER)")
    engine.dispose()
    with pytest.raises(StoreError, match="tables of another program") as caught:
        Store.open(url)
    one_sentence(caught.value)
    assert tables_of(url) == {"runs": {"id"}}


def one_sentence(error: Exception) -> None:
    words = str(error)
    assert isinstance(error, InputError) and words[0].isupper() and words.endswith(".") and "\n" not in words
    assert ". " not in words and "; " in words, "what to do next stands after a semicolon"
    assert "/" not in words.replace("postgresql://user@host/name", "") and "sqlite" not in words.lower()


@pytest.fixture
def as_nobody(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may read and not write to, as another user where it is root."""
    if os.name != "posix":
        pytest.skip("folders have no owner here")
    folder = Path(tempfile.mkdtemp(prefix="rankscope-read-only-"))
    me = os.geteuid()
    yield folder
    os.seteuid(me)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def lock(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize("inner", ["rankscope.db", "new/rankscope.db"])
def test_a_folder_that_cannot_be_written_to(as_nobody: Path, inner: str) -> None:
    lock(as_nobody)
    with pytest.raises(StoreError, match=r"cannot be written to; set RANKSCOPE_HOME") as caught:
        Store.open(f"sqlite:///{as_nobody}/{inner}")
    one_sentence(caught.value)


def test_a_folder_that_became_read_only(as_nobody: Path, opened: Opener) -> None:
    url = f"sqlite:///{as_nobody}/rankscope.db"
    store = Store.open(url)
    fill(store)
    store.close()
    lock(as_nobody)
    with pytest.raises(StoreError, match="cannot be written to") as caught:
        opened(url).set_stage(RUN.id, "x")
    one_sentence(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written to") as caught:
        Store.open(f"sqlite:///{tmp_path}/file/rankscope.db")
    one_sentence(caught.value)


def test_a_full_disk(tmp_path: Path, opened: Opener) -> None:
    """SQLite told that no page may be added answers as on a full disk; what was kept stays, and it goes on after."""
    store = opened(f"sqlite:///{tmp_path}/rankscope.db")
    fill(store)

    @event.listens_for(store._engine, "begin")
    def fill_up(connection: object) -> None:
        pages = "PRAGMA max_page_count = 1" if full else "PRAGMA max_page_count = 4294967294"
        connection.exec_driver_sql(pages)  # type: ignore[attr-defined]

    full = True
    with pytest.raises(StoreError, match=r"full or failing, .*; make room there") as caught:
        store.put_result(RUN.id, "b", {"pad": "x" * 100_000}, {}, 0.1, "w")
    one_sentence(caught.value)
    assert [point.state for point in store.points(RUN.id)] == ["done", "waiting"]
    full = False
    store.put_result(RUN.id, "b", {"pad": "x" * 100_000}, {}, 0.1, "w")
    assert [point.state for point in store.points(RUN.id)] == ["done", "done"]


@pytest.mark.skipif(os.name != "posix", reason="no limits on files here")
def test_a_file_that_may_not_grow(tmp_path: Path, opened: Opener) -> None:
    """The operating system itself refuses the write."""
    import resource

    store = opened(f"sqlite:///{tmp_path}/rankscope.db")
    fill(store)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(StoreError, match="full or failing") as caught:
            store.put_result(RUN.id, "b", {"pad": "x" * 1_000_000}, {}, 0.1, "w")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    one_sentence(caught.value)
    store.put_result(RUN.id, "b", {"pad": "x"}, {}, 0.1, "w")
    assert [point.state for point in store.points(RUN.id)] == ["done", "done"]


@pytest.mark.parametrize("content", [b"not a database at all" * 300, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rankscope.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged or no database; move it away") as caught:
        Store.open(f"sqlite:///{path}")
    one_sentence(caught.value)
    assert path.read_bytes() == content


def test_a_database_that_another_process_does_not_let_go(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/rankscope.db"
    fill(opened(url))
    monkeypatch.setattr(database, "WAIT", 0.2)
    store = opened(url)
    holder = sqlite3.connect(tmp_path / "rankscope.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="busy for") as caught:
            store.set_stage(RUN.id, "x")
        one_sentence(caught.value)
        assert store.run(RUN.id) is not None, "reading goes on"
    finally:
        holder.close()
    store.set_stage(RUN.id, "x")


def test_a_writer_waits_for_another_one(tmp_path: Path, opened: Opener) -> None:
    store = opened(f"sqlite:///{tmp_path}/rankscope.db")
    fill(store)
    holder = sqlite3.connect(tmp_path / "rankscope.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, holder.close).start()
    store.set_stage(RUN.id, "waited")
    run = store.run(RUN.id)
    assert run is not None and run.stage == "waited"


def test_opening_waits_for_the_first_writer_of_a_new_file(tmp_path: Path, opened: Opener) -> None:
    """SQLite itself refuses at once to turn the log on while another connection writes to a file without one."""
    holder = sqlite3.connect(tmp_path / "rankscope.db", isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE other (x)")
    holder.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, holder.close).start()
    fill(opened(f"sqlite:///{tmp_path}/rankscope.db"))


def test_a_server_that_is_not_there() -> None:
    pytest.importorskip("psycopg", reason="no package psycopg")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = taken.getsockname()[1]
        with pytest.raises(StoreError, match=r"does not answer .*; check the address") as caught:
            Store.open(f"postgresql://someone:secret@127.0.0.1:{port}/name")
    one_sentence(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.postgres
@pytest.mark.xdist_group("postgres")
def test_a_server_that_turns_its_user_away_and_one_that_goes_away(postgres_address: str) -> None:
    from tests import postgres

    with pytest.raises(StoreError, match="turns its user away") as caught:
        Store.open(f"{postgres_address}no_such_database")
    one_sentence(caught.value)
    with postgres.database(postgres_address, "goes") as url:
        store = Store.open(url.replace("+psycopg", ""))
        fill(store)
    with pytest.raises(StoreError, match="does not answer") as caught:
        store.set_stage(RUN.id, "x")
    store.close()
    one_sentence(caught.value)


@pytest.mark.postgres
@pytest.mark.xdist_group("postgres")
def test_a_user_who_may_make_no_tables(postgres_address: str) -> None:
    from tests import postgres

    with postgres.database(postgres_address, "closed") as url:
        engine = connect(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE ROLE guest LOGIN")
        engine.dispose()
        with pytest.raises(StoreError, match="may not make or change tables there; ask") as caught:
            Store.open(url.replace("rankscope@", "guest@"))
        one_sentence(caught.value)


@pytest.mark.parametrize(
    "url", ["nonsense", "postgresql://host:port/x", "nosuch://host/x", "://", "sqlite+nosuch:///x"]
)
def test_an_address_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(database.VARIABLE, url)
    with pytest.raises(StoreError, match="is not a database address") as caught:
        Store.open()
    one_sentence(caught.value)


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match="is missing; install it") as caught:
        Store.open("postgresql://someone@127.0.0.1/x")
    one_sentence(caught.value)


@pytest.mark.parametrize("name", ["plain", "a b", "100%", "what?", "c#", "né", "x:y@z"])
def test_by_default_it_lies_in_the_users_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(database.VARIABLE, raising=False)
    monkeypatch.setenv("RANKSCOPE_HOME", str(tmp_path / name))
    store = Store.open()
    fill(store)
    store.close()
    assert (tmp_path / name / "rankscope.db").is_file() and [p.name for p in tmp_path.iterdir()] == [name]


def test_the_variable_names_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(database.VARIABLE, f"sqlite:///{tmp_path}/other.db")
    assert database_url() == f"sqlite:///{tmp_path}/other.db"
    Store.open().close()
    assert (tmp_path / "other.db").is_file()


def test_words_every_database_takes() -> None:
    assert plain("a\0b\udcffc né") == "ab?c né"
