"""A survey is plain numbers: look-ups by hand, costs that add up, and a JSON text that reads back equal."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.compression.survey import SCHEMA, Curve, LayerSurvey, Survey
from core.networks.costs import Cost
from core.networks.forms import Dense, Filters, LowRank, Sparse
from core.networks.views import LayerView
from core.numerics.diagnostics import diagnose
from core.provenance import Measurement, here
from tests.surveys import linear_layer, random_survey, survey

ROOT = Path(__file__).resolve().parents[3]


def test_a_curve_is_linear_between_its_levels() -> None:
    curve = Curve("lowrank", (1, 5, 9), (0.8, 0.4, 0.0), (0.6, 0.2, 0.0))
    assert curve.error(1) == 0.6 and curve.error(9) == 0.0
    assert curve.error(3) == pytest.approx(0.4)
    assert curve.error(3, "plain") == pytest.approx(0.6)
    assert curve.error(100, "plain") == 0.0


def test_a_curve_that_was_not_made_is_an_error() -> None:
    curve = Curve("lowrank", (1, 2), (0.5, 0.0))
    for kind in ("output", "damage"):
        with pytest.raises(ValueError, match=kind):
            curve.error(1, kind)


def test_predicted_error_of_a_form() -> None:
    layer = linear_layer("fc", 10, 20, [3.0, 2.0, 1.0, *[0.0] * 7])
    sparse = Curve("sparse", tuple(range(1, 101)), tuple(1 - p / 100 for p in range(1, 101)))
    layer = replace(layer, curves=(*layer.curves, sparse))
    assert layer.predicted(Dense()) == 0.0
    assert layer.predicted(LowRank(2)) == pytest.approx((1 / 14) ** 0.5)
    assert layer.predicted(Sparse(50)) == pytest.approx(0.75)  # 50 of 200 weights
    with pytest.raises(ValueError, match="fc has no filters curve"):
        layer.predicted(Filters(3))
    assert layer.spectrum is not None and layer.spectrum.S[0] == 3.0
    assert replace(layer, spectra=()).spectrum is None


def test_dense_cost_counts_a_tied_weight_once() -> None:
    free = linear_layer("a", 4, 6, [1.0] * 4, positions=5, bias=True)
    tied = LayerSurvey(LayerView("b", "linear", 4, 6, 5, tied_to="a"), "tied", (), None, None, None, ())
    made = survey([free, tied], rest=Cost(100, 1000, 400, 1000))
    assert made.dense == Cost(28 + 100, 2 * 120 + 1000, 28 * 4 + 400, 2 * 120 + 1000)


def test_layers_are_found_by_name() -> None:
    made = random_survey(0)
    assert made.layer("fc2").view.name == "fc2"
    assert [view.name for view in made.views] == [f"fc{i}" for i in range(4)]
    with pytest.raises(KeyError, match="fc9"):
        made.layer("fc9")
    assert made.runnable and not replace(made, reason="no module").runnable


def full_survey() -> Survey:
    """Every optional part filled in."""
    layers = []
    for layer in random_survey(1).layers:
        spectrum = layer.spectra[0][1]
        curve = replace(layer.curves[0], output=layer.curves[0].plain, damage=layer.curves[0].plain)
        layers.append(
            replace(
                layer,
                whitened=spectrum,
                shuffled=spectrum,
                diagnostics=diagnose(spectrum),
                curves=(curve,),
                view=replace(layer.view, kernel=(3, 3), stride=(1, 2), name="πñ/" + layer.view.name),
            )
        )
    accuracy = Measurement("top-1 accuracy", 0.9, 0.01, 500, 0, here("a test"))
    return replace(
        survey(layers), notes=("one", "zwei"), rest_lines=("BatchNorm2d × 1",), input_shape=(1, 8, 8), accuracy=accuracy
    )


@pytest.mark.parametrize("made", [random_survey(0), full_survey(), survey([])], ids=["plain", "full", "empty"])
def test_json_reads_back_equal(made: Survey) -> None:
    again = Survey.from_json(made.to_json())
    assert again == made
    assert again.to_json() == made.to_json()
    assert hash(again.layers) == hash(made.layers)


def test_json_of_a_layer_with_nothing_in_it() -> None:
    view = LayerView("bad", "linear", 3, 4, finite=False)
    made = survey([LayerSurvey(view, "its weight holds NaN or infinite values", (), None, None, None, ())])
    assert Survey.from_json(made.to_json()) == made


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '{"schema": 0, "survey": {}}', '{"survey": {}}', "{"])
def test_another_text_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        Survey.from_json(text)


def test_a_field_that_is_missing_is_an_error_that_callers_catch() -> None:
    content = json.loads(random_survey(0).to_json())
    del content["survey"]["layers"][0]["view"]["kernel"]
    with pytest.raises(KeyError):
        Survey.from_json(json.dumps(content))
    assert content["schema"] == SCHEMA


def test_a_stored_survey_is_read_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "survey.json"
    path.write_text(full_survey().to_json(), encoding="utf-8")
    code = (
        "import sys, pathlib; from core.compression.survey import Survey\n"
        f"s = Survey.from_json(pathlib.Path({str(path)!r}).read_text(encoding='utf-8'))\n"
        "assert s.dense.params and s.layers[0].diagnostics\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
