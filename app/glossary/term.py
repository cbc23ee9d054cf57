"""One entry of the glossary, and sources that many entries share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """`name` as shown; `definition`, one sentence; `formula`, LaTeX for KaTeX without dollar signs ("" if words say it
    all); `unit` with range; `source`."""

    name: str
    definition: str
    formula: str
    unit: str
    source: str


EYM = "Eckart and Young 1936; Mirsky 1960"
HERE = "this project's definition"
WW = "WeightWatcher, Martin and Mahoney 2021"
