"""What a form costs, when it does not fit, and where it stops saving. Costs against built modules are in
contracts/test_forms.py; here are tables, scans and sentences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.networks.costs import QUANTITIES
from core.networks.forms import (
    FAMILIES,
    Dense,
    Filters,
    Form,
    LowRank,
    SemiSparse,
    Sparse,
    SpatialLowRank,
    form_words,
    layer_obstacle,
)
from core.networks.views import LayerView

ROOT = Path(__file__).resolve().parents[3]


def linear(m: int, n: int, **more: object) -> LayerView:
    return LayerView("fc", "linear", m, n, positions=1, **more)  # type: ignore[arg-type]


def conv(c: int, o: int, side: int = 3, stride: int = 1, size: int = 8, **more: object) -> LayerView:
    out = -(-size // stride)
    return LayerView(
        "conv",
        "conv2d",
        o,
        c * side * side,
        positions=out * out,
        kernel=(side, side),
        stride=(stride, stride),
        padding=(side // 2, side // 2),
        dilation=(1, 1),
        in_size=(size, size),
        out_size=(out, out),
        **more,  # type: ignore[arg-type]
    )


def test_the_example_of_the_method_notes() -> None:
    view = linear(1000, 2048)
    assert Dense().cost(view).params == 2_048_000
    assert LowRank(800).cost(view).params == 2_438_400
    assert FAMILIES["lowrank"].break_even(view, "params") == 671


def test_params_and_macs_of_the_table() -> None:
    c, o, k, size = 16, 32, 3, 8
    view, strided = conv(c, o, k, 1, size), conv(c, o, k, 2, size)
    for r in (1, 5, 16):
        assert LowRank(r).cost(view).params == r * (c * k * k + o)
        assert LowRank(r, True).cost(view).params == r * (c + o * k * k)
        assert SpatialLowRank(r).cost(view).params == r * (c * k + o * k)
        at = (size // 2) ** 2
        assert LowRank(r).cost(strided).macs == r * (c * k * k + o) * at
        assert LowRank(r, True).cost(strided).macs == r * c * size * size + r * o * k * k * at
        assert SpatialLowRank(r).cost(strided).macs == r * c * k * (size // 2) * size + r * o * k * at


def test_masks_save_no_executed_macs() -> None:
    view = conv(16, 32)
    dense = Dense().cost(view)
    for form in (Sparse(100), SemiSparse(), Filters(4)):
        cost = form.cost(view)
        assert cost.macs == dense.macs
        assert cost.useful_macs == cost.params * view.positions


def test_bytes_of_masks_hold_their_index() -> None:
    view = linear(8, 16, bias=True, itemsize=2)
    assert Sparse(30).cost(view).bytes == (30 + 8) * 2 + 128 // 8
    assert SemiSparse().cost(view).bytes == (64 + 8) * 2 + 64 * 2 // 8
    assert Filters(3).cost(view).bytes == (48 + 8) * 2 + 1


VIEWS = {
    "square": linear(64, 64, bias=True),
    "wide": linear(10, 300),
    "tall": linear(300, 7, bias=True, itemsize=2),
    "conv": conv(16, 32, bias=True),
    "conv, stride 2": conv(16, 32, stride=2),
    "conv 5 x 5": conv(3, 8, 5),
    "not run": LayerView("fc", "linear", 20, 30),
}


FITTING = [(family, name) for family in FAMILIES for name in VIEWS if not FAMILIES[family].obstacle(VIEWS[name])]


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize(("family", "name"), FITTING)
def test_break_even_is_what_a_scan_finds(family: str, name: str, quantity: str) -> None:
    kind, view = FAMILIES[family], VIEWS[name]
    dense = Dense().cost(view).of(quantity)
    cheaper = [
        level for level in range(1, kind.full(view) + 1) if kind.make(level, view).cost(view).of(quantity) < dense
    ]
    assert kind.break_even(view, quantity) == (max(cheaper) if cheaper else 0)
    assert cheaper == list(range(1, len(cheaper) + 1))  # so that a bisection may be used


def test_break_evens_of_params_and_macs_agree_at_stride_one_only() -> None:
    kind = FAMILIES["lowrank_in"]
    assert kind.break_even(conv(16, 32), "params") == kind.break_even(conv(16, 32), "macs")
    assert kind.break_even(conv(16, 32, stride=2), "params") > kind.break_even(conv(16, 32, stride=2), "macs")


def test_a_square_layer_breaks_even_below_half_its_side() -> None:
    assert FAMILIES["lowrank"].break_even(linear(64, 64), "params") == 31


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (linear(4, 4, finite=False), "NaN"),
        (linear(4, 4, tied_to="embed"), "embed"),
        (linear(4, 4, blocked="because of its parent"), "because of its parent"),
        (LayerView("e", "embedding", 10, 4), "looked up"),
        (LayerView("a.in_proj", "in_proj", 12, 4), "packed"),
        (LayerView("x", "other", 4, 4), "other"),
        (LayerView("c", "conv2d", 4, 9, kernel=(3, 3), stride=(1, 1), groups=2), "2 separate 4 × 9"),
        (linear(1, 40), "1 × 40"),
        (linear(40, 1), "40 × 1"),
    ],
)
def test_a_layer_no_form_fits_says_why(view: LayerView, words: str) -> None:
    assert words in layer_obstacle(view)
    assert Dense().obstacle(view) == ""
    for form in (LowRank(1), Sparse(1), Filters(1)):
        assert form.obstacle(view) == layer_obstacle(view)
    assert all(family.obstacle(view) for family in FAMILIES.values())


@pytest.mark.parametrize(
    ("form", "view", "words"),
    [
        (LowRank(0), linear(4, 6), "1 to 4"),
        (LowRank(5), linear(4, 6), "1 to 4"),
        (LowRank(-1), linear(4, 6), "-1"),
        (LowRank(2, True), linear(4, 6), "1 × 1 part"),
        (LowRank(2, True), conv(4, 6, side=1), "1 × 1 part"),
        (LowRank(5, True), conv(4, 6), "1 to 4"),
        (SpatialLowRank(2), linear(4, 6), "column and a row"),
        (SpatialLowRank(2), conv(4, 6, side=1), "column and a row"),
        (SpatialLowRank(13), conv(4, 6), "1 to 12"),
        (Sparse(0), linear(4, 6), "1 to 24"),
        (Sparse(25), linear(4, 6), "1 to 24"),
        (Filters(5), linear(4, 6), "1 to 4"),
        (SemiSparse(), linear(4, 6), "multiple of 4"),
    ],
)
def test_a_form_that_does_not_fit_says_why(form: Form, view: LayerView, words: str) -> None:
    assert layer_obstacle(view) == ""
    assert words in form.obstacle(view)


def test_the_highest_level_fits_and_the_next_does_not() -> None:
    for view in (linear(4, 8), conv(4, 6)):
        for family in FAMILIES.values():
            if family.id == "sparse24" or family.obstacle(view):
                continue
            full = family.full(view)
            assert family.make(full, view).obstacle(view) == ""
            assert family.id in ("sparse", "random") or family.make(full + 1, view).obstacle(view)


def test_level_turns_back_what_make_made() -> None:
    view = linear(20, 50)
    for family in FAMILIES.values():
        for level in range(1, family.full(view) + 1):
            form = family.make(level, view)
            if not form.obstacle(view) and family.id != "sparse24":
                assert form.family == family.id
                assert family.level(form, view) == level


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (Dense(), "dense"),
        (LowRank(7), "low-rank (k × k, then 1 × 1), rank 7"),
        (LowRank(7, True), "low-rank (1 × 1, then k × k), rank 7"),
        (SpatialLowRank(10), "spatial (k × 1, then 1 × k), rank 10"),
        (Sparse(108), "sparse (largest weights), 25 % kept"),
        (SemiSparse(), "2:4 sparse, 50 % kept"),
        (Filters(3), "whole rows or filters, 3 rows kept"),
    ],
)
def test_a_form_in_words(form: Form, says: str) -> None:
    assert form_words(form, LayerView("c", "conv2d", 12, 36, kernel=(3, 3))) == says


def test_a_linear_layer_has_no_kernel_to_speak_of() -> None:
    assert form_words(LowRank(2), LayerView("f", "linear", 12, 36)) == "low-rank (two factors), rank 2"


def test_one_per_cent_of_very_few_weights_is_one_weight() -> None:
    view = linear(2, 3)
    assert FAMILIES["sparse"].make(1, view) == Sparse(1)


def test_forms_need_no_torch() -> None:
    code = (
        "import sys; from core.networks.forms import *; from core.networks.views import LayerView\n"
        "v = LayerView('f', 'linear', 10, 20); assert FAMILIES['lowrank'].break_even(v, 'params') == 6\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
