"""The page Initialisation without a browser: jobs asked for at once, figures of their answers, and empty states."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.compression.survey import Survey
from tests.app import pages

Open = Callable[..., AppTest]

CURVES = {
    "layer": "fc1", "objective": "relu", "context": "a ReLU follows", "at": [0, 1, 2], "none": [1.0, 0.5, 0.0],
    "optimal": [1.0, 0.45, 0.0], "norm": [1.0, 0.6, 0.0], "low": [0.84, 0.42, 0.0], "high": [1.0, 0.5, 0.0],
    "projected": [[1, 0.44]], "note": "",
}  # fmt: skip
ROW = {"layer": "fc1", "rank": 16, "objective": "relu", "words": "a ReLU follows", "method": "rescaled", "loss": 0.2}
START = {
    "layers": [
        {**ROW, "spectral": 0.25, "skipped": ""},
        {**ROW, "layer": "fc3", "rank": 0, "loss": 0.0, "spectral": 0.0, "skipped": "the last layer tells the classes"},
    ],
    "before": 51466,
    "after": 20000,
}


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    return partial(pages.opened, monkeypatch, "initialisation")


def test_both_jobs_are_asked_for_and_their_answers_are_drawn(open_page: Open, bench: Any, mlp: Survey) -> None:
    page = open_page(mlp)
    asked = {job.request["do"]: job.request for job in bench.asked}
    assert set(asked) == {"function_curves", "network_start"} and len(page.get("progress")) == 2
    assert asked["function_curves"]["layer"] == mlp.views[0].name and asked["network_start"]["fraction"] == 0.25
    bench.end(CURVES, index=0)
    bench.end(START, index=1)
    pages.run(page)
    (figure,) = [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]
    names = [trace["name"] for trace in figure["data"]]
    assert names == [
        "where the best of this rank lies", "truncated", "rows rescaled", "rows at their norm", "searched row space",
    ]  # fmt: skip
    assert figure["data"][2]["y"] == [100, 45, 0] and "function" in figure["layout"]["yaxis"]["title"]["text"]
    shown = pages.metrics(page)
    assert shown["Parameters"] == ("20,000", "51,466 dense") and shown["Layers in factors"][0] == "1 of 2"
    assert shown["Function lost, mean of layers"][1] == "truncated SVD 25.0\u00a0%"
    table = next(frame.value for frame in page.dataframe if "stays dense because" in frame.value.columns)
    assert list(table["stays dense because"])[1].startswith("the last layer")


def test_another_layer_is_another_job_and_an_error_is_one_sentence(open_page: Open, bench: Any, mlp: Survey) -> None:
    page = open_page(mlp)
    page.selectbox[0].set_value(mlp.views[1].name).run()
    assert [j.request["layer"] for j in bench.asked if j.request["do"] == "function_curves"][-1] == mlp.views[1].name


def test_weights_alone_have_no_function(open_page: Open, mlp: Survey) -> None:
    page = open_page(replace(mlp, reason="its architecture is not recognised"))
    assert "cannot be run: its architecture is not recognised" in page.info[0].value.replace("\\", "")
    assert not page.get("plotly_chart") and not page.selectbox
