"""A recovery: that a plan really gets better by training, that before, after and bundle belong together."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from core import journeys
from core.compression.allocate import Budget, allocate
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError
from core.jobs.driver import measured_of
from core.jobs.records import Point
from core.jobs.recoveries import RecoverySpec, about_point, recovery_run
from core.jobs.sweeps import SweepSpec, points_of, tradeoff_points
from core.jobs.tasks import perform
from core.networks.forms import LowRankSparse, Sparse
from core.training.recover_spec import RecoverSpec


@pytest.fixture(scope="module")
def survey() -> Survey:
    return journeys.demo_survey("digits-mlp")


def spec_of(survey: Survey, keep: float, **more: Any) -> RecoverySpec:
    plan = allocate(survey, Budget.keep(survey, keep, "macs")).plan
    spec = SweepSpec("digits-mlp", "digits-mlp", survey.model.digest, "digits", keeps=(keep,))
    ((key, request),) = points_of(spec, survey)
    (point,) = tradeoff_points([Point("r", key, request)])
    training = RecoverSpec(epochs=6, lr=3e-3)
    return RecoverySpec(
        "digits-mlp", "digits-mlp", survey.model.digest, "digits", plan.to_json(), about_point(point),
        **{"training": training, **more},
    )  # fmt: skip


def test_a_plan_that_lost_much_gets_most_of_it_back(survey: Survey, tmp_path: Path) -> None:
    run, ((key, request),) = recovery_run(spec_of(survey, 0.06, out=str(tmp_path)))
    result = json.loads(json.dumps(perform(request)))
    before, after, dense = (result[name]["value"] for name in ("before", "after", "dense"))
    assert dense > 0.97 and before < 0.85 and after > before + 0.05, (before, after)
    assert [log["epoch"] for log in result["curve"]] == list(range(len(result["curve"])))
    made = measured_of("recover", result)
    assert (made["accuracy"].value, made["accuracy_before"].value, made["accuracy_dense"].value) == (
        after,
        before,
        dense,
    )
    (point,) = tradeoff_points([Point(run.id, key, request, "done", result=result)])
    assert point.before == made["accuracy_before"] and point.accuracy == made["accuracy"] and point.repair == "trained"
    assert point.plan == request["plan"] and result["bundle"]["ok"]
    folder = tmp_path / run.id / "bundle"
    loader = next(folder.glob("*.py"))
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import {loader.stem}"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60).returncode == 0


def test_masks_stay_masks_in_training(survey: Survey, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    name = survey.views[0].name
    plan = Plan(survey.model).with_form(name, Sparse(1000))
    spec = replace(
        spec_of(survey, 0.3), plan=plan.to_json(), out=str(tmp_path), training=RecoverSpec(epochs=1), timed=True
    )
    run, ((_, request),) = recovery_run(spec)
    told: list[dict[str, Any]] = []
    result = perform(request, found=told.append)
    assert [len(so_far["curve"]) for so_far in told] == [1, 2] and told[-1]["curve"] == list(result["curve"])
    made = measured_of("recover", json.loads(json.dumps(result)))
    assert made["latency_ms"].value > 0 and made["latency_dense_ms"].n == result["latency"]["repeats"]
    weights = load_file(tmp_path / run.id / "bundle" / "model.safetensors")
    sizes = [int((t != 0).sum()) for key, t in weights.items() if key.startswith(name) and t.ndim == 2]
    assert sizes == [1000]


def test_training_leaves_the_zeros_beside_two_factors_alone(survey: Survey, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    name = survey.views[0].name
    plan = Plan(survey.model).with_form(name, LowRankSparse(2, 500))
    spec = replace(spec_of(survey, 0.3), plan=plan.to_json(), out=str(tmp_path), training=RecoverSpec(epochs=1))
    run, ((_, request),) = recovery_run(spec)
    perform(request)
    weights = load_file(tmp_path / run.id / "bundle" / "model.safetensors")
    assert int((weights[f"{name}.sparse.weight"] != 0).sum()) == 500
    assert bool((weights[f"{name}.low_rank.first.weight"] != 0).all())


def test_equal_recoveries_are_one_run_and_other_rates_are_others(survey: Survey) -> None:
    one = spec_of(survey, 0.3)
    assert recovery_run(one)[0].id == recovery_run(replace(one))[0].id
    other, _ = recovery_run(replace(one, training=RecoverSpec(lr=1e-4)))
    assert other.id != recovery_run(one)[0].id and "rate 0.0001" in other.title and other.kind == "recover"
    assert RecoverSpec(**other.spec["training"]) == RecoverSpec(lr=1e-4) and asdict(RecoverSpec())["seed"] == 0


def test_a_training_that_cannot_be_run_is_one_sentence(survey: Survey) -> None:
    with pytest.raises(InputError, match="rate in"):
        recovery_run(spec_of(survey, 0.3, training=RecoverSpec(lr=-1.0)))
