"""What lies between pages and core: where files may lie, which jobs are the same, what is known of a model."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import services, state
from app.worker import ROOT, Job
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError
from core.networks.forms import LowRank

Tabs = Callable[..., Any]
DEMO = "digits-resnet"


@pytest.fixture
def folder(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configured folder with models, data, and ways out of it."""
    made = tmp_path / "models"
    for path in ("a.safetensors", "sub/b.PTH", "sharded/model.safetensors.index.json", "d.npz", "notes.txt"):
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(b"x" * 2_500_000 if path == "d.npz" else b"x")
    (made / "images" / "test" / "cat").mkdir(parents=True)
    (tmp_path / "secret.pt").write_bytes(b"secret")
    (made / "link.pt").symlink_to(tmp_path / "secret.pt")
    (made / "out").symlink_to(tmp_path)
    monkeypatch.setenv("RANKSCOPE_MODELS", str(made))
    return made


def test_what_lies_in_the_folder_or_was_uploaded_can_be_opened(folder: Path) -> None:
    source = services.store_upload("net.pt", b"weights")
    assert Path(services.path_of(source)).read_bytes() == b"weights"
    assert services.path_of("folder:sub/b.PTH") == str(folder.resolve() / "sub/b.PTH")
    assert services.path_of(DEMO) == DEMO and services.path_of("digits") == "digits"


@pytest.mark.parametrize(
    "source",
    [
        "folder:../secret.pt",
        "folder:sub/../../secret.pt",
        "folder:link.pt",
        "folder:out/secret.pt",
        "folder:/etc/passwd",
        "folder:.",
        "folder:",
        "folder:a\x00.pt",
        "folder:" + "a" * 5000,
        "upload:../../secret.pt",
        "upload:0123456789abcdef/gone.pt",
        "upload:.",
        "/etc/passwd",
        "file:///etc/passwd",
        "../secret.pt",
        "",
        "no such demo",
    ],
)
def test_nothing_else_can(folder: Path, source: str) -> None:
    services.store_upload("net.pt", b"weights")
    with pytest.raises(InputError) as error:
        services.path_of(source)
    text = str(error.value)
    assert "/" not in text and len(text) < 200 and text.endswith(".")


def test_without_a_configured_folder_none_of_it_can_be_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANKSCOPE_MODELS")
    assert services.models_folder() is None and services.listed(services.KINDS) == []
    with pytest.raises(InputError):
        services.path_of("folder:a.safetensors")


def test_the_folder_lists_what_can_be_opened_with_size_and_format(folder: Path) -> None:
    assert services.listed(services.KINDS) == [
        ("folder:a.safetensors", "a.safetensors · 0.0 MB · safetensors"),
        ("folder:sharded", "sharded · sharded checkpoint"),
        ("folder:sub/b.PTH", "sub/b.PTH · 0.0 MB · pth"),
    ]
    assert services.listed(services.DATA_KINDS) == [
        ("folder:d.npz", "d.npz · 2.5 MB · npz"),
        ("folder:images", "images · folder"),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../../evil.pt", "evil.pt"),
        ("..\\..\\evil.pt", "evil.pt"),
        ("/etc/passwd", "passwd"),
        ("..", "upload"),
        ("", "upload"),
        ("a\x00b\n.pt", "a?b?.pt"),
        ("C:net.pt", "net.pt"),
        ("ü" * 300 + ".pt", "ü" * 60 + "..." + "ü" * 14 + ".pt"),
        ("網" * 70 + ".pt", "upload.pt"),
        ("<img src=x>.pt", "<img src=x>.pt"),
    ],
)
def test_an_upload_stays_in_its_folder_whatever_it_is_called(bench: Any, tmp_path: Path, name: str, shown: str) -> None:
    source = services.store_upload(name, b"content")
    kind, _, where = source.partition(":")
    digest, _, kept = where.partition("/")
    assert (kind, kept, len(digest)) == ("upload", shown, 16)
    assert Path(services.path_of(source)).read_bytes() == b"content"
    inside = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.parent.parent for path in inside] == [services.uploads()]
    assert services.store_upload(name, b"content") == source
    assert services.store_upload(name, b"other") != source


def test_uploads_do_not_pile_up(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "UPLOADS_MB", 0.001)
    sources = []
    for i in range(5):
        sources.append(services.store_upload(f"{i}.pt", bytes([i]) * 400))
        os.utime(services.uploads() / sources[-1][7:23], (i, i))
    kept = [source for source in sources if (services.uploads() / source[7:]).exists()]
    assert kept == sources[-2:]


def test_an_upload_that_cannot_be_stored_is_one_sentence(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="could not be stored"):
        services.store_upload("net.pt", b"x")


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
    source = services.store_upload("net.pt", b"weights")
    one.do(lambda: state.open_model(source, "digits", survey, "resnet20"))
    request = services.evaluation_request(plan, "digits", False)
    job = one.do(lambda: services.submit("evaluate", source, **request))
    assert job.request["arch"] == "resnet20" and job.request["model"] == services.path_of(source)
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
    packed = zipfile.ZipFile(io.BytesIO(services.bundle_zip(job, "net-compressed")))
    assert packed.namelist() == ["net-compressed/plan.json"] and packed.read("net-compressed/plan.json") == b"{}"
    services._prune(services.cache_folder() / "exports", 0, each=True)
    with pytest.raises(OSError):
        services.bundle_zip(job, "net-compressed")
    again = one.do(lambda: services.export(DEMO, plan, "digits"))
    assert again is not job and again.request["out"] != str(out)


def test_the_digits_fit_only_networks_of_their_shape_and_classes(survey: Survey) -> None:
    assert services.fits_digits(survey)
    assert not services.fits_digits(replace(survey, input_shape=(3, 32, 32)))
    assert not services.fits_digits(replace(survey, num_classes=100))


def test_the_pages_process_never_imports_torch() -> None:
    code = (
        "import sys; from app import frame, services, links, snippets, dialogs; "
        "from app.dialogs import about; services.demos(); assert 'torch' not in sys.modules, 'torch'"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-500:]
