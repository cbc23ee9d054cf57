"""Everything a person can select, in explicit tables by family. It drives the menus and the contract tests.

A row is a name, what to show, where it comes from, and the thing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.compression.allocate import allocate
from core.networks.forms import FAMILIES
from core.numerics import ranks
from core.numerics.svd import Spectrum


@dataclass(frozen=True, slots=True)
class Method:
    """One selectable thing: its family, name, label, where it comes from, and what makes or computes it.

    caveat  which part of its family's contract it does not keep, in words; "" if it keeps all of it."""

    family: str
    name: str
    label: str
    source: str
    make: Callable[..., Any]
    caveat: str = ""


@dataclass(frozen=True, slots=True)
class RankMark:
    """What one rank rule says of one spectrum: a rank in 0..k (0: nothing stands out of noise)."""

    name: str
    label: str
    rank: int
    source: str


def _rule(name: str, label: str, source: str, make: Callable[[Spectrum], int]) -> Method:
    return Method("rank rule", name, label, source, make)


RANK_RULES: tuple[Method, ...] = (
    _rule("energy-90", "energy 90 % (Frobenius)", "Σ S² kept; Eckart-Young", lambda s: ranks.energy_rank(s.S, 0.90)),
    _rule("energy-99", "energy 99 % (Frobenius)", "Σ S² kept; Eckart-Young", lambda s: ranks.energy_rank(s.S, 0.99)),
    _rule("nuclear-90", "90 % of Σ S (nuclear)", "Σ S kept", lambda s: ranks.energy_rank(s.S, 0.90, norm="nuclear")),
    _rule("error-10", "relative error 10 %", "tail / ‖W‖, Frobenius", lambda s: ranks.error_rank(s.S, 0.10)),
    _rule("stable", "stable rank, rounded up", "‖W‖_F² / ‖W‖₂²", lambda s: _up(s, ranks.stable_rank(s.S))),
    _rule("entropy", "entropy rank, rounded up", "Roy and Vetterli 2007", lambda s: _up(s, ranks.entropy_rank(s.S))),
    _rule(
        "gavish-donoho",
        "Gavish-Donoho, noise unknown",
        "Gavish and Donoho 2014: ω(β) × median",
        lambda s: ranks.gavish_donoho_rank(s.S, s.m, s.n),
    ),
    _rule(
        "marchenko-pastur",
        "above the Marchenko-Pastur edge",
        "bulk from the median, finite-size cushion by Johnstone 2001",
        lambda s: ranks.marchenko_pastur_rank(s.S, s.m, s.n),
    ),
    _rule("evbmf", "EVBMF", "Nakajima et al. 2013, analytic", lambda s: ranks.evbmf_rank(s.S, s.m, s.n)),
    _rule("detx", "tail start (detX)", "Martin and Mahoney, WeightWatcher", lambda s: ranks.tail_start_rank(s.S)),
    _rule(
        "cost-penalised",
        "cost-penalised, 1 % of energy per break-even",
        "Idelbayev and Carreira-Perpiñán 2020, C step",
        lambda s: _cost_penalised(s),
    ),
    _rule("break-even", "break-even", "r (m + n) < m n", lambda s: ranks.break_even_rank(s.m, s.n)),
)

MAY_RISE = "a larger budget may raise the predicted error, by what one step of one layer saves"

ALLOCATORS: tuple[Method, ...] = tuple(
    Method("allocator", name, label, source, partial(allocate, method=name), caveat)
    for name, label, source, caveat in (
        ("greedy", "greedy: damage saved per cost", "lower convex hull of every layer's options; derived", MAY_RISE),
        ("exact", "exact: integer program", "multiple-choice knapsack, scipy's milp", ""),
        ("equal-error", "equal output error in every layer", "the criterion of ALDS (Liebenwein et al. 2021)", ""),
        ("uniform", "the same fraction of every layer", "baseline", ""),
    )
)

FORMS: tuple[Method, ...] = tuple(
    Method("form", family.id, family.label, "core.networks.forms", family.make) for family in FAMILIES.values()
)


def rank_marks(spectrum: Spectrum) -> list[RankMark]:
    """What every rank rule says of a spectrum, in the order of the catalogue."""
    return [RankMark(row.name, row.label, int(row.make(spectrum)), row.source) for row in RANK_RULES]


def _up(spectrum: Spectrum, value: float) -> int:
    return min(spectrum.k, max(1, int(-(-value // 1))))


def _cost_penalised(spectrum: Spectrum) -> int:
    """The C step with a price at which the break-even rank costs 1 % of the energy."""
    even = max(ranks.break_even_rank(spectrum.m, spectrum.n), 1)
    return ranks.cost_penalised_rank(spectrum.S, 0.01, 1.0 / even)
