"""Low rank + sparse of one layer along a budget: pairs against costs of forms, errors against built layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core import journeys, layer_measures
from core.errors import Cancelled, InputError
from core.jobs.tasks import perform
from core.layer_measures import budget_pairs, iso_budget_curve
from core.networks.forms import Dense, low_rank_and_sparse
from core.networks.modules import matrix
from core.networks.views import LayerView

DEMO = "digits-mlp"
VIEWS = {
    "linear": LayerView("fc", "linear", 40, 30, positions=1, bias=True),
    "half precision": LayerView("fc", "linear", 40, 30, positions=3, itemsize=2),
    "conv": LayerView("c", "conv2d", 12, 36, 9, (3, 3), (1, 1), (1, 1), (1, 1), (3, 3), (3, 3), bias=True),
}


@pytest.mark.parametrize("quantity", ["params", "bytes"])
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 1.0])
def test_every_pair_spends_the_budget_and_no_more(name: str, quantity: str, keep: float) -> None:
    view = VIEWS[name]
    limit = int(keep * Dense().cost(view).of(quantity))
    pairs = budget_pairs(view, quantity, keep)
    assert [r for r, _ in pairs][:-1] == list(range(len(pairs) - 1)) and pairs[-1][1] == 0
    unit = view.itemsize if quantity == "bytes" else 1
    for r, q in pairs:
        form = low_rank_and_sparse(r, q)
        assert not form.obstacle(view)
        spent = form.cost(view).of(quantity)
        assert spent <= limit
        if 0 < q < view.size:
            assert spent + unit > limit, "one more entry would not fit"
    r = pairs[-1][0]
    assert low_rank_and_sparse(r + 1, 0).cost(view).of(quantity) > limit


def test_a_budget_that_is_none_is_a_programmers_mistake() -> None:
    for quantity, keep in (("macs", 0.5), ("params", 0.0), ("params", 1.1)):
        with pytest.raises(ValueError, match="share"):
            budget_pairs(VIEWS["linear"], quantity, keep)
    assert budget_pairs(VIEWS["linear"], "params", 0.01) == ()


def asked(**changes: Any) -> dict[str, Any]:
    return {"do": "iso_budget", "model": DEMO, "layer": "fc1", "quantity": "params", "keep": 0.5} | changes


def test_the_task_gives_the_errors_of_built_layers() -> None:
    found = perform(asked())
    opened = journeys.open_network(DEMO)
    view = journeys.survey_of(opened).layer("fc1").view
    layer = opened.module.get_submodule("fc1")  # type: ignore[union-attr]
    W = matrix(layer, view).double()
    pairs = [tuple(pair) for pair in found["pairs"]]
    every = budget_pairs(view, "params", 0.5)
    assert len(pairs) == 24 and set(pairs) <= set(every) and (pairs[0], pairs[-1]) == (every[0], every[-1])
    for (r, q), error in list(zip(pairs, found["errors"], strict=True))[::6]:
        built = low_rank_and_sparse(r, q).build(layer, view)
        with torch.no_grad():
            made = built(torch.eye(view.n)) - built(torch.zeros(1, view.n))
        assert error == pytest.approx(float((made.T.double() - W).norm() / W.norm()), abs=1e-4)
    assert found["seconds"] > 0.0


def test_weights_alone_are_enough(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file({"odd.weight": torch.randn(20, 12), "conv.weight": torch.randn(8, 4, 3, 3)}, tmp_path / "w.safetensors")
    opened = journeys.open_network(str(tmp_path / "w.safetensors"))
    assert opened.module is None
    for layer in ("odd", "conv"):
        found = iso_budget_curve(opened, layer, "bytes", 0.6)
        assert len(found.pairs) > 2 and 0.0 < min(found.errors) < max(found.errors) < 1.0


def test_a_large_layer_is_tried_at_fewer_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_measures, "LARGE", 100)
    assert len(perform(asked())["pairs"]) == layer_measures.FEWER_RANKS


def test_it_can_be_cancelled_and_says_how_far_it_is() -> None:
    told: list[tuple[str, int, int]] = []
    with pytest.raises(Cancelled):
        perform(asked(), lambda *step: told.append(step), lambda: len(told) > 5)
    assert told[-1][0].startswith("rank ") and told[-1][2] == 24


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="no layer 'nothing'"):
        perform(asked(layer="nothing"))
