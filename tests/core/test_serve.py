"""The worker process: lines in, lines out, one answer to every request, and nothing else on standard output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core import serve
from core.compression.allocate import Budget, allocate
from core.compression.plans import Repair
from core.compression.survey import Survey
from core.errors import DataError
from core.jobs.tasks import TASKS
from core.journeys import demo_survey
from tests.bad_files import assert_one_sentence

ROOT = Path(__file__).resolve().parents[2]
DEMO = "digits-mlp"


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in this process: leave its memory limit and its standard output alone."""
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(serve, "_limit_memory", lambda: None)
    monkeypatch.setattr(sys, "stdout", sys.stdout)


def answers(*requests: dict[str, Any] | str) -> list[dict[str, Any]]:
    """What comes out for these lines."""
    out = io.StringIO()
    lines = [text if isinstance(text, str) else json.dumps(text) for text in requests]
    serve.main([line + "\n" for line in lines], out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def final(*requests: dict[str, Any] | str) -> list[dict[str, Any]]:
    return [answer for answer in answers(*requests) if "progress" not in answer]


def plan_text(*steps: str, samples: int = 60) -> str:
    survey = demo_survey(DEMO)
    return allocate(survey, Budget.keep(survey, 0.5, "macs"), repair=Repair(steps, samples, 0)).plan.to_json()


def test_a_whole_conversation_with_a_process(tmp_path: Path) -> None:
    requests = [
        {"id": "1", "do": "survey", "model": DEMO},
        {"id": "2", "do": "survey", "model": "no-such-model"},
        {"id": "3", "do": "evaluate", "model": DEMO, "data": "digits", "plan": plan_text("whitened"), "limit": 50},
        {"id": "4", "do": "stop"},
        {"id": "5", "do": "survey", "model": DEMO},
    ]
    text = "not json\n" + "".join(json.dumps(request) + "\n" for request in requests)
    environment = {**os.environ, "RANKSCOPE_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "core", "serve"]
    found = subprocess.run(command, input=text, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    made = [json.loads(line) for line in found.stdout.splitlines()]
    ends = {answer["id"]: answer for answer in made if "progress" not in answer}
    assert [answer["id"] for answer in made if "progress" not in answer] == ["1", "2", "3"]
    assert Survey.from_json(ends["1"]["result"]["survey"]).layers == demo_survey(DEMO).layers
    assert_one_sentence(ends["2"]["error"], tmp_path)
    assert ends["3"]["result"]["dense"]["n"] == ends["3"]["result"]["compressed"]["n"] == 50
    assert "Traceback" not in found.stderr and "not a request" in found.stderr


@pytest.mark.usefixtures("inside")
def test_jobs_give_what_the_journeys_give(tmp_path: Path) -> None:
    calibrate = {"id": "a", "do": "calibrate", "model": DEMO, "data": "digits", "samples": 30, "seed": 1}
    export = {"id": "b", "do": "export", "model": DEMO, "plan": plan_text(), "out": str(tmp_path / "bundle")}
    first, second = final(calibrate, export)
    survey = Survey.from_json(first["result"]["survey"])
    assert survey.calibration.startswith("30 training inputs of digits") and survey.layers[0].curves[0].output
    assert second["result"]["max_difference"] <= 1e-5 and (tmp_path / "bundle" / "plan.json").is_file()


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(
    "request_",
    [
        {"do": "survey", "model": "no-such-model"},
        {"do": "survey", "model": DEMO, "arch": "vgg16"},
        {"do": "evaluate", "model": DEMO, "data": "no-such-data"},
        {"do": "evaluate", "model": DEMO, "data": "digits", "plan": "{"},
        {"do": "evaluate", "model": "digits-vit", "data": "digits", "plan": plan_text()},
        {"do": "export", "model": DEMO, "plan": plan_text("bias"), "out": "somewhere"},
    ],
    ids=lambda request: "-".join(request)[:40],
)
def test_what_a_user_can_cause_is_one_sentence(request_: dict[str, Any], tmp_path: Path) -> None:
    (answer,) = final({"id": "x", **request_})
    assert answer["id"] == "x" and set(answer) == {"id", "error"}
    assert_one_sentence(answer["error"], tmp_path)


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(
    "error", [RuntimeError("secret path /home"), MemoryError(), KeyError("model"), ValueError("x")]
)
def test_what_a_programmer_got_wrong_is_one_sentence_too(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(request: dict[str, Any], progress: object) -> None:
        raise error

    monkeypatch.setitem(TASKS, "survey", fails)
    (answer,) = final({"id": "x", "do": "survey"})
    assert_one_sentence(answer["error"], Path("/nowhere"))
    assert "secret" not in answer["error"]


@pytest.mark.usefixtures("inside")
def test_the_worker_goes_on_after_an_error() -> None:
    made = final({"id": "1", "do": "survey", "model": "nothing"}, {"id": "2", "do": "survey", "model": DEMO})
    assert ["error" in answer for answer in made] == [True, False]


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(
    "line", ["", "{", "[]", "3", "null", '{"do": "survey"}', '{"id": "1"}', '{"id": "1", "do": "x"}']
)
def test_a_line_that_is_no_request_is_passed_over(line: str) -> None:
    (answer,) = final(line, {"id": "2", "do": "survey", "model": DEMO})
    assert answer["id"] == "2" and "result" in answer


@pytest.mark.usefixtures("inside")
def test_the_users_own_code_cannot_be_asked_for(tmp_path: Path) -> None:
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\ndef make():\n    pass\n")
    (answer,) = final({"id": "1", "do": "survey", "model": DEMO, "user_model": f"{code}:make"})
    assert "result" in answer and not (tmp_path / "was-run").exists()


@pytest.mark.usefixtures("inside")
def test_progress_is_sent_but_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(serve.time, "monotonic", lambda: clock[0])

    def works(request: dict[str, Any], progress: Any) -> str:
        for i in range(100):
            progress("steps", i, 100)
            clock[0] += 0.03
        return "done"

    monkeypatch.setitem(TASKS, "survey", works)
    made = answers({"id": "x", "do": "survey"})
    assert made[-1] == {"id": "x", "result": "done"}
    told = [answer["progress"] for answer in made[:-1]]
    assert told[0] == ["steps", 0, 100] and all(answer["id"] == "x" for answer in made)
    assert 100 * 0.03 / 0.13 < len(told) <= 100 * 0.03 / 0.1 + 1


@pytest.mark.usefixtures("inside")
def test_real_jobs_report_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1, 10**6))
    monkeypatch.setattr(serve.time, "monotonic", lambda: float(next(ticks)))
    made = answers({"id": "x", "do": "calibrate", "model": DEMO, "data": "digits", "samples": 30})
    told = {answer["progress"][0] for answer in made if "progress" in answer}
    assert {"second moments", "output errors and damage"} <= told


@pytest.mark.usefixtures("inside")
def test_what_is_printed_by_others_does_not_mix_with_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def chatty(request: dict[str, Any], progress: object) -> int:
        print("hello")
        return 1

    monkeypatch.setitem(TASKS, "survey", chatty)
    assert final({"id": "x", "do": "survey"}) == [{"id": "x", "result": 1}]
    assert "hello" in capsys.readouterr().err


def test_errors_carry_no_type_names(monkeypatch: pytest.MonkeyPatch, inside: None) -> None:
    def fails(request: dict[str, Any], progress: object) -> None:
        raise DataError("The data are empty; choose others.")

    monkeypatch.setitem(TASKS, "survey", fails)
    assert final({"id": "x", "do": "survey"}) == [{"id": "x", "error": "The data are empty; choose others."}]
