"""The worker pool with a fake worker: fast, and no torch. One test at the end uses the real one."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import worker
from app.worker import KEPT, Job, Pool

FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))


def wait(true: Callable[[], Any], seconds: float = 20.0) -> float:
    """Seconds until it was true; fails if it never was."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "waited too long"
        time.sleep(0.005)
    return time.monotonic() - began


def finished(job: Job) -> Job:
    wait(lambda: job.over)
    return job


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(workers=1, command=FAKE)
    yield made
    made.close()


def test_a_job_brings_back_the_answer_to_its_own_request(pool: Pool) -> None:
    job = finished(pool.submit({"do": "echo", "text": "Ünïcode\n</script>"}))
    assert (job.state, job.error) == ("done", "")
    assert job.result == {"do": "echo", "text": "Ünïcode\n</script>", "id": job.id}
    assert pool.job(job.id) is job and pool.job("unknown") is None


def test_progress_is_seen_while_a_job_runs(pool: Pool) -> None:
    job, seen = pool.submit({"do": "steps", "n": 5, "pause": 0.05}), set()
    while not job.over:
        seen.add(job.progress)
        time.sleep(0.002)
    assert job.result == "done"
    assert {("step", i, 5) for i in range(1, 6)} <= seen


def test_jobs_beyond_the_workers_wait_in_order(pool: Pool) -> None:
    first = pool.submit({"do": "sleep"})
    wait(lambda: first.progress[0] == "sleeping")
    others = [pool.submit({"do": "echo", "n": n}) for n in range(3)]
    assert [job.state for job in others] == ["queued"] * 3
    pool.cancel(others[1].id)
    pool.cancel(first.id)
    assert [finished(job).state for job in others] == ["done", "cancelled", "done"]


def test_two_workers_run_two_jobs_at_once() -> None:
    pool = Pool(workers=2, command=FAKE)
    long = pool.submit({"do": "sleep"})
    wait(lambda: long.state == "running")
    assert finished(pool.submit({"do": "echo"})).state == "done"
    assert long.state == "running"
    pool.close()
    assert finished(long).state == "failed"


def test_cancelling_takes_less_than_a_second_and_ends_the_process(pool: Pool) -> None:
    pid = finished(pool.submit({"do": "pid"})).result
    job = pool.submit({"do": "sleep"})
    wait(lambda: job.progress[0] == "sleeping")
    began = time.monotonic()
    pool.cancel(job.id)
    assert job.state == "cancelled" and gone(pid)
    assert time.monotonic() - began < 20.0  # it would sleep on for much longer
    after = finished(pool.submit({"do": "pid"}))
    assert after.state == "done" and after.result != pid
    assert job.state == "cancelled" and job.result is None


def test_cancelling_a_job_before_its_worker_has_started_does_not_let_it_run(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go, start = threading.Event(), threading.Event(), worker._Process._start

    def slow(self: Any) -> Any:
        asked.set()
        assert go.wait(20)
        return start(self)

    monkeypatch.setattr(worker._Process, "_start", slow)
    job = pool.submit({"do": "sleep"})
    assert asked.wait(20)
    pool.cancel(job.id)
    go.set()
    assert job.state == "cancelled"
    assert finished(pool.submit({"do": "echo"})).state == "done", "the worker is not asleep"


def test_cancelling_what_is_over_or_unknown_changes_nothing(pool: Pool) -> None:
    job = finished(pool.submit({"do": "pid"}))
    pool.cancel(job.id)
    pool.cancel("unknown")
    assert job.state == "done" and not gone(job.result)
    assert finished(pool.submit({"do": "pid"})).result == job.result, "an idle worker is used again"


@pytest.mark.parametrize("end", ["die", "nonsense"])
def test_a_job_whose_worker_ends_fails_with_a_sentence_and_the_next_one_works(pool: Pool, end: str) -> None:
    job = finished(pool.submit({"do": end}))
    assert job.state == "failed"
    assert job.error == "The worker process ended before it was done; press the button again."
    assert finished(pool.submit({"do": "echo"})).state == "done"


def test_a_worker_killed_while_idle_is_replaced(pool: Pool) -> None:
    pid = finished(pool.submit({"do": "pid"})).result
    os.kill(pid, 9)
    wait(lambda: not pool._idle[0].alive)
    after = finished(pool.submit({"do": "pid"}))
    assert after.state == "done" and after.result != pid


def test_an_error_of_the_worker_is_the_error_of_the_job(pool: Pool) -> None:
    job = finished(pool.submit({"do": "fail", "why": "x.pt is empty; copy or download it again."}))
    assert (job.state, job.error) == ("failed", "x.pt is empty; copy or download it again.")
    assert finished(pool.submit({"do": "echo"})).state == "done"


def test_a_command_that_cannot_be_started_fails_every_job_with_a_sentence() -> None:
    pool = Pool(workers=1, command=("/nonexistent/python",))
    for _ in range(2):
        assert finished(pool.submit({"do": "echo"})).error.endswith("press the button again.")


def test_old_jobs_are_forgotten_but_never_one_that_is_not_over() -> None:
    pool = Pool(workers=0, command=FAKE)
    jobs = [pool.submit({"do": "echo"}) for _ in range(KEPT + 3)]
    assert all(pool.job(job.id) is job for job in jobs)
    for job in jobs[:10]:
        pool.cancel(job.id)
    pool.submit({"do": "echo"})
    assert pool.job(jobs[0].id) is None and pool.job(jobs[3].id) is None
    assert pool.job(jobs[10].id) is jobs[10]


def test_a_job_nobody_looks_at_is_ended_and_a_watched_one_goes_on() -> None:
    pool = Pool(workers=2, command=FAKE, patience=0.5)
    left, seen = pool.submit({"do": "sleep"}), pool.submit({"do": "sleep"})

    def watch() -> bool:
        seen.watchers["a tab"] = time.monotonic()
        return left.over

    wait(watch)
    assert (left.state, seen.state) == ("cancelled", "running")
    wait(lambda: seen.over)
    assert seen.state == "cancelled", "its tab went away"
    pool.close()


def test_the_real_worker_answers_a_bad_request_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").write_bytes(b"")
    pool = Pool(workers=1)
    job = pool.submit({"do": "survey", "model": str(tmp_path / "empty.pt")})
    wait(lambda: job.over, 90)
    pool.close()
    assert job.state == "failed" and job.error.startswith("empty.pt is empty")
    assert str(tmp_path) not in job.error
