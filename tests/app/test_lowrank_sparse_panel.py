"""Low rank + sparse of the layer in hand, without a browser: two sliders of one budget, what they cost, and undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import lowrank_sparse_panel
from core.networks.forms import LowRank, LowRankSparse, Sparse
from tests.app import pages
from tests.app.test_tuning import ONE, TWO, plan_of, stuck, with_masks
from tests.surveys import linear_layer, survey

Open = Callable[..., AppTest]
PAIRS, ERRORS = [[0, 24], [1, 10], [2, 0]], [0.4, 0.25, 0.3]
NET = survey([ONE, with_masks(TWO)])


@pytest.fixture
def in_hand(monkeypatch: pytest.MonkeyPatch, bench: Any) -> Open:
    """in_hand(survey, plan, **query) -> the page on that survey and plan, with the panel."""

    def make(*args: Any, **query: str) -> AppTest:
        return partial(pages.opened, monkeypatch, "tune")(*args, below="lowrank-sparse", **query)

    return make


def asked(bench: Any) -> list[dict[str, Any]]:
    return [job.request for job in bench.asked if job.request["do"] == "iso_budget"]


def ended(page: AppTest, bench: Any, pairs: Any = PAIRS, errors: Any = ERRORS) -> AppTest:
    """The page after the job has found the curve."""
    bench.end({"pairs": pairs, "errors": errors, "seconds": 0.4})
    return pages.run(page)


def sliders(page: AppTest) -> tuple[Any, Any]:
    rank, share = page.select_slider
    return rank, share


def shown(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def test_the_curve_of_a_small_layer_is_asked_for_at_once(in_hand: Open, bench: Any) -> None:
    page = in_hand(NET, plan_of(), layer="fc2")
    (request,) = asked(bench)
    assert (request["layer"], request["quantity"], request["keep"]) == ("fc2", "params", 0.5)
    page = ended(page, bench)
    (chart,) = [c for c in page.get("plotly_chart") if c.key.endswith("low-rank-sparse")]
    assert "25.0% at rank 1" in chart.proto.alt
    assert len(asked(bench)) == 1, "nothing is asked for twice"


def test_sliders_start_where_the_error_is_least_and_move_together(in_hand: Open, bench: Any) -> None:
    page = ended(in_hand(NET, plan_of(), layer="fc2"), bench)
    rank, share = sliders(page)
    assert (rank.value, share.value) == (1, 1)
    assert rank.options == ["0", "1", "2"] and share.options == ["0.0 %", "20.8 %", "50.0 %"]
    rank.set_value(2).run()
    rank, share = sliders(pages.sound(page))
    assert (rank.value, share.value) == (2, 2) and shown(page)["Weight error"] == "30.0\u00a0%"
    share.set_value(0).run()
    rank, share = sliders(pages.sound(page))
    assert (rank.value, share.value) == (0, 0) and shown(page)["Weight error"] == "40.0\u00a0%"


def test_costs_of_the_pair_by_hand(in_hand: Open, bench: Any) -> None:
    """8 × 6 at three positions, rank 1 and 10 entries: 24 of 48 numbers, 3 (14 + 48) of 144 MACs, 4 · 24 + 6 bytes."""
    page = ended(in_hand(NET, plan_of(), layer="fc2"), bench)
    found = {label: value.replace("\u00a0", " ") for label, value in shown(page).items()}
    assert found["Weight error"] == "25.0 %"
    assert found["Parameters"] == "50.0 %" and found["Bytes"] == f"{100 * 102 / 192:.1f} %"
    assert found["MACs executed"] == f"{100 * 186 / 144:.1f} %"
    assert found["MACs on non-zeros"] == f"{100 * 72 / 144:.1f} %"


def test_it_goes_into_the_plan_and_back(in_hand: Open, bench: Any) -> None:
    page = ended(in_hand(NET, plan_of(fc1=LowRank(2)), layer="fc2"), bench)
    pages.press(page, "Use it for this layer")
    assert pages.now(page).plan == plan_of(fc1=LowRank(2), fc2=LowRankSparse(1, 10))
    assert pages.now(page).quantity == "params", "in MACs it would count as dense"
    assert page.button(key="iso-budget-use").disabled
    assert pages.now(pages.press(page, "Undo")).plan == plan_of(fc1=LowRank(2))


@pytest.mark.parametrize(("at", "form"), [(0, Sparse(24)), (2, LowRank(2))])
def test_the_ends_are_the_plain_forms(in_hand: Open, bench: Any, at: int, form: Any) -> None:
    page = ended(in_hand(NET, plan_of(), layer="fc2"), bench)
    sliders(page)[0].set_value(at).run()
    pages.press(page, "Use it for this layer")
    assert pages.now(page).plan == plan_of(fc2=form) and pages.now(page).quantity == "macs"


def test_the_form_of_the_plan_is_where_the_sliders_start(in_hand: Open, bench: Any) -> None:
    page = ended(in_hand(NET, plan_of(fc2=LowRank(2)), layer="fc2"), bench)
    assert [slider.value for slider in sliders(page)] == [2, 2]


def test_another_budget_is_another_curve(in_hand: Open, bench: Any) -> None:
    page = ended(in_hand(NET, plan_of(), layer="fc2"), bench)
    page.number_input(key="iso-budget-keep").set_value(30).run()
    pages.sound(page)
    assert asked(bench)[-1]["keep"] == 0.3
    page = ended(page, bench, [[0, 14], [1, 0]], [0.6, 0.5])
    assert [slider.value for slider in sliders(page)] == [1, 1]
    page.button_group(key="iso-budget-quantity").set_value("bytes").run()
    assert asked(bench)[-1]["quantity"] == "bytes"


def test_a_budget_for_no_rank_or_for_nothing_says_so(in_hand: Open, bench: Any) -> None:
    page = ended(in_hand(NET, plan_of(), layer="fc2"), bench, [[0, 3]], [0.9])
    assert "No rank fits this budget" in pages.words(page) and not page.select_slider
    page.number_input(key="iso-budget-keep").set_value(1).run()
    page = ended(page, bench, [], [])
    assert "Not even one weight fits" in " ".join(info.value for info in page.info)


def test_a_large_layer_waits_for_the_button_and_a_failure_is_told(
    in_hand: Open, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lowrank_sparse_panel, "AT_ONCE", 47)
    page = in_hand(NET, plan_of(), layer="fc2")
    assert not asked(bench)
    page.button(key="iso-budget-ask").click().run()
    assert len(asked(bench)) == 1
    bench.end(error="The weights are gone; open the model again.")
    page = pages.run(page)
    assert "The weights are gone" in page.error[0].value.replace("\\", "")
    page.button(key="iso-budget-ask").click().run()
    assert len(asked(bench)) == 2
    assert sliders(ended(page, bench))[0].value == 1


def test_a_layer_that_stays_dense_says_why(in_hand: Open, bench: Any) -> None:
    page = in_hand(survey([ONE, stuck(TWO, "it is tied")]), layer="fc2")
    assert [info.value for info in page.info] == ["fc2 stays dense: it is tied."] and not asked(bench)


def test_a_name_from_a_file_is_shown_as_it_is(in_hand: Open, bench: Any) -> None:
    odd = linear_layer("a*b_c", 8, 6, (1.0,) * 6)
    page = in_hand(survey([odd]), layer="a*b_c")
    assert any(r"**a\*b\_c**, 8 × 6" in element.value for element in page.markdown)
    assert asked(bench)[-1]["layer"] == "a*b_c"


def test_the_page_shows_what_a_plan_with_such_a_layer_is(in_hand: Open, bench: Any) -> None:
    net = replace(NET, reason="")
    page = in_hand(net, plan_of(fc2=LowRankSparse(1, 10)), layer="fc2", by="params")
    for view in ("Before and after", "Layer in hand", "Edit as a table"):
        page.button_group(key="tune-below").set_value(view).run()
        pages.sound(page)
    assert not page.warning


def test_counted_in_macs_it_says_that_no_rank_helps(in_hand: Open, bench: Any) -> None:
    page = in_hand(NET, plan_of(fc2=LowRankSparse(1, 10)), layer="fc2")
    (warning,) = page.warning
    assert "counts as dense" in warning.value and "count in parameters or bytes" in warning.value
    page = in_hand(NET, plan_of(fc2=LowRank(5)), layer="fc2")
    (warning,) = page.warning
    assert "Lower the bar" in warning.value and "count in" not in warning.value
