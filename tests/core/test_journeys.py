"""Journeys on the embedded perceptron and on small files: what is cached under what, what is measured, and one sentence
for everything a user can get wrong."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from core import journeys
from core.compression import surveying
from core.compression.allocate import Budget, allocate
from core.compression.plans import LayerPlan, Plan, Repair
from core.compression.survey import Survey
from core.errors import CheckpointError, DataError, InputError, PlanError
from core.networks.arch import Inputs, ModelRef, make_arch
from core.networks.checkpoints import Opened
from core.networks.forms import LowRank
from core.networks.zoo import build
from core.training.data import Data, open_data
from tests.bad_files import assert_one_sentence

DEMO = "digits-mlp"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches."""
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_data("digits")


@pytest.fixture(scope="module")
def demo() -> Opened:
    return journeys.open_network(DEMO)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes every survey and calibration that is really made."""
    made: list[str] = []
    for name in ("survey_model", "calibrate"):
        real = getattr(surveying, name)

        def wrapped(*args: object, real=real, name=name, **more: object) -> Survey:  # type: ignore[no-untyped-def]
            made.append(name)
            return real(*args, **more)

        monkeypatch.setattr(surveying, name, wrapped)
    return made


def half(survey: Survey, *steps: str, samples: int = 200, seed: int = 0) -> Plan:
    return allocate(survey, Budget.keep(survey, 0.5, "macs"), "exact", repair=Repair(steps, samples, seed)).plan


# Surveys and their cache


def test_a_demo_comes_with_its_survey(demo: Opened, digits: Data, counted: list[str]) -> None:
    survey = journeys.survey_of(demo)
    assert survey.model == demo.ref and survey.arch == demo.arch.label
    assert survey.accuracy is not None and survey.calibration
    assert journeys.calibrated_survey(demo, digits) == survey
    assert counted == []


def test_a_second_opening_computes_nothing(small: Path, digits: Data, counted: list[str]) -> None:
    first = journeys.survey_of(journeys.open_network(str(small)))
    assert counted == ["survey_model"]
    again = journeys.survey_of(journeys.open_network(str(small)))
    assert counted == ["survey_model"] and again == first
    for samples, seed in ((40, 0), (40, 0), (40, 1), (50, 0)):
        journeys.calibrated_survey(journeys.open_network(str(small)), digits, samples, seed)
    assert counted == ["survey_model", "calibrate", "calibrate", "calibrate"]


def test_the_same_weights_in_another_network_are_surveyed_anew(small: Path, tmp_path: Path, counted: list[str]) -> None:
    """A copy of a file, under another name, is the same network; in the user's own code it is another."""
    copy = tmp_path / "copy.pt"
    shutil.copy(small, copy)
    known = journeys.survey_of(journeys.open_network(str(small)))
    renamed = journeys.survey_of(journeys.open_network(str(copy)))
    assert counted == ["survey_model"] and renamed.model.name == "copy.pt" and renamed.layers == known.layers
    code = tmp_path / "mine.py"
    code.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc1, self.fc2 = nn.Linear(64, 12), nn.Linear(12, 10)\n"
        "    def forward(self, x):\n"
        "        x = x.flatten(1)\n"
        "        return self.fc2(self.fc1(x)) + self.fc2(self.fc1(-x))\n"
        "def make():\n    return Net()\n"
    )
    unsaid = journeys.survey_of(journeys.open_network(str(small), user_model=f"{code}:make"))
    takes = Inputs((1, 8, 8), (0.0,), (1.0,))
    said = journeys.survey_of(journeys.open_network(str(small), user_model=f"{code}:make", inputs=takes))
    assert counted == ["survey_model"] * 3
    assert [view.positions for view in known.views] == [1, 1]
    assert [view.positions for view in unsaid.views] == [0, 0]
    assert [view.positions for view in said.views] == [2, 2]
    again = journeys.survey_of(journeys.open_network(str(small), user_model=f"{code}:make", inputs=takes))
    assert again == said and counted == ["survey_model"] * 3


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 1}', '{"schema": 1, "survey": 3}', "\x00\xff"])
def test_a_damaged_cache_is_made_anew(small: Path, cache: Path, counted: list[str], text: str) -> None:
    first = journeys.survey_of(journeys.open_network(str(small)))
    (path,) = (cache / "surveys").iterdir()
    path.write_text(text, encoding="latin-1")
    assert journeys.survey_of(journeys.open_network(str(small))) == first
    assert counted == ["survey_model"] * 2
    assert Survey.from_json(path.read_text(encoding="utf-8")).layers == first.layers


def test_a_cache_that_cannot_be_written_costs_only_time(small: Path, cache: Path, counted: list[str]) -> None:
    cache.write_text("a file where the folder should be")
    for _ in range(2):
        journeys.survey_of(journeys.open_network(str(small)))
    assert counted == ["survey_model"] * 2


def test_a_stored_demo_survey_that_is_missing_or_of_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: Opened, counted: list[str]
) -> None:
    text = (journeys.FOLDER / f"{DEMO}.survey.json").read_text(encoding="utf-8")
    monkeypatch.setattr(journeys, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="train-demo"):
        journeys.demo_survey(DEMO)
    (tmp_path / f"{DEMO}.survey.json").write_text(text.replace(demo.ref.digest, "0" * 64), encoding="utf-8")
    made = journeys.survey_of(demo)
    assert counted == ["survey_model"] and made.model == demo.ref and made.calibration == ""


def test_storing_a_demos_survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str]) -> None:
    monkeypatch.setattr(journeys, "FOLDER", tmp_path)
    monkeypatch.setattr(journeys, "CALIBRATION_SAMPLES", 40)
    path = journeys.store_demo_survey(DEMO)
    stored = journeys.demo_survey(DEMO)
    assert path.parent == tmp_path and stored.accuracy is not None and stored.accuracy.n == 500
    assert all(curve.damage for layer in stored.layers for curve in layer.curves)


def test_shipped_surveys_are_of_the_weights_they_lie_beside() -> None:
    from core.networks.demo_files import demo_info, demo_names

    for name in demo_names():
        opened, survey = journeys.open_network(name), journeys.demo_survey(name)
        assert survey.model == opened.ref and survey.arch == opened.arch.label, name
        assert survey.accuracy is not None and survey.accuracy.value == pytest.approx(demo_info(name).accuracy)
        fresh = surveying.survey_model(opened)
        assert fresh.dense == survey.dense and fresh.views == survey.views
        for old, new in zip(survey.layers, fresh.layers, strict=True):
            assert old.spectrum.S == pytest.approx(new.spectrum.S, abs=1e-9)


# Inputs


def test_calibration_inputs_are_normalised_training_images(digits: Data) -> None:
    arch = make_arch("mlp", {"widths": (64, 10)}, mean=(0.25,), std=(0.5,))
    opened = Opened(ModelRef("file", "x", "0" * 64), {}, arch, build(arch), ())
    x, words = journeys.calibration_inputs(opened, digits, 30, 4)
    raw, _ = digits.split("train", 30, 4)
    assert torch.allclose(x, (raw - 0.25) / 0.5)
    assert words == "30 training inputs of digits, no labels, seed 4"


def test_a_network_without_a_module_cannot_be_run(digits: Data, tmp_path: Path) -> None:
    opened = Opened(ModelRef("file", "odd.pt", "0" * 64), {}, None, None, (), "nothing matches")
    with pytest.raises(InputError, match=r"odd\.pt cannot be run: nothing matches;") as error:
        journeys.runnable(opened)
    assert_one_sentence(str(error.value), tmp_path)
    with pytest.raises(InputError, match="nothing matches"):
        journeys.evaluate(opened, digits)


def own(module: nn.Module, *sample: int) -> Opened:
    inputs = Inputs(sample, (0.0,) * sample[0], (1.0,) * sample[0]) if sample else None
    return Opened(ModelRef("file", "own", "1" * 64), module.state_dict(), None, module.eval(), (), "", inputs)


def test_the_users_network_needs_to_say_what_it_takes(digits: Data) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(InputError, match="--input"):
        journeys.evaluate(own(net), digits)
    with pytest.raises(InputError, match=r"\(1, 9, 9\)"):
        journeys.evaluate(own(net, 1, 9, 9), digits)
    with pytest.raises(DataError, match=r"\(1, 4, 16\)"):
        journeys.evaluate(own(net, 1, 4, 16), digits)
    assert journeys.evaluate(own(net, 1, 8, 8), digits, limit=20).dense.n == 20


def test_data_that_do_not_fit_are_one_sentence(digits: Data, tmp_path: Path) -> None:
    arch = make_arch("mlp", {"widths": (100, 10)})
    opened = Opened(ModelRef("file", "x", "0" * 64), {}, arch, build(arch), ())
    for call in (journeys.evaluate, lambda o, d: journeys.calibration_inputs(o, d, 10, 0)):
        with pytest.raises(DataError) as error:
            call(opened, digits)
        assert_one_sentence(str(error.value), tmp_path)


def test_a_network_without_classes_has_no_accuracy(digits: Data) -> None:
    arch = make_arch("autoencoder", {"widths": (64, 8)})
    opened = Opened(ModelRef("file", "x", "0" * 64), {}, arch, build(arch), ())
    with pytest.raises(InputError, match="no accuracy"):
        journeys.evaluate(opened, digits)


def test_an_unknown_model_or_architecture(tmp_path: Path, small: Path) -> None:
    with pytest.raises(CheckpointError):
        journeys.open_network(str(tmp_path / "nothing.pt"))
    with pytest.raises(CheckpointError, match="resnet20"):
        journeys.open_network(str(small), "vgg16")


# Measuring


def test_accuracy_is_what_a_loop_counts(demo: Opened, digits: Data) -> None:
    found = journeys.evaluate(demo, digits)
    assert found.compressed is None and found.gains == () and found.latency is None
    x, y = digits.split("test")
    takes = demo.takes
    right = 0
    with torch.no_grad():
        for image, label in zip(x, y, strict=True):
            scores = demo.module(((image - takes.mean[0]) / takes.std[0])[None])
            right += int(scores.argmax()) == int(label)
    assert found.dense.value == right / 500 and found.dense.n == 500
    assert found.dense.value > 0.9


def test_a_plan_is_measured_on_the_same_examples(demo: Opened, digits: Data) -> None:
    plan = half(journeys.survey_of(demo), "whitened", "sequential", "bias")
    found = journeys.evaluate(demo, digits, plan, limit=200, seed=2, stages=True, timed=True)
    assert found.compressed is not None and found.latency is not None
    assert (found.dense.n, found.dense.seed) == (found.compressed.n, found.compressed.seed) == (200, 2)
    assert [gain.step for gain in found.gains] == ["plain", "whitened", "sequential", "bias"]
    assert [name for name, _ in found.stages] == [gain.step for gain in found.gains]
    assert all(measured.n == 200 for _, measured in found.stages)
    assert found.compressed.value in [measured.value for _, measured in found.stages]
    content = journeys.as_dict(found)
    assert content["latency"]["verdict"] in ("faster", "slower", "no difference")
    assert json.loads(json.dumps(content))["dense"]["value"] == found.dense.value


def test_two_evaluations_agree(demo: Opened, digits: Data) -> None:
    plan = half(journeys.survey_of(demo), "whitened", "sequential", "bias")
    one, other = (journeys.evaluate(demo, digits, plan, limit=100) for _ in range(2))
    assert one.compressed.value == other.compressed.value
    assert [gain.distance for gain in one.gains] == [gain.distance for gain in other.gains]


def test_a_plan_without_repair_needs_no_data(demo: Opened) -> None:
    survey = journeys.survey_of(demo)
    made = journeys.compressed_network(demo, half(survey), survey, None)
    new, gains, stages = made.network, made.gains, made.stages
    assert gains == () and list(stages) == ["plain"] and stages["plain"] is new
    with pytest.raises(DataError, match="--data"):
        journeys.compressed_network(demo, half(survey, "whitened"), survey, None)


def test_a_plan_for_another_model_is_refused(demo: Opened, digits: Data) -> None:
    other = ModelRef("demo", "another", "f" * 64)
    with pytest.raises(PlanError, match="another"):
        journeys.evaluate(demo, digits, Plan(other, (LayerPlan("fc1", LowRank(2)),), Repair(())), limit=10)


def test_weights_with_nan_are_reported_and_not_fitted(small: Path, digits: Data) -> None:
    opened = journeys.open_network(str(small))
    with torch.no_grad():
        opened.module.fc2.weight[0, 0] = math.nan
    with pytest.raises(InputError, match="NaN"):
        journeys.calibrated_survey(opened, digits, 20)
    assert journeys.evaluate(opened, digits, limit=20).dense.value == 0.0


# Handing on


def test_an_export_is_read_back_and_measured(demo: Opened, digits: Data, tmp_path: Path) -> None:
    plan = half(journeys.survey_of(demo), "whitened")
    check = journeys.export(demo, plan, digits, tmp_path / "bundle", limit=50)
    assert check.max_difference <= 1e-5
    names = {path.name for path in (tmp_path / "bundle").iterdir()}
    assert {"model.safetensors", "plan.json", "report.html"} <= names
    assert Plan.from_json((tmp_path / "bundle" / "plan.json").read_text()) == plan
    report = (tmp_path / "bundle" / "report.html").read_text()
    assert "Passes: 60, samples a pass: 1" in report, "latency is measured"


def test_an_export_without_data_checks_outputs_on_noise(demo: Opened, tmp_path: Path) -> None:
    check = journeys.export(demo, half(journeys.survey_of(demo)), None, tmp_path / "bundle")
    assert check.max_difference <= 1e-5


def test_the_ledger_is_plain_values(demo: Opened) -> None:
    survey = journeys.survey_of(demo)
    content = json.loads(json.dumps(journeys.summary(survey)))
    assert [row["layer"] for row in content["layers"]] == [view.name for view in survey.views]
    params = sum(row["cost"]["params"] for row in content["layers"]) + content["rest"]["params"]
    assert params == content["dense"]["params"] == sum(t.numel() for t in demo.state.values())
    for row in content["layers"]:
        assert row["compressible"] == (row["obstacle"] == "")
        assert len(row["singular_values"]) == min(row["m"], row["n"])
