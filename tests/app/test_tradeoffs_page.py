"""The Trade-offs and Runs pages without a browser, on a database of their own that the tests fill."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import services, tradeoff_panels
from core import journeys
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.jobs import launch
from core.jobs.records import Run
from core.jobs.store import Store
from core.jobs.sweeps import spec_of
from core.networks.forms import LowRank
from tests.app import pages
from tests.surveys import REF, linear_layer
from tests.surveys import survey as made_of
from tests.sweeps import filled, result, sensed

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def mlp() -> Survey:
    return journeys.demo_survey("digits-mlp")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs whose driver would have been started."""
    ids: list[str] = []
    monkeypatch.setattr(launch, "launch", ids.append)
    return ids


@pytest.fixture
def store(bench: Any) -> Iterator[Store]:
    """The database of the pages, in a folder of this test."""
    services.store.clear()
    made = services.store()
    yield made
    made.close()
    services.store.clear()


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, store: Store, launched: list[str]) -> Open:
    """open_page(name, survey, plan, **query) -> the page on that survey."""
    return partial(pages.opened, monkeypatch)


def figures(page: AppTest) -> dict[str, Any]:
    return {chart.proto.id.rpartition("-")[2]: json.loads(chart.proto.spec) for chart in page.get("plotly_chart")}


def keys_drawn(page: AppTest) -> list[str]:
    (figure,) = [json.loads(c.proto.spec) for c in page.get("plotly_chart") if "tradeoff-figure" in c.proto.id]
    return [key for trace in figure["data"] if trace.get("customdata") for key in trace["customdata"]]


def test_an_empty_page_says_what_to_do_and_offers_a_sweep(open_page: Open, mlp: Survey) -> None:
    page = open_page("tradeoffs", mlp)
    assert "No configuration of this model is measured" in page.info[0].value and not page.get("plotly_chart")
    assert page.expander[0].label == "Explore" and page.expander[0].proto.expanded


def test_explore_starts_one_run_with_what_was_chosen(
    open_page: Open, mlp: Survey, store: Store, launched: list[str]
) -> None:
    plan = Plan(mlp.model).with_form(mlp.views[0].name, LowRank(9))
    page = open_page("tradeoffs", mlp, plan, lock=mlp.views[0].name)
    next(box for box in page.number_input if box.label.startswith("Least share")).set_value(5)
    pages.press(page, "Explore")
    (run,) = store.runs()
    asked = spec_of(run)
    assert launched == [run.id] and run.state == "queued"
    assert (asked.model, asked.data, asked.digest) == ("digits-mlp", "digits", mlp.model.digest)
    assert asked.methods == ("greedy",) and asked.families == ("factored",) and asked.timed and asked.limit is None
    assert asked.pins == {mlp.views[0].name: {"family": "lowrank", "rank": 9}}
    assert asked.floors == {view.name: 0.05 for view in mlp.views}
    assert any("waiting to start" in bar.proto.text for bar in page.get("progress"))
    pages.press(page, "Explore")
    assert len(store.runs()) == 1, "the same sweep is the same run"


def test_a_sweep_of_nothing_is_one_sentence(open_page: Open, mlp: Survey, store: Store) -> None:
    page = open_page("tradeoffs", mlp)
    next(box for box in page.multiselect if box.label == "Forms").set_value([])
    pages.press(page, "Explore")
    assert "needs a budget, a method, a family" in page.warning[0].value.replace("\\", "") and store.runs() == []


def test_points_are_drawn_as_they_come_and_the_rest_is_counted(open_page: Open, mlp: Survey, store: Store) -> None:
    id = filled(store, mlp, (0.7, None, None))
    store.claim(id, "driver")
    page = open_page("tradeoffs", mlp)
    assert len(keys_drawn(page)) == 1
    assert any("1 measured, 2 not measured" in words.value for words in page.markdown)
    (bar,) = page.get("progress")
    assert "1 of 3 points, about 3 s left" in bar.proto.text and bar.proto.value == 33
    for point in store.points(id, "waiting"):
        store.put_result(id, point.key, result(0.8), {}, 3.0, "w")
    pages.run(page)
    assert len(keys_drawn(page)) == 3


def test_the_readout_is_the_smallest_point_within_the_loss(open_page: Open, mlp: Survey, store: Store) -> None:
    filled(store, mlp)
    page = open_page("tradeoffs", mlp)
    assert "Smallest with at most 1 point lost" in pages.words(page)
    page.number_input(key="tradeoff-lost").set_value(0.0)
    pages.run(page)
    assert "No measured point has at most 0 points lost" in pages.words(page)


def test_a_point_in_hand_shows_its_numbers_and_loads_into_tune(open_page: Open, mlp: Survey, store: Store) -> None:
    id = filled(store, mlp)
    before = Plan(mlp.model).with_form(mlp.views[1].name, LowRank(3))
    page = open_page("tradeoffs", mlp, before)
    pages.press(page, "Take it in hand")
    wanted = Plan.from_json(store.points(id)[2].request["plan"])
    shown = pages.metrics(page)
    assert shown["Accuracy, measured"] == ("89.5\u00a0%", "± 1.0\u00a0%, n = 500")
    assert shown["Latency, measured"][0] == "1 ms" and shown["Latency, measured"][1].startswith("dense 2 ms")
    pages.press(page, "Load into Tune")
    assert pages.now(page).plan == wanted
    page.switch_page("app/pages/tune.py")
    pages.run(page)
    assert pages.now(pages.press(page, "Undo")).plan == before


def test_a_point_can_be_trained_as_a_run_and_its_curve_is_shown(
    open_page: Open, mlp: Survey, store: Store, launched: list[str]
) -> None:
    id = filled(store, mlp)
    page = open_page("tradeoffs", mlp)
    pages.press(page, "Take it in hand")
    next(box for box in page.number_input if box.label == "Epochs at most").set_value(4)
    next(box for box in page.number_input if box.label == "Stop after").set_value(0)
    next(box for box in page.selectbox if box.label == "Schedule").set_value("constant")
    pages.press(page, "Train")
    (run,) = store.runs("recover")
    (point,) = store.points(run.id)
    assert launched == [run.id] and point.request["do"] == "recover" and point.request["training"]["epochs"] == 4
    assert (point.request["training"]["schedule"], point.request["training"]["patience"]) == ("constant", 0)
    assert point.request["plan"] == store.points(id)[2].request["plan"] and point.request["limit"] == 500
    log = {"loss": 0.5, "lr": 0.001, "seconds": 1.0}
    curve = [{**log, "epoch": i, "held_out": 0.9 + 0.01 * i, "best": True} for i in range(3)]
    found = {**result(0.92), "latency": None, "before": result(0.88)["compressed"], "curve": curve, "bundle": None}
    store.put_result(run.id, point.key, found, {}, 9.0, "w")
    store.set_state(run.id, "done")
    page.session_state[tradeoff_panels.CHOSEN] = [point.key]
    pages.run(page)
    assert pages.metrics(page)["Accuracy, measured"][1].endswith("88.0\u00a0% before training")
    assert any("recovery" in chart.proto.id for chart in page.get("plotly_chart"))
    drawn = next(json.loads(c.proto.spec) for c in page.get("plotly_chart") if "tradeoff-figure" in c.proto.id)
    assert [a["ay"] for a in drawn["layout"]["annotations"] if a.get("showarrow")] == pytest.approx([88.0])


def test_a_training_under_way_shows_its_curve_and_how_far_it_is(open_page: Open, mlp: Survey, store: Store) -> None:
    run = store.add_run(
        Run.new("recover", "a training", "digits-mlp", mlp.model.digest, {"data": "digits"}), [("p", {})]
    )
    store.claim(run.id, "driver")
    page = open_page("runs", mlp)
    assert not any("recovery" in chart.proto.id for chart in page.get("plotly_chart"))
    logs = [
        {"epoch": i, "loss": 1.0, "held_out": 0.5 + 0.1 * i, "lr": 1e-3, "seconds": 1.0, "best": True} for i in range(3)
    ]
    store.set_progress(run.id, "p", {"step": ["training, epoch", 2, 8], "found": {"curve": logs}})
    pages.run(page)
    (bar,) = page.get("progress")
    assert bar.proto.value == 25 and "training, epoch 2 of 8" in bar.proto.text
    drawn = next(json.loads(c.proto.spec) for c in page.get("plotly_chart") if "recovery" in c.proto.id)
    assert drawn["data"][0]["y"] == pytest.approx([50, 60, 70])
    assert any("best: epoch 2" in note["text"] for note in drawn["layout"]["annotations"])
    store.set_state(run.id, "cancelled")
    page.session_state["runs-table"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    pages.run(page)
    kept = next(json.loads(c.proto.spec) for c in page.get("plotly_chart") if "recovery" in c.proto.id)
    assert any("best: epoch 2" in note["text"] for note in kept["layout"]["annotations"]), "stopping keeps the curve"


def test_sensitivity_is_a_run_whose_layers_appear_as_they_come(
    open_page: Open, mlp: Survey, store: Store, launched: list[str]
) -> None:
    page = open_page("tradeoffs", mlp)
    page.button_group(key="tradeoff-all").set_value("Sensitivity of layers").run()
    pages.press(page, "Measure sensitivity")
    (run,) = store.runs("sensitivity")
    assert launched == [run.id] and [p.request["layer"] for p in store.points(run.id)] == [v.name for v in mlp.views]
    lists = {"at": [1, 5, 9], "damage": [0.5, 0.1, 0.01], "distance": [0.5, 0.2, 0.1], "accuracy": [0.5, 0.9, 0.97]}
    for point in store.points(run.id)[:2]:
        one = {"layer": point.request["layer"], "family": "lowrank", **lists, "output": [0.9, 0.4, 0.1], "samples": 256}
        store.put_result(run.id, point.key, {"found": [{**one, "fit": "whitened", "note": ""}]}, {}, 1.0, "w")
    store.claim(run.id, "driver")
    pages.run(page)
    assert any("2 of 3 points" in bar.proto.text for bar in page.get("progress"))
    drawn = next(json.loads(c.proto.spec) for c in page.get("plotly_chart") if "sensitivity" in c.proto.id)
    assert [trace["name"] for trace in drawn["data"]] == [view.name for view in mlp.views[:2]]
    assert any("score" in frame.value.columns for frame in page.dataframe)


def test_joint_damage_is_measured_of_the_plans_there_are(
    open_page: Open, mlp: Survey, store: Store, launched: list[str]
) -> None:
    filled(store, mlp)
    measured = sensed(store, mlp)
    page = open_page("tradeoffs", mlp)
    assert any(toggle.label == "Allocate by measured damage" for toggle in page.toggle)
    page.button_group(key="tradeoff-all").set_value("Sensitivity of layers").run()
    pages.press(page, "Measure the joint damage of 3 plans")
    (asked,) = store.runs("additivity")
    tried = store.points(asked.id)
    assert asked.spec["sensitivity"] == measured and launched[-1] == asked.id and len(tried) == 3
    for i, point in enumerate(tried):
        store.put_result(asked.id, point.key, {"joint": (0.1, 50.0, 0.2)[i]}, {}, 1.0, "w")
    store.set_state(asked.id, "done")
    pages.run(page)
    drawn = next(json.loads(c.proto.spec) for c in page.get("plotly_chart") if "additivity" in c.proto.id)
    assert sum(len(trace["x"]) for trace in drawn["data"] if trace.get("mode") == "markers") == 3
    assert any("50" in warning.value and "more by over 2 times" in warning.value for warning in page.warning)
    assert not any("joint damage" in button.label for button in page.button), "all plans are tried"


def test_several_points_are_compared_layer_by_layer(open_page: Open, mlp: Survey, store: Store) -> None:
    id = filled(store, mlp)
    page = open_page("tradeoffs", mlp)
    page.session_state[tradeoff_panels.CHOSEN] = [point.key for point in store.points(id)[:2]]
    pages.run(page)
    assert "2 plans, layer by layer" in pages.words(page)
    compared = next(json.loads(c.proto.spec) for c in page.get("plotly_chart") if "compared" in c.proto.id)
    assert len(compared["data"]) == 2 and compared["data"][0]["y"] == [view.name for view in mlp.views]


def test_points_of_other_weights_stay_away(open_page: Open, mlp: Survey, store: Store) -> None:
    filled(store, mlp)
    other = made_of([linear_layer("fc1", 6, 4, (4.0, 2.0, 2.0, 1.0))])
    page = open_page("tradeoffs", other)
    assert not page.get("plotly_chart") and REF.digest != mlp.model.digest


def test_weights_alone_have_no_trade_off(open_page: Open, mlp: Survey) -> None:
    from dataclasses import replace

    page = open_page("tradeoffs", replace(mlp, reason="its architecture is not recognised"))
    assert "cannot be run: its architecture is not recognised" in page.info[0].value.replace("\\", "")
    assert not page.expander


def test_a_database_that_cannot_be_opened_is_one_sentence(
    open_page: Open, mlp: Survey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "junk.db").write_bytes(b"no database at all" * 100)
    monkeypatch.setenv("RANKSCOPE_DATABASE_URL", f"sqlite:///{tmp_path / 'junk.db'}")
    services.store.clear()
    for name in ("tradeoffs", "runs"):
        page = open_page(name, mlp)
        assert len(page.error) == 1 and str(tmp_path) not in page.error[0].value


def test_runs_are_listed_and_one_can_be_seen_tried_again_and_forgotten(
    open_page: Open, mlp: Survey, store: Store, launched: list[str]
) -> None:
    page = open_page("runs", mlp)
    assert "No run yet" in page.info[0].value
    id = filled(store, mlp, (0.7, 0.8, None))
    store.put_error(id, store.points(id)[2].key, "It ran out of memory; use fewer data.", "w")
    store.set_state(id, "done")
    pages.run(page)
    table = page.dataframe[0].value
    assert list(table["state"]) == ["done"] and list(table["failed"]) == [1] and list(table["id"]) == [id]
    page.session_state["runs-table"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    pages.run(page)
    assert any("ran out of memory" in warning.value for warning in page.warning)
    pages.press(page, "Try failed points again")
    assert launched == [id] and store.points(id, "failed") == []
    store.set_state(id, "done")
    pages.run(page)
    pages.press(page, "Forget this run")
    assert store.runs() == []


def test_runs_that_are_ticked_are_compared_in_one_figure(open_page: Open, mlp: Survey, store: Store) -> None:
    filled(store, mlp, (0.7, 0.8, 0.9))
    filled(store, mlp, (0.5, 0.6, 0.7), repairs=("none",))
    sensed(store, mlp)
    page = open_page("runs", mlp)
    kinds = list(page.dataframe[0].value["kind"])
    page.session_state["runs-table"] = {"selection": {"rows": [0, 1, 2], "columns": [], "cells": []}}
    pages.run(page)
    (figure,) = [json.loads(c.proto.spec) for c in page.get("plotly_chart") if "rankscope-runs" in c.proto.id]
    assert sorted(kinds) == ["sensitivity", "sweep", "sweep"]
    drawn = {trace["name"][0]: sorted(trace["y"]) for trace in figure["data"]}
    assert sorted(drawn.values()) == [pytest.approx([50, 60, 70]), pytest.approx([70, 80, 90])]
    assert sorted(figure["data"][0]["x"]) == pytest.approx(
        sorted(
            100 * p.request["about"]["cost"]["macs"] / mlp.dense.macs for p in store.points(store.runs("sweep")[0].id)
        )
    )
    twin = next(frame.value for frame in page.dataframe if "within 1 point" in frame.value.columns)
    assert list(twin["measured"]) == [3, 3]
    best = dict(zip(twin["best"], twin["within 1 point"], strict=True))
    assert best[0.9] == pytest.approx(0.6, abs=0.05) and best[0.7] != best[0.7], "none is within a point"
    page.button_group(key="runs-against").set_value("params").run()
    assert "".join(page.query_params["beside"]) == "params"


def test_an_interrupted_run_says_so_and_can_go_on(
    open_page: Open, mlp: Survey, store: Store, launched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    id = filled(store, mlp, (0.7, None, None))
    store.claim(id, "driver", seconds=-1000)
    page = open_page("runs", mlp)
    assert any("interrupted" in bar.proto.text for bar in page.get("progress"))
    pages.press(page, "Go on")
    assert launched == [id]
    found = store.run(id)
    assert found is not None and found.state == "queued"


def test_cancel_is_asked_of_the_driver(open_page: Open, mlp: Survey, store: Store) -> None:
    id = filled(store, mlp, (0.7, None, None))
    store.claim(id, "driver")
    page = open_page("runs", mlp)
    pages.press(page, "Cancel")
    found = store.run(id)
    assert found is not None and found.state == "cancelling"


def test_a_link_opens_the_plot_as_it_was_seen(open_page: Open, mlp: Survey, store: Store) -> None:
    filled(store, mlp)
    page = open_page("tradeoffs", mlp, axis="latency", colour="method")
    assert page.button_group(key="tradeoff-axis").value == "latency"
    (figure,) = [json.loads(c.proto.spec) for c in page.get("plotly_chart") if "tradeoff-figure" in c.proto.id]
    assert "ms" in figure["layout"]["xaxis"]["title"]["text"]
    assert "greedy" in {trace["name"] for trace in figure["data"]}
    page.button_group(key="tradeoff-axis").set_value("params")
    page.button_group(key="tradeoff-by").set_value("families").run()
    pages.sound(page)
    assert "params" in page.query_params["axis"] and "colour" not in page.query_params


def test_points_in_hand_and_the_loss_allowed_travel_with_the_link(open_page: Open, mlp: Survey, store: Store) -> None:
    id = filled(store, mlp)
    keys = [point.key for point in store.points(id)]
    page = open_page("tradeoffs", mlp, hand=keys[1], lost="2.5", more="parallel")
    assert any(button.label == "Load into Tune" for button in page.button)
    (lost,) = [field for field in page.number_input if field.key == "tradeoff-lost"]
    assert lost.value == 2.5 and page.button_group(key="tradeoff-all").value == "Parallel coordinates"
    lost.set_value(3.0).run()
    pages.press(page, "Put down")
    assert "".join(page.query_params["lost"]) == "3" and "hand" not in page.query_params
    assert "".join(page.query_params["more"]) == "parallel"
    away = open_page("tradeoffs", mlp, hand="0" * 16)
    assert not any(button.label == "Load into Tune" for button in away.button), "a point of somebody else's database"
