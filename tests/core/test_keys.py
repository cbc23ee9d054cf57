"""Keys: equal content gives equal keys, other content others. The witness is SHA-256 of a text written out here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from core.compression.plans import Plan
from core.keys import canonical, key
from core.networks.arch import ModelRef
from core.networks.forms import LowRank, SpatialLowRank


@dataclass(frozen=True)
class Point:
    x: float
    label: str = "a"


@dataclass(frozen=True)
class Dot:
    x: float
    label: str = "a"


@dataclass(frozen=True)
class Line:
    ends: tuple[Point | Dot, ...]


def test_a_key_written_out_by_hand():
    text = '["Line",["ends",["list",["Point",["x",["float","0x1.8000000000000p+0"]],["label","a\\u00fc"]]]]]'
    assert key(Line((Point(1.5, "aü"),))) == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_equal_content_gives_an_equal_key():
    assert key(Line((Point(0.1), Point(2.0)))) == key(Line((Point(0.1), Point(2.0))))
    assert key({"a": 1, "b": (1, 2)}) == key({"b": [1, 2], "a": 1})
    assert key(float("nan")) == key(float("nan"))


DIFFERENT = [
    None,
    True,
    False,
    1,
    1.0,
    0,
    0.0,
    -0.0,
    0.1,
    0.1 + 2e-17,
    "1",
    "",
    "None",
    float("inf"),
    (),
    ("",),
    (None,),
    ("a", "bc"),
    ("ab", "c"),
    ("abc",),
    (("a",), "bc"),
    ("list", "a"),
    {},
    {"a": 1},
    {"a": "1"},
    {"a": {"b": 1}},
    {"a": 1, "b": 1},
    ("dict", ("a", 1)),
    Point(1.0),
    Dot(1.0),
    Point(1.0, "b"),
    ("Point", ("x", 1.0), ("label", "a")),
    {"x": 1.0, "label": "a"},
    Line((Point(1.0),)),
    Line((Dot(1.0),)),
    Line((Point(1.0), Point(1.0))),
    LowRank(3),
    LowRank(3, True),
    SpatialLowRank(3),
]


def test_different_content_gives_different_keys():
    assert len({0.1, 0.1 + 2e-17}) == 2  # a neighbour, not the same number
    keys = [key(value) for value in DIFFERENT]
    assert len(set(keys)) == len(keys)
    assert all(len(k) == 32 and set(k) <= set("0123456789abcdef") for k in keys)


def test_each_entry_of_a_long_record_takes_part():
    values = tuple(float(i) for i in range(3000))
    keys = {key(values)} | {key((*values[:i], values[i] + 0.5, *values[i + 1 :])) for i in range(0, 3000, 97)}
    assert len(keys) == 1 + len(range(0, 3000, 97))


def test_every_field_of_a_plan_takes_part():
    plan = Plan(ModelRef("file", "net.pt", "0")).with_form("fc", LowRank(3))
    others = [
        replace(plan, model=ModelRef("demo", "net.pt", "0")),
        replace(plan, model=ModelRef("file", "net.pt", "1")),
        plan.with_form("fc", LowRank(4)),
        plan.with_form("fc", LowRank(3, True)),
        plan.with_form("conv", LowRank(3)),
        replace(plan, repair=replace(plan.repair, seed=1)),
        replace(plan, repair=replace(plan.repair, steps=())),
    ]
    assert len({key(p) for p in [plan, *others]}) == 1 + len(others)


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), b"bytes", Point, 1j, range(3), iter(()), Path("a")],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_plain_content_is_refused_wherever_it_hides(value):
    for outer in (value, [value], {"a": value}, Line((value,))):
        with pytest.raises(TypeError, match="plain values"):
            canonical(outer)


def test_keys_outlive_the_process():
    script = "from core.keys import key; print(key({'b': (1.5, None), 'a': 'ü'}))"
    found = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
        )
        found.add(done.stdout.strip())
    assert found == {key({"a": "ü", "b": [1.5, None]})}
