"""The commands of runs, on the embedded perceptron, a real database and a real engine."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import cli_runs
from core.jobs import driver, launch, local
from core.jobs.records import Run
from core.jobs.store import Store
from tests import engines
from tests.bad_files import assert_one_sentence

pytestmark = pytest.mark.xdist_group("dask")

ROOT = Path(__file__).resolve().parents[2]
DEMO = "digits-mlp"
SWEEP = ("sweep", DEMO, "--data", "digits", "--keep", ".3,.6", "--repair", "none", "--limit", 60, "--samples", 60)

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Cache and database of these commands; no engine of theirs outlives the test."""
    for variable in ("RANKSCOPE_SCHEDULER", "RANKSCOPE_DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RANKSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RANKSCOPE_WORKERS", "1")
    monkeypatch.setenv("RANKSCOPE_IDLE", "20")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    engines.end(tmp_path / "cache")
    local._reap()
    for process in launch._drivers:
        process.wait()


@pytest.fixture
def run(home: Path, command: Command) -> Command:
    """Command lines with that cache and database."""
    return command


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    made = Store.open()
    yield made
    made.close()


def test_a_sweep_measures_its_points_and_is_found_again(
    answer: Callable[..., Any], run: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = answer(*SWEEP)
    assert (content["state"], content["failed"], content["interrupted"]) == ("done", 0, False)
    assert content["done"] == content["total"] == len(content["points"]) == 2
    for point in content["points"]:
        measured = point["measured"]["accuracy"]
        assert measured["n"] == 60 and measured["value"] == point["result"]["compressed"]["value"]
        assert measured["provenance"]["versions"]
    monkeypatch.setattr(driver, "drive", lambda *_, **__: pytest.fail("it is done already"))
    assert answer(*SWEEP) == content
    assert answer("run", content["id"]) == answer("run", content["id"][:6]) == content
    assert [row["id"] for row in answer("runs")] == [content["id"]]
    code, out, _ = run("runs")
    assert code == 0 and content["id"] in out and "done" in out
    code, out, _ = run("run", content["id"], "--csv", "all.csv")
    assert code == 0 and "accuracy" in out and "2 of 2 done" in out
    rows = list(csv.DictReader((home / "all.csv").read_text().splitlines()))
    values = {float(row["value"]) for row in rows if row["name"] == "accuracy"}
    assert values == {point["measured"]["accuracy"]["value"] for point in content["points"]}


def test_a_detached_sweep_goes_on_by_itself(answer: Callable[..., Any], store: Store) -> None:
    content = answer(*SWEEP, "--detach")
    assert content["state"] in ("queued", "running")
    engines.wait_until(lambda: (found := store.run(content["id"])) is not None and found.state == "done", 60)
    assert answer("run", content["id"])["done"] == 2


def test_a_path_means_the_same_everywhere(
    answer: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.networks.demo_files import demo_path

    source = demo_path(DEMO)
    copy = home / f"mine{source.suffix}"
    copy.write_bytes(source.read_bytes())
    monkeypatch.setattr(launch, "launch", lambda id: None)
    content = answer("sweep", copy.name, *SWEEP[2:], "--detach")
    assert content["spec"]["model"] == str(copy.resolve()) and content["spec"]["data"] == "digits"


def test_options_become_the_specification(answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[str] = []
    monkeypatch.setattr(launch, "launch", launched.append)
    words = ("--keep", "0.5, .25", "--method", "greedy,exact", "--quantity", "params", "--repair", "none,full")
    more = ("--seeds", "0,3", "--limit", 9, "--samples", 7, "--latency", "--families", "lowrank")
    content = answer("sweep", DEMO, "--data", "digits", *words, *more, "--detach")
    spec = content["spec"]
    assert (spec["keeps"], spec["methods"], spec["quantity"]) == ([0.5, 0.25], ["greedy", "exact"], "params")
    assert (spec["repairs"], spec["seeds"], spec["families"]) == (["none", "full"], [0, 3], ["lowrank"])
    assert (spec["limit"], spec["samples"], spec["timed"]) == (9, 7, True)
    assert launched == [content["id"]] and content["state"] == "queued"


def test_cancel_and_resume(answer: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.add_run(Run.new("fake", "a run", "m", "d", {}), [("p", {"do": "survey", "model": DEMO})])
    assert answer("cancel", made.id)["state"] == "cancelled"
    content = answer("resume", made.id)
    assert (content["state"], content["done"]) == ("done", 1)


def test_failed_points_are_tried_again_only_when_asked(run: Command, store: Store) -> None:
    points = [("good", {"do": "survey", "model": DEMO}), ("bad", {"do": "survey", "model": "no-such-model"})]
    made = store.add_run(Run.new("fake", "a run", "m", "d", {}), points)
    for words, attempts in (((), 1), ((), 1), (("--failed",), 2)):
        code, out, _ = run("resume", made.id, *words)
        assert code == 0 and "no-such-model" in out
        (bad,) = store.points(made.id, "failed")
        assert bad.attempts == attempts


def test_a_run_that_fails_is_one_sentence_and_exit_code_two(run: Command, store: Store, tmp_path: Path) -> None:
    points = [("bad", {"do": "survey", "model": "no-such-model"})]
    made = store.add_run(Run.new("fake", "a run", "m", "d", {}), points)
    code, out, err = run("resume", made.id)
    assert (code, out) == (2, "")
    assert_one_sentence(err.strip(), tmp_path)


def test_one_that_another_process_works_off_is_left_to_it(run: Command, store: Store) -> None:
    made = store.add_run(Run.new("fake", "a run", "m", "d", {}), [("p", {"do": "survey", "model": DEMO})])
    assert store.claim(made.id, "another")
    code, out, err = run("resume", made.id)
    assert code == 0 and "already" in err and err.count("\n") == 1 and "running" in out
    assert store.points(made.id)[0].state == "waiting"


def test_an_interrupt_leaves_a_run_that_can_be_resumed(home: Path, store: Store) -> None:
    command = [sys.executable, "-m", "core", *map(str, SWEEP), "--latency", "--seeds", ",".join(map(str, range(20)))]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    engines.wait_until(lambda: any(run.done for run in store.runs()), 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == ""
    (left,) = store.runs()
    assert left.interrupted and 1 <= left.done < left.total
    assert f"resume {left.id}" in err and "Traceback" not in err


def test_drive_is_there_but_not_shown(run: Command) -> None:
    code, out, _ = run("--help")
    assert code == 0 and all(command in out for command in ("sweep", "runs", "resume", "cancel"))
    assert "drive" not in out.replace("Drive", "drive").split("Commands")[1]
    assert run("drive", "--help")[0] == 0


BAD: dict[str, tuple[object, ...]] = {
    "no data": ("sweep", DEMO),
    "an unknown model": ("sweep", "no-such-model", "--data", "digits"),
    "budgets that are no numbers": ("sweep", DEMO, "--data", "digits", "--keep", "half"),
    "a budget above one": ("sweep", DEMO, "--data", "digits", "--keep", "1.5"),
    "a budget of nan": ("sweep", DEMO, "--data", "digits", "--keep", "nan"),
    "no budget": ("sweep", DEMO, "--data", "digits", "--keep", ","),
    "an unknown method": ("sweep", DEMO, "--data", "digits", "--method", "best"),
    "an unknown repair": ("sweep", DEMO, "--data", "digits", "--repair", "prayer"),
    "an unknown quantity": ("sweep", DEMO, "--data", "digits", "--quantity", "flops"),
    "seeds that are no numbers": ("sweep", DEMO, "--data", "digits", "--seeds", "0.5"),
    "an unknown run": ("run", "no-such-run"),
    "an empty id": ("run", ""),
    "an id that several runs begin with": ("cancel", "aa"),
    "an unknown run to resume": ("resume", "no-such-run"),
    "an unknown run to drive": ("drive", "no-such-run"),
    "a place that is not there": ("run", "aa00", "--csv", "no/such/folder/all.csv"),
}


@pytest.mark.parametrize("words", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_exit_code_two(
    run: Command, store: Store, tmp_path: Path, words: tuple[object, ...]
) -> None:
    for id in ("aa00", "aa11"):
        store.add_run(Run(id, "fake", "a run"))
    code, out, err = run(*words)
    assert (code, out) == (2, ""), (out, err)
    assert err.endswith("\n") and err.count("\n") == 1, err
    assert_one_sentence(err.strip(), tmp_path)


def test_a_database_that_cannot_be_used_is_one_sentence(
    run: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "home").mkdir(exist_ok=True)
    (home / "home" / "rankscope.db").write_bytes(b"no database " * 1000)
    for words in (("runs",), ("run", "x"), SWEEP):
        code, out, err = run(*words)
        assert (code, out) == (2, "") and err.count("\n") == 1, err


def test_the_bar_tells_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from core import console

    shown = console.Plain(stderr=True, force_terminal=True, width=120)
    monkeypatch.setattr(console, "err", shown)
    with console.progress_bar(remaining=True) as progress:
        progress("measuring", 1, 4)
        time.sleep(0.3)
        progress("measuring", 2, 4)
        time.sleep(0.3)
    printed = capsys.readouterr()
    assert "measuring" in printed.err and "left" in printed.err and "2/4" in printed.err and printed.out == ""


def test_states_in_words() -> None:
    lost = Run("a", "fake", state="running", stage="measuring", lease=1.0)
    alive = Run("a", "fake", state="running", stage="measuring", lease=time.time() + 60)
    assert cli_runs._state(lost) == "interrupted, can be resumed"
    assert cli_runs._state(alive) == "running (measuring)"
