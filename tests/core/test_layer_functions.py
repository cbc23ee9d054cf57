"""Curves of a layer's function and a network's start, on the embedded demos, as the worker makes them."""

from __future__ import annotations

import json

import pytest

from core import journeys
from core.errors import InputError
from core.jobs.tasks import perform
from core.networks.modules import matrix
from core.numerics.inits import lowrank_init
from core.numerics.relu import layer_loss

MODEL = "digits-resnet"


def curves(layer: str, objective: str = "", model: str = MODEL) -> dict[str, object]:
    asked = {"do": "function_curves", "model": model, "layer": layer, "objective": objective}
    return json.loads(json.dumps(perform(asked)))  # type: ignore[no-any-return]


def test_the_curves_are_the_losses_of_factors_of_that_rank() -> None:
    made = curves("layer1.0.conv1", "relu")
    opened = journeys.open_network(MODEL)
    (view,) = [v for v in journeys.survey_of(opened).views if v.name == "layer1.0.conv1"]
    assert opened.module is not None
    W = matrix(opened.module.get_submodule(view.name), view).double()
    for rank in (1, 5, 12):
        for scale in ("none", "optimal", "norm"):
            A, B = lowrank_init(W, rank, "rescaled", "relu", scale)
            assert made[scale][rank] == pytest.approx(layer_loss(W, A @ B), rel=1e-6)  # type: ignore[index]
        assert made["low"][rank] <= made["optimal"][rank] <= made["none"][rank] <= made["high"][rank] + 1e-12  # type: ignore[index]
    for rank, loss in made["projected"]:  # type: ignore[attr-defined]
        assert made["low"][rank] - 1e-9 <= loss <= made["optimal"][rank] + 1e-9  # type: ignore[index]


def test_what_follows_a_layer_is_taken_from_its_network() -> None:
    inner, outer = curves("layer1.0.conv1"), curves("layer1.0.conv2")
    assert inner["objective"] == "bn" and "BatchNorm and a ReLU" in str(inner["context"]) and inner["optimal"] == []
    assert outer["objective"] == "linear" and inner["low"] == outer["low"] == []
    smooth = curves("blocks.0.mlp.fc1", model="digits-vit")
    assert smooth["objective"] == "relu" and "gelu has no curve" in str(smooth["note"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layer": "nowhere"}, "no layer 'nowhere'"),
        ({"objective": "swish"}, "An objective is one of"),
        ({"objective": "leaky(x)"}, "An objective is one of"),
    ],
)
def test_what_is_not_there_is_one_sentence(change: dict[str, str], says: str) -> None:
    asked = {"do": "function_curves", "model": MODEL, "layer": "layer1.0.conv1", "objective": "", **change}
    with pytest.raises(InputError, match=says) as error:
        perform(asked)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_a_start_says_what_became_of_every_layer() -> None:
    asked = {"do": "network_start", "model": MODEL, "fraction": 0.25, "method": "rescaled", "scale": "optimal"}
    made = json.loads(json.dumps(perform(asked)))
    views = journeys.demo_survey(MODEL).views
    assert [row["layer"] for row in made["layers"]] == [view.name for view in views]
    assert made["after"] < made["before"] and all(bool(row["rank"]) != bool(row["skipped"]) for row in made["layers"])
    for bad in ({"fraction": 0.0}, {"method": "magic"}, {"scale": "best"}):
        with pytest.raises(InputError, match="choose again"):
            perform({**asked, **bad})
