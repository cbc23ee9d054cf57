"""The measured number on the Tune page, without a browser: what stands there before, while and after a job measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core import journeys
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.networks.forms import LowRank
from core.provenance import Measurement, Provenance
from tests.app import pages

NBSP = "\u00a0"
MEASURE = "Measure accuracy and latency"
NOT_YET = {"Accuracy": ("not measured", "press Measure")}
Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def mlp() -> Survey:
    """A demo on the digits, small enough to be measured unasked."""
    return journeys.demo_survey("digits-mlp")


@pytest.fixture(scope="module")
def other(mlp: Survey) -> Survey:
    """The same network on inputs that the digits are not, so that nothing is measured unasked."""
    return replace(mlp, input_shape=(3, 32, 32), accuracy=None)


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    """open_page(survey, plan, **query) -> the page on that survey and plan."""
    return partial(pages.opened, monkeypatch, "tune")


def plan_of(survey: Survey, rank: int) -> Plan:
    return Plan(survey.model).with_form("fc2", LowRank(rank))


def measured(value: float, spread: float = 0.011, n: int = 432) -> dict[str, Any]:
    made = Provenance("2026-01-02T03:04Z", ("python 3.11", "torch 2"), "cpu", 2, "on a bench")
    return asdict(Measurement("accuracy on digits", value, spread, n, 7, made))


def answer(value: float, full: bool = False) -> dict[str, Any]:
    """What a job returns: accuracy, and in full also after two steps of the repair, with latencies."""
    found = {"dense": measured(0.95), "compressed": measured(value), "gains": [], "stages": [], "latency": None}
    if full:
        found["stages"] = [["plain", measured(value - 0.1)], ["whitened", measured(value)]]
        found["gains"] = [
            {"step": step, "distance": distance, "kept": True, "seconds": 0.1}
            for step, distance in (("plain", 0.4), ("whitened", 0.2))
        ]
        times = {"dense": [1.0, 1.1, 1.2, 1.3], "compressed": [0.5, 0.6, 0.7, 0.8], "again": [1.0, 1.1, 1.2, 1.3]}
        found["latency"] = {**times, "repeats": 60, "ratio": 0.58, "noise": 0.02, "verdict": "faster"}
    return found


def accuracy(page: AppTest) -> dict[str, tuple[str, str]]:
    """The fourth number, by its label."""
    label, shown = list(pages.metrics(page).items())[3]
    return {label: shown}


def drag(page: AppTest, level: int, seq: int) -> AppTest:
    return pages.send(page, "bars", kind="edit", layer="fc2", family=0, level=level, seq=seq)


def figures(page: AppTest) -> set[str]:
    return {chart.key.rpartition("-")[2] for chart in page.get("plotly_chart")}


def test_nothing_is_measured_until_it_is_asked_for(open_page: Open, bench: Any, other: Survey) -> None:
    page = open_page(other, plan_of(other, 20))
    assert accuracy(page) == NOT_YET and bench.asked == []
    assert any("not measured for this plan: press Measure" in info.value for info in page.info)
    assert figures(page) == {"cost"}


def test_the_button_asks_for_this_plan_in_full_and_once(open_page: Open, bench: Any, other: Survey) -> None:
    page = pages.press(open_page(other, plan_of(other, 20)), MEASURE)
    (job,) = bench.asked
    request = dict(job.request)
    assert Plan.from_json(request.pop("plan")) == plan_of(other, 20)
    assert request == {
        "do": "evaluate",
        "model": "digits-mlp",
        "arch": "",
        "data": "digits",
        "stages": True,
        "timed": True,
    }
    assert "Measuring" in page.get("progress")[0].proto.text and accuracy(page) == NOT_YET
    pages.press(page, MEASURE)
    assert len(bench.asked) == 1


def test_a_measured_number_stands_with_its_spread_and_how_many(open_page: Open, bench: Any, other: Survey) -> None:
    page = pages.press(open_page(other, plan_of(other, 20)), MEASURE)
    bench.end(answer(0.9125, full=True))
    pages.run(page)
    assert accuracy(page) == {"Accuracy, measured": (f"91.2{NBSP}%", f"± 1.1{NBSP}%, n = 432")}
    assert figures(page) == {"cost", "repair", "latency"} and not page.get("progress")
    (caption,) = [words for words in page.markdown if "on a bench" in words.value]
    for part in ("accuracy on digits", "n = 432", "seed 7", "on a bench", "cpu, 2 threads", "torch 2", "2026-01-02"):
        assert part in caption.value


def test_an_edit_makes_the_number_out_of_date_and_undo_brings_it_back(
    open_page: Open, bench: Any, other: Survey
) -> None:
    page = pages.press(open_page(other, plan_of(other, 20)), MEASURE)
    bench.end(answer(0.75, full=True))
    pages.run(page)
    assert accuracy(drag(page, 21, 1)) == NOT_YET and figures(page) == {"cost"}
    pages.press(page, "Undo")
    assert accuracy(page)["Accuracy, measured"][0] == f"75.0{NBSP}%" and "repair" in figures(page)
    assert len(bench.asked) == 1


def test_a_job_that_fails_says_why_and_can_be_tried_again(open_page: Open, bench: Any, other: Survey) -> None:
    page = pages.press(open_page(other, plan_of(other, 20)), MEASURE)
    bench.end(error="The data are gone; open them again.")
    pages.run(page)
    assert [notice.value for notice in page.warning] == [r"The data are gone; open them again\."]
    assert accuracy(page) == NOT_YET and not page.get("progress")
    pages.press(page, MEASURE)
    assert len(bench.asked) == 2


def test_data_that_is_gone_is_a_sentence_and_no_job(open_page: Open, bench: Any, other: Survey) -> None:
    page = pages.press(open_page(other, plan_of(other, 20), data="upload:00/gone.npz"), MEASURE)
    assert bench.asked == [] and "is not there any more" in page.warning[0].value


def test_the_dense_network_has_the_accuracy_it_came_with(open_page: Open, bench: Any, mlp: Survey) -> None:
    came = replace(mlp.accuracy, value=0.876, spread=0.02, n=321)
    page = open_page(replace(mlp, accuracy=came))
    assert accuracy(page) == {"Accuracy, dense": (f"87.6{NBSP}%", f"± 2.0{NBSP}%, n = 321")}
    assert bench.asked == []


def test_a_dense_network_without_one_can_be_measured(open_page: Open, bench: Any, other: Survey) -> None:
    page = open_page(other)
    assert accuracy(page) == {"Accuracy, dense": ("not measured", "")}
    pages.press(page, MEASURE)
    assert Plan.from_json(bench.asked[0].request["plan"]).layers == ()
    bench.end(answer(0.95))
    assert accuracy(pages.run(page)) == {"Accuracy, dense": (f"95.0{NBSP}%", f"± 1.1{NBSP}%, n = 432")}


def test_a_small_network_on_the_digits_is_measured_unasked(open_page: Open, bench: Any, mlp: Survey) -> None:
    page = drag(open_page(mlp), 20, 1)
    (job,) = bench.asked
    assert Plan.from_json(job.request["plan"]) == plan_of(mlp, 20)
    assert (job.request["stages"], job.request["timed"]) == (False, False)
    assert accuracy(page)["Accuracy"][0] == "measuring"
    bench.end(answer(0.9))
    pages.run(page)
    assert accuracy(page) == {"Accuracy, measured": (f"90.0{NBSP}%", f"± 1.1{NBSP}%, n = 432")}
    assert figures(page) == {"cost"} and len(bench.asked) == 1, "steps of the repair are for the button"


def test_a_drag_withdraws_what_has_not_begun_and_measures_the_new_plan(
    open_page: Open, bench: Any, mlp: Survey
) -> None:
    page = drag(drag(open_page(mlp), 20, 1), 30, 2)
    first, second = bench.asked
    assert (first.state, second.state) == ("cancelled", "queued")
    assert Plan.from_json(second.request["plan"]) == plan_of(mlp, 30)
    second.state = "running"
    drag(page, 40, 3)
    assert [job.state for job in bench.asked] == ["cancelled", "running", "queued"]


def test_what_failed_unasked_is_told_once_and_not_tried_again(open_page: Open, bench: Any, mlp: Survey) -> None:
    page = drag(open_page(mlp), 20, 1)
    bench.end(error="This needs more memory.")
    for _ in range(2):
        pages.run(page)
        assert [notice.value for notice in page.warning] == [r"This needs more memory\."]
    pages.press(page, "Dismiss")
    assert not pages.run(page).warning and len(bench.asked) == 1 and accuracy(page) == NOT_YET


@pytest.mark.parametrize("change", [{"input_shape": (3, 8, 8)}, {"num_classes": 100}])
def test_what_does_not_fit_the_digits_is_not_measured_unasked(
    open_page: Open, bench: Any, mlp: Survey, change: dict[str, Any]
) -> None:
    page = drag(open_page(replace(mlp, **change)), 20, 1)
    assert bench.asked == [] and accuracy(page) == NOT_YET


def test_a_large_network_is_not_measured_unasked(open_page: Open, bench: Any, mlp: Survey) -> None:
    views = [replace(layer.view, positions=100) for layer in mlp.layers]
    large = tuple(replace(layer, view=view) for layer, view in zip(mlp.layers, views, strict=True))
    page = drag(open_page(replace(mlp, layers=large)), 20, 1)
    assert bench.asked == [] and accuracy(page) == NOT_YET
