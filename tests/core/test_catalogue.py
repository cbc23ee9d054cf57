"""The catalogue lists every selectable thing once, says where each comes from, and can be read without torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from core.catalogue import ALLOCATORS, FORMS, RANK_RULES, Method, rank_marks
from core.compression.allocate import METHODS
from core.networks.forms import FAMILIES
from core.numerics import ranks
from core.numerics.svd import Spectrum

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = (*RANK_RULES, *ALLOCATORS, *FORMS)


def test_names_are_unique_and_every_row_says_what_and_whence() -> None:
    assert len({(row.family, row.name) for row in EVERYTHING}) == len(EVERYTHING)
    assert len({(row.family, row.label) for row in EVERYTHING}) == len(EVERYTHING)
    for row in EVERYTHING:
        assert row.label and row.source and callable(row.make)
    assert {row.family for row in EVERYTHING} == {"rank rule", "allocator", "form"}


def test_nothing_that_exists_is_missing() -> None:
    assert [row.name for row in FORMS] == list(FAMILIES)
    assert sorted(row.name for row in ALLOCATORS) == sorted(METHODS)
    rules = {name for name in vars(ranks) if name.endswith("_rank")}
    used = {"energy_rank", "error_rank", "stable_rank", "entropy_rank", "gavish_donoho_rank", "marchenko_pastur_rank"}
    assert rules - used == {"evbmf_rank", "tail_start_rank", "cost_penalised_rank", "break_even_rank"}
    assert len(RANK_RULES) == len(rules) + 2  # the energy rule is there three times


def test_a_row_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ALLOCATORS[0].name = "another"  # type: ignore[misc]
    assert Method("form", "x", "y", "z", print).caveat == ""


def test_marks_are_what_the_rules_say_in_their_order() -> None:
    spectrum = Spectrum.from_values(6, 8, [5.0, 3.0, 1.0, 0.5, 0.1, 0.05])
    marks = rank_marks(spectrum)
    assert [mark.name for mark in marks] == [row.name for row in RANK_RULES]
    found = {mark.name: mark.rank for mark in marks}
    assert found["energy-90"] == ranks.energy_rank(spectrum.S, 0.9) == 2
    assert found["nuclear-90"] == 3 and found["break-even"] == 3
    assert found["stable"] == 2 and found["error-10"] == 3
    energy = sum(s * s for s in spectrum.S)
    assert found["cost-penalised"] == sum(s * s > 0.01 * energy / 3 for s in spectrum.S)  # 1 % buys 3 ranks


def test_the_catalogue_needs_no_torch() -> None:
    code = "import sys, core.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
