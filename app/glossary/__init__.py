"""What every number and word on a page means: one sentence, a formula, a unit and a source each.

Letters: W is an (m, n) = (outputs, inputs) weight matrix, k = min(m, n), sigma_1 >= ... >= sigma_k its singular values,
N and M its longer and shorter side, lambda_i = sigma_i².
"""

from __future__ import annotations

from app.glossary.measured import MEASURED
from app.glossary.plans import COSTS, FORMS
from app.glossary.ranks import RANKS
from app.glossary.spectra import DIAGNOSTICS, SPECTRA
from app.glossary.term import Term

__all__ = ["ALIASES", "GLOSSARY", "Term", "help_text", "term"]

GLOSSARY: dict[str, Term] = SPECTRA | RANKS | DIAGNOSTICS | FORMS | COSTS | MEASURED
"""Every entry by its key: the words the pages use, in lower case, abbreviations as written."""

ALIASES: dict[str, str] = {
    "energy-90": "energy rank",
    "energy-99": "energy rank",
    "nuclear-90": "nuclear energy rank",
    "error-10": "error rank",
    "stable": "stable rank",
    "entropy": "entropy rank",
    "marchenko-pastur": "spikes",
    "detx": "tail start",
    "cost-penalised": "cost-penalised rank",
    "break-even": "break-even rank",
    "equal-error": "equal error",
    "lowrank": "low-rank",
    "lowrank_in": "low-rank, inputs first",
    "spatial": "spatial low-rank",
    "sparse24": "2:4",
    "random": "random weights",
    "lowrank_sparse": "low-rank + sparse",
    "params": "parameters",
    "macs": "MACs",
    "useful_macs": "useful MACs",
    "whitened": "whitening",
    "sequential": "sequential fit",
    "batchnorm": "batchnorm re-estimation",
    "bias": "bias correction",
    "removed": "removed rows",
    "stable_rank": "stable rank",
    "entropy_rank": "entropy rank",
    "matrix_entropy": "matrix entropy",
    "numerical_rank": "numerical rank",
    "log_norm": "log norm",
    "log_spectral_norm": "log spectral norm",
    "log_alpha_norm": "log alpha norm",
    "alpha_sigma": "alpha standard error",
    "alpha_distance": "alpha distance",
    "alpha_tail": "alpha tail",
    "alpha_weighted": "alpha weighted",
    "mp_edge": "marchenko-pastur edge",
    "mp_soft_rank": "mp soft rank",
    "output": "output error",
    "plain": "error",
}
"""Names the core uses (catalogue rows, quantities, repair steps, fields of records) for what an entry explains."""


def term(key: str) -> Term:
    """The entry of a key or of one of `ALIASES`. KeyError for anything else."""
    return GLOSSARY[ALIASES.get(key, key)]


def help_text(key: str) -> str:
    """The entry as Markdown for a tooltip or a "why?". KeyError for an unknown key."""
    found = term(key)
    formula = f"$\\displaystyle {found.formula}$" if found.formula else ""
    unit = f"Unit: {found.unit}." if found.unit != "none" else ""
    parts = (f"**{found.name}.** {found.definition}", formula, unit, f"Source: {found.source}.")
    return "\n\n".join(part for part in parts if part)
