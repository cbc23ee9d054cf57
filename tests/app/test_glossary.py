from __future__ import annotations

import re
from dataclasses import fields

import pytest

from app.glossary import ALIASES, GLOSSARY, help_text, term

ASKED = """
rank; stable rank; entropy rank; numerical rank; energy; error; output error; break-even rank; MACs; parameters; bytes;
kept fraction; compression ratio; whitening; plain spectrum; whitened spectrum; marchenko-pastur edge; gavish-donoho;
evbmf; tail start; tail; alpha; log norm; spikes; shuffled baseline; sequential fit; batchnorm re-estimation;
bias correction; budget; uniform; equal error; greedy; exact; low-rank; spatial low-rank; sparse; 2:4; filters;
A/A spread; latency; binomial spread; form; plan; density; sparsity; predicted; measured; accuracy; damage; lock
"""

KNOWN = """
Bigl Bigr bigl bigr displaystyle textstyle text operatorname mathrm mathbb frac tfrac sqrt sum prod max min exp ln log
lVert rVert lvert rvert lambda sigma mu omega theta varepsilon alpha varphi Phi Delta ell hat bar tilde quad le ge in to
mapsto leftarrow propto approx dots top times cdot"""
MACROS = set(KNOWN.split())


@pytest.mark.parametrize("key", [key.strip() for key in ASKED.split(";")])
def test_every_word_the_pages_use_is_explained(key):
    assert help_text(key)


@pytest.mark.parametrize("key", GLOSSARY)
def test_an_entry_is_one_british_sentence_with_unit_and_source(key):
    entry = GLOSSARY[key]
    assert re.fullmatch(r"[A-Z2].*\.", entry.definition), "a sentence"
    assert ". " not in entry.definition, "one sentence"
    assert len(entry.definition) <= 130, "short enough for a tooltip"
    assert entry.name and entry.unit and entry.source
    assert not entry.unit.endswith(".") and not entry.source.endswith(".")
    assert not re.search(r"\b\w*(ization|izing|ized|color|behavior)\b", entry.definition), "British in what people read"


@pytest.mark.parametrize("key", [key for key in GLOSSARY if GLOSSARY[key].formula])
def test_a_formula_is_well_formed(key):
    formula = GLOSSARY[key].formula
    assert "$" not in formula
    bare = re.sub(r"\\[{}]", "", formula)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0, "braces are balanced"
    assert set(re.findall(r"\\([A-Za-z]+)", formula)) <= MACROS


def test_the_help_text_has_every_part():
    text = help_text("energy")
    entry = GLOSSARY["energy"]
    for part in (entry.name, entry.definition, entry.formula, entry.unit, entry.source):
        assert part in text
    assert text.count("$") == 2
    assert "$" not in help_text("budget")


def test_aliases_lead_to_entries_and_hide_none():
    assert set(ALIASES.values()) <= set(GLOSSARY)
    assert not set(ALIASES) & set(GLOSSARY)


def test_everything_the_catalogue_offers_is_explained():
    from core.catalogue import ALLOCATORS, RANK_RULES
    from core.compression.plans import STEPS
    from core.networks.costs import QUANTITIES
    from core.networks.forms import FAMILIES
    from core.numerics.diagnostics import Diagnostics

    names = [row.name for row in (*RANK_RULES, *ALLOCATORS)]
    names += [*FAMILIES, *QUANTITIES, *STEPS, *(field.name for field in fields(Diagnostics))]
    missing = []
    for name in names:
        try:
            term(name)
        except KeyError:
            missing.append(name)
    assert not missing


def test_an_unknown_word_is_a_key_error():
    with pytest.raises(KeyError, match="variance"):
        help_text("variance")
