"""What lies between pages and core: which jobs are the same, what is known of a model."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import services, sources, state
from app.worker import ROOT, Job
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError
from core.networks.forms import LowRank

Tabs = Callable[..., Any]
DEMO = "digits-resnet"


def test_an_equal_request_is_one_job_until_it_fails(tab: Tabs, bench: Any) -> None:
    one = tab()
    first = one.do(lambda: services.submit("survey", DEMO))
    assert one.do(lambda: services.submit("survey", DEMO)) is first
    assert one.do(lambda: services.submit("survey", DEMO, "resnet20")) is not first
    bench.end({"survey": ""}, index=0)
    assert one.do(lambda: services.submit("survey", DEMO)) is first
    bench.end(error="It broke.", index=0)
    assert one.do(lambda: services.submit("survey", DEMO)) is not first


def test_jobs_on_the_open_model_build_the_architecture_chosen_for_it(tab: Tabs, bench: Any, survey: Survey) -> None:
    one, plan = tab(), Plan(survey.model)
    source = sources.store_upload("net.pt", b"weights")
    one.do(lambda: state.open_model(source, "digits", survey, "resnet20"))
    request = services.evaluation_request(plan, "digits", False)
    job = one.do(lambda: services.submit("evaluate", source, **request))
    assert job.request["arch"] == "resnet20" and job.request["model"] == sources.path_of(source)
    assert one.do(lambda: services.export(source, plan, "")).request["arch"] == "resnet20"
    assert one.do(lambda: services.submit("survey", DEMO)).request["arch"] == ""
    assert one.do(lambda: services.submit("survey", source, "")).request["arch"] == ""
    assert one.do(lambda: services.evaluation(source, plan, "digits")) is None
    bench.end({"accuracy": 1}, index=0)
    assert one.do(lambda: services.evaluation(source, plan, "digits")) == {"accuracy": 1}
    one.do(lambda: state.put(arch=""))
    assert one.do(lambda: services.evaluation(source, plan, "digits")) is None


def test_surveys_are_kept_by_source_architecture_and_data(tab: Tabs, foreign: Survey) -> None:
    one = tab()
    calibrated = replace(foreign, calibration="on d.npz")
    one.do(lambda: services.learn("upload:a/x.pt", foreign.to_json(), arch="resnet20"))
    one.do(lambda: services.learn("upload:a/x.pt", calibrated.to_json(), "folder:d.npz", "resnet20"))
    assert one.do(lambda: services.survey("upload:a/x.pt", "digits", "resnet20")) == foreign
    assert one.do(lambda: services.survey("upload:a/x.pt", "folder:d.npz", "resnet20")) == calibrated
    assert one.do(lambda: services.survey("upload:a/x.pt")) is None
    assert one.do(lambda: services.survey(DEMO)).model.source == "demo"


def test_a_demo_without_a_stored_survey_is_surveyed_like_a_file(tab: Tabs, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Survey:
        raise InputError("It has no stored survey.")

    monkeypatch.setattr(services.journeys, "demo_survey", missing)
    assert tab().do(lambda: services.survey(DEMO)) is None


def test_a_tab_cannot_cancel_what_another_waits_for(tab: Tabs, bench: Any) -> None:
    one, other = tab(), tab()
    job: Job = one.do(lambda: services.submit("survey", DEMO))
    assert other.do(lambda: services.submit("survey", DEMO)) is job
    one.do(lambda: services.cancel(job.id))
    assert not job.over and one.do(lambda: state.left(job.id)) and not other.do(lambda: state.left(job.id))
    assert one.do(lambda: services.submit("survey", DEMO)) is job and not one.do(lambda: state.left(job.id))
    one.do(lambda: services.cancel(job.id))
    other.do(lambda: services.cancel(job.id))
    assert job.state == "cancelled"


def test_a_tab_that_went_away_does_not_keep_a_job_alive(tab: Tabs, bench: Any) -> None:
    one, gone = tab(), tab()
    job: Job = gone.do(lambda: services.submit("survey", DEMO))
    one.do(lambda: services.submit("survey", DEMO))
    job.watchers[gone.do(state.tab)] -= services.AWAY
    one.do(lambda: services.cancel(job.id))
    assert job.state == "cancelled"


def test_an_export_gets_a_folder_of_its_own_and_is_made_again_when_that_is_gone(
    tab: Tabs, bench: Any, survey: Survey
) -> None:
    one = tab()
    name = next(layer.view.name for layer in survey.layers if layer.curve("lowrank"))
    plan = Plan(survey.model).with_form(name, LowRank(1))
    job = one.do(lambda: services.export(DEMO, plan, "digits"))
    out = Path(job.request["out"])
    assert out.is_relative_to(services.cache_folder() / "exports") and job.request["data"] == "digits"
    out.mkdir(parents=True)
    (out / "plan.json").write_text("{}")
    (out / "stray").write_text("not listed")
    bench.end({"files": [{"name": "plan.json", "size": 2, "sha256": ""}]})
    assert one.do(lambda: services.export(DEMO, plan, "digits")) is job
    packed = zipfile.ZipFile(io.BytesIO(services.bundle_zip(out, job.result["files"], "net-compressed")))
    assert packed.namelist() == ["net-compressed/plan.json"] and packed.read("net-compressed/plan.json") == b"{}"
    sources.prune(services.cache_folder() / "exports", 0, each=True)
    with pytest.raises(OSError):
        services.bundle_zip(out, job.result["files"], "net-compressed")
    again = one.do(lambda: services.export(DEMO, plan, "digits"))
    assert again is not job and again.request["out"] != str(out)


def test_the_digits_fit_only_networks_of_their_shape_and_classes(survey: Survey) -> None:
    assert services.fits_digits(survey)
    assert not services.fits_digits(replace(survey, input_shape=(3, 32, 32)))
    assert not services.fits_digits(replace(survey, num_classes=100))


def test_the_pages_process_never_imports_torch() -> None:
    code = (
        "import sys; from app import frame, services, sources, links, snippets, dialogs; "
        "from app.dialogs import about; sources.demos(); assert 'torch' not in sys.modules, 'torch'"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-500:]
